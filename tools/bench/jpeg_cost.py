"""What a JPEG for machines costs beside the network's own time, against other encoders, in one run.

    python tools/bench/jpeg_cost.py [--runs 9]

Encoders take turns on the same pictures of one megapixel, in one thread of one process, so that a
slow minute of the machine hits all of them. Processor time is measured; every ratio is the median
over turns and pictures. A
stopwatch inside the encoder takes out what the network itself takes, forwards and backwards:
everything else, also what is made of its gradients, is ours. Peak memory is that of a process that
does nothing else, on one and on four megapixels, without the network. Run it on an otherwise idle
machine.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_common import command_line, data, machine, parser

os.environ.update(OMP_NUM_THREADS="1", VIPS_CONCURRENCY="1")

import numpy as np
import torch
from PIL import Image

from idse.codecs import jpeg
from idse.evaluation.coders import find_coder
from idse.evaluation.table import markdown_table, write_results
from idse.importance import analyser
from idse.pipeline.images.encoder import JpegEncoder
from idse.pipeline.images.network import Networks
from idse.pipeline.images.options import ImageSteering, JpegOptions
from idse.pipeline.images.source import SourceImage
from idse.pipeline.images.steered import SteeredImage
from idse.pipeline.report import peak_rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from idse.picture import Picture

    Pixels = npt.NDArray[np.uint8]

SIDE = 1024
QUALITY = 75
STOCK, MOZJPEG = "libjpeg-turbo, optimised", "mozjpeg, trellis"
MIB = 1 << 20
MEMORY = ("libjpeg-turbo, optimised", "mozjpeg, trellis", "ours, to a size")


@dataclass
class Stopwatch:
    """Adds up the seconds that the network takes inside the encoder."""

    seconds: float = 0.0
    inner: Callable[..., Any] = field(default_factory=lambda: analyser.sketch_gradients)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        begin = time.process_time()
        try:
            return self.inner(*arguments, **options)
        finally:
            self.seconds += time.process_time() - begin


@dataclass(frozen=True)
class Turn:
    """One encode: CPU milliseconds beside the network, those of the network, and bytes."""

    own: float
    network: float
    size: int


class Uniform(Networks):
    """Weighs everything alike, at no cost: for memory without a network."""

    def __init__(self) -> None:
        super().__init__(ImageSteering())

    def weights(self, picture: Picture) -> list[npt.NDArray[np.float32]]:
        """Return ones."""
        shapes = [plane.shape for plane in picture.planes]
        return [np.ones((-(-r // 8), -(-c // 8), 8, 8), np.float32) for r, c in shapes]


def pictures(count: int) -> Iterator[tuple[str, Pixels]]:
    """Yield ``count`` mosaics of four photographs, and as many photographs made smaller."""
    mosaic: list[Pixels] = []
    number = 0
    for path in sorted(data("kodak").iterdir()):
        with Image.open(path) as image:
            if image.size == (768, 512):
                mosaic.append(np.asarray(image.convert("RGB"))[:, 128:640])
        if len(mosaic) == 4 and number < count:
            number += 1
            yield f"kodak {number}", np.vstack([np.hstack(mosaic[:2]), np.hstack(mosaic[2:])])
            mosaic = []
    for path in sorted(data("train_photos/budgie").iterdir())[:count]:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
        yield path.stem, np.asarray(small)


def peers() -> dict[str, Callable[[Pixels], bytes]]:
    """Return the other encoders, by name."""
    moz = find_coder("mozjpeg")

    def by(options: str) -> Callable[[Pixels], bytes]:
        coder: Any = moz.parse(options.split())
        return lambda pixels: coder.encode_one(pixels, QUALITY, {})

    jpegli: Any = find_coder("jpegli").parse([])
    turbo: Any = find_coder("libjpeg-turbo").parse([])
    return {
        STOCK: lambda pixels: jpeg.encode(pixels, quality=QUALITY),
        "libjpeg-turbo, optimised, by Pillow": lambda pixels: turbo.encode_one(pixels, QUALITY, {}),
        "libjpeg-turbo, progressive": lambda pixels: jpeg.encode(
            pixels, quality=QUALITY, progressive=True
        ),
        MOZJPEG: by("--baseline"),
        "mozjpeg, trellis and scans": by(""),
        "jpegli": lambda pixels: jpegli.encode_one(pixels, QUALITY, {}),
    }


class Ours:
    """Our encoder in several modes, the network's time apart."""

    def __init__(self, model: str) -> None:
        self._watch = Stopwatch()
        analyser.sketch_gradients = self._watch
        self._encoder = JpegEncoder(model=model)
        self._scales: dict[int, float] = {}

    def modes(self, pixels: Pixels, stock_bytes: int) -> dict[str, Callable[[], Turn]]:
        """Return what is measured on a picture, by name."""
        source = SourceImage(pixels=pixels)
        found: dict[str, Callable[[], Turn]] = {}
        for kind, progressive in (("baseline", False), ("progressive", True)):
            asked = {
                "to a quality": JpegOptions(quality=QUALITY, progressive=progressive),
                "to a size": JpegOptions(target_bytes=stock_bytes // 2, progressive=progressive),
            }
            for what, options in asked.items():
                found[f"ours, {kind}, {what}"] = lambda o=options: self._encode(source, o)
            quality = asked["to a quality"]
            found[f"ours, {kind}, at a scale"] = lambda o=quality: self._encode(
                source, o, self._scale(source)
            )
        return found

    def _scale(self, source: SourceImage) -> float:
        if id(source) not in self._scales:
            report = self._encoder.encode_image(source, JpegOptions(quality=QUALITY)).report
            assert report.scale is not None
            self._scales[id(source)] = report.scale
        return self._scales[id(source)]

    def _encode(
        self, source: SourceImage, options: JpegOptions, scale: float | None = None
    ) -> Turn:
        self._watch.seconds = 0.0
        begin = time.process_time()
        made = self._encoder.encode_image(source, options, scale=scale)
        seconds = time.process_time() - begin
        network = self._watch.seconds
        return Turn(1000 * (seconds - network), 1000 * network, len(made.data))


def timed(encode: Callable[[Pixels], bytes], pixels: Pixels) -> Turn:
    """Run another encoder once."""
    begin = time.process_time()
    made = encode(pixels)
    return Turn(1000 * (time.process_time() - begin), 0.0, len(made))


def take_turns(model: str, runs: int, count: int) -> dict[str, list[Turn]]:
    """Run all encoders in turn on every picture, once more before to fill the caches."""
    ours, others = Ours(model), peers()
    turns: dict[str, list[Turn]] = {}
    for name, pixels in pictures(count):
        print(name, file=sys.stderr, flush=True)
        half = len(others[STOCK](pixels))
        modes: dict[str, Callable[[], Turn]] = {
            other: lambda e=encode, p=pixels: timed(e, p) for other, encode in others.items()
        }
        modes |= ours.modes(pixels, half)
        for run in range(runs + 1):
            for mode, take in modes.items():
                turn = take()
                if run:
                    turns.setdefault(mode, []).append(turn)
    return turns


def peak(case: str, side: int) -> int:
    """Return by how many bytes an encode of ``side`` squared pixels raises a process' peak."""
    command = [sys.executable, __file__, "--memory", case, "--side", str(side)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout))


