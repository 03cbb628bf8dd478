"""The learned fallback where JPEG gives out, against stock codecs at equal bytes; and its sizes.

    python tools/bench/vae_fallback.py [--images 24] [--vae-model FILE] [--peers]

Every codec gets so many bytes for every picture and fills them as well as it can; a picture that it
cannot code in so few counts as seen by nobody: another class, no object. Odd images alone are
reported. Measurements are kept (IDSE_BENCH_CACHE chooses where) by the content of picture and
models and the version of idse, so that a run goes on where one was interrupted; ``--peers``
measures what needs no model of ours.
"""

from __future__ import annotations

import io
import json
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from bench_common import CACHE, command_line, data, machine, parser
from PIL import Image, features

import idse
from idse.codecs.jpeg import decode as decode_jpeg
from idse.errors import TargetError
from idse.evaluation.average_precision import confident, match, mean_average_precision
from idse.evaluation.fingerprint import digest, file_digest
from idse.evaluation.judge import Judge
from idse.evaluation.metrics import ms_ssim, psnr
from idse.evaluation.pixels import jfif_picture, read_pixels
from idse.evaluation.table import markdown_table, write_results
from idse.files import write_atomically
from idse.pipeline.images.fallback import Attempt
from idse.pipeline.images.intra import decode_intra, encode_intra
from idse.pipeline.images.network import Networks
from idse.pipeline.images.options import ImageSteering, JpegOptions
from idse.pipeline.images.source import SourceImage
from idse.pipeline.images.steered import SteeredImage
from idse.pipeline.images.stock import encode_stock
from idse.pipeline.images.vae import codec_of
from idse.pipeline.report import Warnings
from idse.vision import load_model
from idse.vision.heads import Detections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from idse.evaluation.judge import Observation
    from idse.evaluation.pixels import RGB
    from idse.picture import Picture

# Folder and judge of each set; the judge also steers.
SETS = {
    "imagenet": ("imagenet", "efficientnet-lite0"),
    "coco": ("coco_val128/images", "yolov4-tiny"),
}
RATES = (0.03, 0.05, 0.08, 0.12, 0.2)
KODAK_RATES = (0.06, 0.12, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
PEERS = ("libjpeg-turbo", "WebP", "x264 intra", "steered JPEG", "softened JPEG")
OURS = ("vae-jpeg", "vae")
POLICY = "--fallback vae"
# Factors that pictures are scaled down by and up again, to be easier to code.
SOFTER = (2, 3, 4, 6, 8)
BOOTSTRAP = 2000
GRID = 24
ABOUT = """\
Every codec gets so many bytes for every picture and fills them as well as it can. A picture that it
cannot code in so few counts as seen by nobody: another class, no object, a distance of 1. JPEGs are
steered by the judge; softened ones are of the picture scaled down and up again by the factor of
2, 3, 4, 6 and 8 that leaves the judge's outputs nearest."""
BRACKETS = """\
In brackets: the VAE less this codec; of accuracy with a paired 95 % interval over images, of PSNR
and MS-SSIM over the pictures that both code in so few bytes. Distances are relative to the outputs'
square.
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of one picture at one target: nothing but ``bytes`` None where that is too little.

    Attributes
    ----------
    bytes, psnr, ms_ssim
        Of the file, and of luma.
    distance
        Squared distance of the judge's outputs, over their squared length.
    top1
        Whether the class is the source's; None for detectors.
    found
        Boxes, scores, classes; None for classifiers.
    """

    bytes: int | None = None
    psnr: float | None = None
    ms_ssim: float | None = None
    distance: float = 1.0
    top1: bool | None = None
    found: list[list[Any]] | None = None


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
            found=None if seen.found is None else _plain(seen.found),
        )

    def lost(self) -> Row:
        """Return what there is where no file is small enough: nothing."""
        return Row(
            top1=None if self.seen.top1 is None else False,
            found=None if self.seen.found is None else [[], [], []],
        )


def _plain(found: Detections) -> list[list[Any]]:
    kept = np.argsort(-found.scores, kind="stable")[:300]
    parts = (found.boxes.round(2), found.scores, found.classes)
    return [part[kept].tolist() for part in parts]


def _detections(plain: list[list[Any]]) -> Detections:
    boxes, scores, classes = plain
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
    )


def stock(subject: Subject, limit: int) -> tuple[bytes, RGB]:
    """Code by libjpeg-turbo: progressive, 4:2:0, Huffman codes made for the picture."""
    made = encode_stock(subject.source, JpegOptions(target_bytes=limit)).data
    return made, decode_jpeg(made)


