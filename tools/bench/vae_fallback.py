"""The learned fallback where JPEG gives out, against stock codecs at equal bytes.

    python tools/bench/vae_fallback.py [--images 32] [--vae-model FILE] [--peers]

Odd images alone are reported. Measurements are kept (IDSE_BENCH_CACHE chooses where) by the content
of picture and models and the version of idse, so that a run goes on where one was interrupted;
``--peers`` measures what needs no model of ours.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from bench_common import CACHE, command_line, data, machine, parser
from PIL import Image
from vae_coders import STOCK, versions
from vae_rows import BRACKETS, RATES, Row, Rows, plain, tables, with_policy

import idse
from idse.codecs.jpeg import decode as decode_jpeg
from idse.errors import TargetError
from idse.evaluation.average_precision import confident
from idse.evaluation.fingerprint import digest, file_digest
from idse.evaluation.judge import Judge
from idse.evaluation.metrics import ms_ssim, psnr
from idse.evaluation.pixels import jfif_picture, read_pixels
from idse.evaluation.table import write_results
from idse.files import write_atomically
from idse.pipeline.images.fallback import Attempt
from idse.pipeline.images.network import Networks
from idse.pipeline.images.options import ImageSteering, JpegOptions
from idse.pipeline.images.source import SourceImage
from idse.pipeline.images.steered import SteeredImage
from idse.pipeline.images.vae import codec_of
from idse.pipeline.report import Warnings
from idse.vision import load_model
from idse.vision.heads import Detections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from vae_coders import Coded

    from idse.evaluation.judge import Observation
    from idse.evaluation.pixels import RGB
    from idse.picture import Picture

# Folder and judge of each set; the judge also steers.
SETS = {
    "imagenet": ("imagenet", "efficientnet-lite0"),
    "coco": ("coco_val128/images", "yolov4-tiny"),
}
PEERS = (*STOCK, "steered JPEG", "softened JPEG")
OURS = ("vae-jpeg", "vae-h264", "vae")
# Factors that pictures are scaled down by and up again, to be easier to code.
SOFTER = (2, 3, 4, 6, 8)
GRID = 32
ABOUT = """\
Every codec gets so many bytes for every picture and fills them as well as it can. A picture that it
cannot code in so few counts as seen by nobody: another class, no object, a distance of 1. JPEGs are
steered by the judge; softened ones are of the picture scaled down and up again by the factor of
2, 3, 4, 6 and 8 that leaves the judge's outputs nearest. vae-jpeg and vae-h264 are what the VAE
shows, coded by the steered JPEG and by x264; --fallback vae is the steered JPEG or the VAE,
whichever leaves the outputs nearer."""


class Subject:
    """A picture, and what the judge makes of it; both found out when they are first needed."""

    def __init__(self, path: Path, judge: Judge, networks: Networks, steering: ImageSteering):
        self.pixels: RGB = read_pixels(path)
        self.source = SourceImage(pixels=self.pixels, name=path.name)
        self.picture: Picture = jfif_picture(self.pixels, 0)
        self.seen: Observation = judge.observe(self.picture)
        self.networks, self.steering = networks, steering
        self._judge = judge
        self._steered: SteeredImage | None = None

    @property
    def steered(self) -> SteeredImage:
        """The picture, analysed."""
        if self._steered is None:
            self._steered = SteeredImage(self.source, self.networks, JpegOptions())
        return self._steered

    def limit(self, bpp: float) -> int:
        """Return the bytes of a rate."""
        return int(bpp * self.source.width * self.source.height / 8)

    def row(self, data: bytes, decoded: RGB) -> Row:
        """Judge a decoded file."""
        picture = jfif_picture(decoded, 0)
        seen = self._judge.observe(picture)
        before = self.seen.features.astype(np.float64)
        luma = self.picture.planes[0], picture.planes[0]
        return Row(
            bytes=len(data),
            psnr=psnr(*luma),
            ms_ssim=ms_ssim(*luma) if min(luma[0].shape) >= 176 else None,
            distance=float(np.sum((seen.features - before) ** 2) / (before @ before)),
            top1=None if seen.top1 is None else seen.top1 == self.seen.top1,
            found=None if seen.found is None else plain(seen.found),
        )

    def lost(self) -> Row:
        """Return what there is where no file is small enough: nothing."""
        return Row(
            top1=None if self.seen.top1 is None else False,
            found=None if self.seen.found is None else [[], [], []],
        )


def stock(subject: Subject, limit: int, *, coder: Callable[[SourceImage, int], Coded]) -> Coded:
    """Code by what looks at the pixels alone."""
    return coder(subject.source, limit)


def steered(subject: Subject, limit: int) -> Coded:
    """Code as `idse image` does."""
    made = subject.steered.fitting(limit).data
    return made, decode_jpeg(made)


def softened(subject: Subject, limit: int) -> Coded:
    """Code a picture that was scaled down and up again: what anybody can do without a VAE."""
    image = Image.fromarray(subject.pixels)
    best: tuple[float, bytes, RGB] | None = None
    for factor in SOFTER:
        small = image.resize(
            (max(1, image.width // factor), max(1, image.height // factor)), Image.Resampling.BOX
        )
        soft = np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))
        plan = subject.steered.plan
        try:
            made = (
                SteeredImage(SourceImage(pixels=soft), subject.networks, JpegOptions(), like=plan)
                .fitting(limit)
                .data
            )
        except TargetError:
            continue
        decoded = decode_jpeg(made)
        distance = subject.row(made, decoded).distance
        if best is None or distance < best[0]:
            best = distance, made, decoded
    if best is None:
        raise TargetError(f"{limit} bytes are too few")
    return best[1:]


def learned(subject: Subject, limit: int, *, kind: str, models: tuple[str, ...]) -> Coded:
    """Code by a fallback, whatever the JPEG would be like."""
    attempt = Attempt(
        source=subject.source,
        options=JpegOptions(target_bytes=limit, fallback=kind, vae_models=models),
        jpeg=TargetError("not asked for"),
        steered=subject.steered if kind == "vae-jpeg" else None,
        networks=subject.networks,
        steering=subject.steering,
        markers=(),
        warnings=Warnings(),
    )
    made, decoded, _ = attempt.make(kind)
    return made, decoded


class Measure:
    """Makes rows, or takes those that were made before."""

    def __init__(self, models: tuple[str, ...], coders: Iterable[str]) -> None:
        self._folder = CACHE / "vae_fallback"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._versions = digest(idse.__version__, *versions())
        self._coders: dict[str, Callable[[Subject, int], Coded]] = {
            **{name: partial(stock, coder=coder) for name, coder in STOCK.items()},
            "steered JPEG": steered,
            "softened JPEG": softened,
            **{kind: partial(learned, kind=kind, models=models) for kind in OURS},
        }
        self._identities = ""
        if set(coders) & set(OURS):
            networks = codec_of(models).networks()
            self._identities = " ".join(network.identity.hex() for network in networks)

    def rows(
        self, path: Path, judge: str, coders: Iterable[str], open_subject: Callable[[], Subject]
    ) -> dict[str, dict[float, Row]]:
        """Return the rows of a picture by coder and rate; the subject is opened where need be."""
        subject: Subject | None = None
        found: dict[str, dict[float, Row]] = {}
        for coder in coders:
            for bpp in RATES:
                models = self._identities if coder in OURS else ""
                key = digest(self._versions, file_digest(path), judge, coder, f"{bpp:g}", models)
                kept = self._folder / f"{key}.json"
                if not kept.exists():
                    subject = subject or open_subject()
                    row = self._made(subject, coder, subject.limit(bpp))
                    write_atomically(kept, json.dumps(asdict(row)).encode())
                row = Row(**json.loads(kept.read_text(encoding="utf-8")))
                found.setdefault(coder, {})[bpp] = row
        return found

    def _made(self, subject: Subject, coder: str, limit: int) -> Row:
        try:
            made, decoded = self._coders[coder](subject, limit)
        except TargetError:
            return subject.lost()
        assert len(made) <= limit
        return subject.row(made, decoded)


def measured(
    name: str, images: int, measure: Measure, coders: tuple[str, ...]
) -> tuple[Rows, list[Detections], str]:
    """Measure a set; return rows of every picture, objects on its source, and what it is."""
    folder, judge_name = SETS[name]
    paths = sorted(path for path in data(folder).iterdir() if path.suffix.lower()[:2] == ".j")
    odd = paths[1::2]
    # Fewer are some of these, so that what was measured on more is not measured again.
    grid = odd[:: max(1, len(odd) // GRID)][:GRID]
    chosen = grid[:: max(1, GRID // images)][:images]
    network = load_model(judge_name)
    judge = Judge(network)
    steering = ImageSteering(models=(judge_name,))
    networks = Networks(steering)
    rows, truth = [], list[Detections]()
    for number, path in enumerate(chosen, 1):
        opened: list[Subject] = []

        def subject(path: Path = path, opened: list[Subject] = opened) -> Subject:
            if not opened:
                opened.append(Subject(path, judge, networks, steering))
            return opened[0]

        rows.append(measure.rows(path, judge_name, coders, subject))
        if network.head is not None and name == "coco":
            found = judge.observe(jfif_picture(read_pixels(path), 0)).found
            assert found is not None
            truth.append(confident(found))
        print(f"{time.strftime('%H:%M:%S')} {name} {number}/{len(chosen)}", file=sys.stderr)
    return rows, truth, f"{len(chosen)} odd images of {name}, evenly spread"


def main() -> None:
    """Measure, print and write ``results/vae_fallback.{json,md}``."""
    options = parser(__doc__, quick=True)
    options.add_argument("--images", type=int, default=GRID, help="of each set, at most 32 (32)")
    options.add_argument("--vae-model", action="append", default=[])
    options.add_argument("--peers", action="store_true", help="leave ours out, write nothing")
    options.add_argument("--without", nargs="+", choices=(*PEERS, *OURS[:-1]), default=[])
    options.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    args = options.parse_args()
    facts = machine()
    models = tuple(args.vae_model)
    every = PEERS if args.peers else (*PEERS, *OURS)
    coders = tuple(coder for coder in every if coder not in args.without)
    measure = Measure(models, coders)
    parts, kept = ["# The learned codec where JPEG gives out\n", f"`{command_line()}`\n"], {}
    if not args.peers:
        names = ", ".join(
            f"{network.name} ({network.identity[:8].hex()})"
            for network in codec_of(models).networks()
        )
        parts.append(f"Models: {names}. {ABOUT}\n")
    for name in args.only:
        rows, truth, about = measured(name, 2 if args.quick else args.images, measure, coders)
        rows = rows if args.peers else with_policy(rows)
        text, kept[name] = tables(rows, truth)
        what = "pseudo-mAP" if truth else "top-1 agreement"
        parts += [
            f"## {about}: {what} by {SETS[name][1]}\n",
            BRACKETS,
            text,
        ]
    print("\n".join(parts))
    if not args.peers:
        results = {"command": command_line(), "machine": facts, **kept}
        write_results(args.results / "vae_fallback", data=results, markdown="\n".join(parts))


if __name__ == "__main__":
    main()
