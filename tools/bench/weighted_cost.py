"""What distortion weights cost inside libx264: processor time of the encoder, interleaved.

Ones, and sketches of nothing, leave every decision as it was: what they take is overhead alone.
"""

from __future__ import annotations

import json
import logging
import resource
import statistics
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from bench_common import command_line, data, machine, parser

from idse.allocation.weights import block_weights
from idse.codecs.x264 import Distortion, Encoder, X264Library, load_library
from idse.pipeline.frames import picture

if TYPE_CHECKING:
    from idse.picture import Picture

logging.getLogger("idse.codecs.x264").setLevel(logging.ERROR)
_SKETCHES = 8


def seconds() -> float:
    """Return the user and system time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def configurations(mb_shape: tuple[int, int]) -> dict[str, Distortion | None]:
    """Return what is compared, by name."""
    rng = np.random.default_rng(1)
    blocks = (4 * mb_shape[0], 4 * mb_shape[1])
    ones = np.ones(blocks, np.float32)
    uneven = block_weights(np.exp(rng.normal(0, 1.5, blocks)), mb_shape)

    def sketched(cells: int) -> Distortion:
        nothing = np.zeros((_SKETCHES, cells * mb_shape[0], cells * mb_shape[1]), np.float32)
        return Distortion(ones, nothing, np.ones(mb_shape, np.float32))

    return {
        "no weights": None,
        "ones": Distortion(ones),
        "uneven weights": Distortion(uneven),
        "sketches of nothing, 4 cells": sketched(4),
        "sketches of nothing, 8 cells": sketched(8),
    }


def encode(
    pictures: list[Picture], preset: str, library: X264Library, weights: Distortion | None
) -> tuple[float, int]:
    """Encode with one thread; return processor seconds and bytes."""
    form = pictures[0].format
    start, size = seconds(), 0
    with Encoder(
        width=form.width,
        height=form.height,
        fps=Fraction(25),
        preset=preset,
        options={"threads": "1"},
        library=library,
    ) as encoder:
        for pts, item in enumerate(pictures):
            packets = encoder.encode(item.planes, pts=pts, weights=weights)
            size += sum(len(packet.data) for packet in packets)
        size += sum(len(packet.data) for packet in encoder.flush())
    return seconds() - start, size


def main() -> None:
    """Measure, and write JSON."""
    made = parser(__doc__)
    made.add_argument("--preset", default="medium")
    made.add_argument("--frames", type=int, default=60)
    made.add_argument("--rounds", type=int, default=9)
    made.add_argument("--stock", type=Path, help="an unedited libx264 built the same way")
    args = made.parse_args()
    with av.open(data("video/vtest.avi")) as container:
        frames = islice(container.decode(video=0), args.frames)
        pictures = [picture(frame, index) for index, frame in enumerate(frames)]
    weighted = load_library(weighted=True)
    jobs = {
        name: (weighted, weights)
        for name, weights in configurations(pictures[0].format.mb_shape).items()
    }
    if args.stock:
        jobs["stock"] = (load_library(args.stock), None)
    base = "stock" if args.stock else "no weights"
    times: dict[str, list[float]] = {name: [] for name in jobs}
    sizes = {}
    order = np.random.default_rng(0)
    for _ in range(args.rounds):
        for name in order.permutation(list(jobs)):
            spent, sizes[name] = encode(pictures, args.preset, *jobs[name])
            times[name].append(spent)
    rows = {
        name: {
            "seconds": statistics.median(spent),
            "percent": 100 * (statistics.median(spent) / statistics.median(times[base]) - 1),
            "bytes": sizes[name],
        }
        for name, spent in times.items()
    }
    report = {"command": command_line(), "machine": machine(), "against": base, "rows": rows}
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / f"weighted_cost-{args.preset}.json").write_text(json.dumps(report, indent=2))
    for name, row in rows.items():
        print(f"{name:32} {row['seconds']:.3f} s {row['percent']:+.1f} % {row['bytes']} bytes")


if __name__ == "__main__":
    main()