def webp(subject: Subject, limit: int) -> tuple[bytes, RGB]:
    """Code by libwebp at its slowest, by the highest quality that fits."""
    image, best = Image.fromarray(subject.pixels), None
    low, high = -1, 101
    while high - low > 1:
        middle = (low + high) // 2
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=middle, method=6)
        if len(buffer.getvalue()) <= limit:
            low, best = middle, buffer.getvalue()
        else:
            high = middle
    if best is None:
        raise TargetError(f"{limit} bytes are too few for WebP")
    return best, np.asarray(Image.open(io.BytesIO(best)).convert("RGB"))


def intra(subject: Subject, limit: int) -> tuple[bytes, RGB]:
    """Code by x264, preset slower, one frame, without its comment."""
    made = encode_intra(subject.pixels, limit)
    return made, decode_intra(made, *subject.pixels.shape[:2])


def steered(subject: Subject, limit: int) -> tuple[bytes, RGB]:
    """Code as `idse image` does."""
    made = subject.steered.fitting(limit).data
    return made, decode_jpeg(made)


def softened(subject: Subject, limit: int) -> tuple[bytes, RGB]:
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


def learned(
    subject: Subject, limit: int, *, kind: str, models: tuple[str, ...]
) -> tuple[bytes, RGB]:
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
        self._versions = digest(
            idse.__version__, *(str(features.version(n)) for n in ("libjpeg_turbo", "webp"))
        )
        self._coders: dict[str, Callable[[Subject, int], tuple[bytes, RGB]]] = {
            "libjpeg-turbo": stock,
            "WebP": webp,
            "x264 intra": intra,
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


Rows = list[dict[str, dict[float, Row]]]


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


def with_policy(rows: Rows) -> Rows:
    """Add what the policy takes: what loses less by the judge, which also steers."""
    found = []
    for row in rows:
        best = {
            bpp: min((row[c][bpp] for c in ("steered JPEG", "vae")), key=_badness) for bpp in RATES
        }
        found.append({**row, POLICY: best})
    return found


def _badness(row: Row) -> float:
    return np.inf if row.bytes is None else row.distance


def accuracies(rows: Rows, truth: list[Detections], coder: str, bpp: float) -> np.ndarray:
    """Return the accuracy, percent: of the set, and of resamples of its pictures."""
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(rows), [1 / len(rows)] * len(rows), BOOTSTRAP)
    weights = np.concatenate([np.ones((1, len(rows)), np.int64), weights])
    mine = [row[coder][bpp] for row in rows]
    if truth:
        matches = [
            match(true, _detections(row.found or [[], [], []]))
            for true, row in zip(truth, mine, strict=True)
        ]
        return 100 * mean_average_precision(matches, weights)
    return 100 * weights @ [bool(row.top1) for row in mine] / len(rows)


def tables(rows: Rows, truth: list[Detections]) -> tuple[str, dict[str, Any]]:
    """Return the tables of a set, and the same as data."""
    coders = list(rows[0])
    reference = {bpp: accuracies(rows, truth, "vae", bpp) for bpp in RATES if "vae" in coders}
    parts, kept = [], {}
    header = ["accuracy, %", *(f"{bpp:g} bpp" for bpp in RATES)]
    lines = []
    for coder in coders:
        line = [coder]
        for bpp in RATES:
            drawn = accuracies(rows, truth, coder, bpp)
            text = f"{drawn[0]:.0f}"
            if bpp in reference and coder not in {"vae", POLICY}:
                low, high = np.percentile(reference[bpp][1:] - drawn[1:], [2.5, 97.5])
                text += f" ({reference[bpp][0] - drawn[0]:+.0f} [{low:+.0f}, {high:+.0f}])"
            line.append(text)
            kept[f"{coder} {bpp:g}"] = _summary(rows, coder, bpp) | {"accuracy": float(drawn[0])}
        lines.append(line)
    parts.append(markdown_table(header, lines))
    for title, key, form in (
        ("files that fit, %", "fit", "{:.0f}"),
        ("distance of outputs, median", "distance", "{:.3f}"),
        ("PSNR-Y, dB", "psnr", "{:.2f}"),
        ("MS-SSIM", "ms_ssim", "{:.3f}"),
    ):
        lines = [
            [coder, *(_cell(rows, kept, (coder, bpp), key, form) for bpp in RATES)]
            for coder in coders
        ]
        parts.append(markdown_table([title, *header[1:]], lines))
    return "\n".join(parts), kept


def _cell(rows: Rows, kept: dict[str, Any], place: tuple[str, float], key: str, form: str) -> str:
    """Return a figure, and for quality how much better the VAE is where both fit."""
    coder, bpp = place
    value = kept[f"{coder} {bpp:g}"][key]
    if not np.isfinite(value):
        return "-"
    text = form.format(value)
    if key not in {"psnr", "ms_ssim"} or "vae" not in rows[0] or coder in {"vae", POLICY}:
        return text
    pairs = [(getattr(row["vae"][bpp], key), getattr(row[coder][bpp], key)) for row in rows]
    both = [ours - other for ours, other in pairs if ours is not None and other is not None]
    return f"{text} ({form.replace(':', ':+').format(np.mean(both))})" if both else text