def measure_peak(case: str, side: int) -> int:
    """Encode once in this process, and return by how much that raised its peak."""
    _, pixels = next(pictures(1))
    repeat = side // SIDE
    large = np.tile(pixels, (repeat, repeat, 1))
    if case in peers():
        encode = peers()[case]
        encode(large[:64, :64].copy())
        before = _forget_peak()
        encode(large)
    else:
        networks = Uniform()
        options = JpegOptions(target_bytes=large.size // 60)
        small = JpegOptions(bpp=1.0)
        SteeredImage(SourceImage(pixels=large[:64, :64].copy()), networks, small).encode()
        before = _forget_peak()
        SteeredImage(SourceImage(pixels=large), networks, options).encode()
    return peak_rss_bytes() - before


def _forget_peak() -> int:
    """Begin to look for the peak anew (proc(5), clear_refs), and return what is resident now.

    What was freed goes back first: an encode that found room there would seem to need none.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak_rss_bytes()


def ratio(turns: dict[str, list[Turn]], name: str, base: str) -> float:
    """Return the median of an encoder's time over another's in the same turn."""
    pairs = zip(turns[name], turns[base], strict=True)
    return statistics.median(a.own / b.own for a, b in pairs)


def table(turns: dict[str, list[Turn]]) -> str:
    """Return medians, and ratios of the same turn."""
    rows = [
        [
            name,
            f"{statistics.median(turn.own for turn in row):.1f}",
            f"{ratio(turns, name, STOCK):.2f}",
            f"{ratio(turns, name, MOZJPEG):.2f}",
            f"{statistics.median(turn.network for turn in row):.0f}" if row[0].network else "",
            f"{statistics.mean(turn.size for turn in row) / 1000:.0f}",
        ]
        for name, row in turns.items()
    ]
    header = ["", "CPU ms", "x libjpeg-turbo", "x mozjpeg", "network, ms", "kB"]
    return markdown_table(header, rows)


def main() -> None:
    """Measure, print and write ``results/jpeg_cost.{json,md}``."""
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=9)
    options.add_argument("--pictures", type=int, default=3, help="of each kind (3)")
    options.add_argument("--model", default="yolov4-tiny")
    options.add_argument("--memory", help="measure the peak of one encoder in this process")
    options.add_argument("--side", type=int, default=SIDE)
    args = options.parse_args()
    torch.set_num_threads(1)
    if args.memory:
        print(json.dumps(measure_peak(args.memory, args.side)))
        return
    facts = machine()
    turns = take_turns(args.model, args.runs, args.pictures)
    sides = (SIDE, 2 * SIDE)
    peaks = {case: [peak(case, side) for side in sides] for case in MEMORY}
    versions = [find_coder(name).version() for name in ("libjpeg-turbo", "mozjpeg", "jpegli")]
    versions.append(f"libjpeg-turbo {jpeg.library_version()} in idse")
    text = f"# What JPEG for machines costs\n\n`{command_line()}`\n\n"
    text += (
        f"{2 * args.pictures} pictures of {SIDE}x{SIDE}, 4:2:0, one thread, medians of {args.runs} "
        f"turns on each; {facts['cores']} cores of {facts['processor']}, load "
        f"{facts['load_before']:.2f} before the run. Others at quality {QUALITY}; ours to what "
        f"libjpeg-turbo loses there, to half of its bytes, or at a scale that is known, as in a "
        f"folder. Ours beside the network ({args.model}), whose own time is in its column. "
        f"{', '.join(versions)}.\n\n"
    )
    text += table(turns)
    rows = [[case, *(f"{size / MIB:.0f}" for size in found)] for case, found in peaks.items()]
    text += "\nPeak memory of an encode, without the network:\n\n"
    text += markdown_table(["", *(f"{side}x{side}, MiB" for side in sides)], rows)
    print(text)
    results = {
        "command": command_line(),
        "machine": facts,
        "versions": versions,
        "ratio": {
            name: {
                "libjpeg-turbo": ratio(turns, name, STOCK),
                "mozjpeg": ratio(turns, name, MOZJPEG),
            }
            for name in turns
        },
        "turns": {name: [turn.__dict__ for turn in row] for name, row in turns.items()},
        "peak_bytes": {
            case: dict(zip(map(str, sides), found, strict=True)) for case, found in peaks.items()
        },
    }
    write_results(args.results / "jpeg_cost", data=results, markdown=text)


if __name__ == "__main__":
    main()