def _summary(rows: Rows, coder: str, bpp: float) -> dict[str, float]:
    mine = [row[coder][bpp] for row in rows]
    made = [row for row in mine if row.bytes is not None]
    sizes = [row.ms_ssim for row in made if row.ms_ssim is not None]
    vae = sum(r is row["vae"][bpp] for r, row in zip(mine, rows, strict=True) if "vae" in row)
    return {
        "fit": 100 * len(made) / len(mine),
        "distance": float(np.median([row.distance for row in mine])),
        "psnr": float(np.mean([row.psnr for row in made])) if made else float("nan"),
        "ms_ssim": float(np.mean(sizes)) if sizes else float("nan"),
        "vae": vae / len(mine),
    }


def sized(path: Path, models: tuple[str, ...]) -> list[dict[str, float]]:
    """Code a picture at every target, and decode it; or take what was found out before."""
    codec = codec_of(models)
    identities = " ".join(network.identity.hex() for network in codec.networks())
    kept = CACHE / "vae_fallback" / f"{digest(file_digest(path), identities, 'sizes')}.json"
    if not kept.exists():
        pixels = read_pixels(path)
        rows = []
        for bpp in KODAK_RATES:
            target = int(bpp * pixels.shape[0] * pixels.shape[1] / 8)
            times = [time.perf_counter(), time.process_time()]
            made = codec.encode(pixels, target)
            times += [time.perf_counter(), time.process_time()]
            codec.decode(made.data)
            times += [time.perf_counter(), time.process_time()]
            row = {"bpp": bpp, "target": target, "bytes": len(made.data)}
            names = ("encode", "encode_cpu", "decode", "decode_cpu")
            spans = (late - early for early, late in zip(times, times[2:], strict=False))
            rows.append(row | dict(zip(names, spans, strict=True)))
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, json.dumps(rows).encode())
    found: list[dict[str, float]] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def exact_sizes(models: tuple[str, ...], images: int) -> tuple[str, dict[str, Any]]:
    """Code some of Kodak at eight targets; return how near files come, and how long it takes."""
    paths = sorted(data("kodak").glob("*.png"))[:images]
    rows = [row for path in paths for row in sized(path, models)]
    gaps = [1 - row["bytes"] / row["target"] for row in rows]
    facts = {
        "files": len(gaps),
        "within 1 %": sum(0 <= gap <= 0.01 for gap in gaps),
        "above": sum(gap < 0 for gap in gaps),
        "below, median, %": 100 * float(np.median(gaps)),
        "below, largest, %": 100 * float(np.max(gaps)),
    }
    for name in ("encode", "decode"):
        for what, key in (("s", name), ("s of CPU", f"{name}_cpu")):
            facts[f"{name}, median {what}"] = float(np.median([row[key] for row in rows]))
    lines = [[name, f"{value:.3f}".rstrip("0").rstrip(".")] for name, value in facts.items()]
    title = f"Kodak, {len(paths)} images, 8 targets (0.06 to 2 bpp)"
    return markdown_table([title, ""], lines), facts | {"rows": rows}


def main() -> None:
    """Measure, print and write ``results/vae_fallback.{json,md}``."""
    options = parser(__doc__, quick=True)
    options.add_argument("--images", type=int, default=GRID, help="of each set, at most 24 (24)")
    options.add_argument("--kodak", type=int, default=24, help="of its images (24)")
    options.add_argument("--vae-model", action="append", default=[])
    options.add_argument("--peers", action="store_true", help="leave ours out, write nothing")
    options.add_argument("--without", nargs="+", choices=(*PEERS, "vae-jpeg"), default=[])
    options.add_argument("--only", nargs="+", choices=[*SETS, "kodak"], default=[*SETS, "kodak"])
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
        parts.append(
            f"Models: {names}. {__doc__.split('    python')[1].partition(chr(10))[2].strip()}\n"
        )
    for name in (n for n in args.only if n in SETS):
        rows, truth, about = measured(name, 2 if args.quick else args.images, measure, coders)
        rows = rows if args.peers else with_policy(rows)
        text, kept[name] = tables(rows, truth)
        what = "pseudo-mAP" if truth else "top-1 agreement"
        parts += [
            f"## {about}: {what} by {SETS[name][1]}\n",
            BRACKETS,
            text,
        ]
    if "kodak" in args.only and not args.peers:
        text, kept["kodak"] = exact_sizes(models, args.kodak)
        parts += ["## Sizes and times\n", text]
    print("\n".join(parts))
    if not args.peers:
        results = {"command": command_line(), "machine": facts, **kept}
        write_results(args.results / "vae_fallback", data=results, markdown="\n".join(parts))


if __name__ == "__main__":
    main()
