"""BD-rate of steering with its defaults against stock x264: images as intra frames, and a video.

    python tools/bench/first_gain.py [--quick]

Judged by the network that made the maps and by one that did not, by the protocol of
``idse.evaluation``. Takes about 20 minutes on two idle cores; a run that was interrupted goes on
where it was (set IDSE_BENCH_CACHE to choose where measurements are kept).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import bench_images
import bench_video
import numpy as np
from bench_common import command_line, data, machine, need, parser
from bench_judging import Clip, Images, Panel, pool, read

from idse.evaluation.comparison import Comparison, RatePoint
from idse.evaluation.table import bd_rate_table, estimates_json, write_results
from idse.vision.heads import Detections

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor
    from pathlib import Path

MODEL, TRANSFER = "yolov4-tiny", "mobilenet_v2"
CRFS = tuple(range(23, 48, 4))
ANCHOR = "stock default"
STEERED = "steered defaults"
# x264 options of every configuration; None is steered and changes none.
CONFIGURATIONS: dict[str, dict[str, str] | None] = {
    ANCHOR: {},
    "stock AQ mode 2": {"aq-mode": "2"},
    "stock AQ mode 3": {"aq-mode": "3"},
    "stock tune psnr (AQ off)": {"tune": "psnr"},
    STEERED: None,
}
BLOCK_SECONDS = 5


def configurations(*, quick: bool) -> dict[str, dict[str, str] | None]:
    """Return all configurations, or for a smoke test one of each kind."""
    return {k: v for k, v in CONFIGURATIONS.items() if not quick or k in (ANCHOR, STEERED)}


def true_boxes(images: Images) -> list[Detections]:
    """Return the labelled boxes of COCO images, in luma samples."""
    found = []
    for path, item in zip(images.paths, images.pictures(), strict=True):
        labels = path.parents[1] / "labels" / f"{path.stem}.txt"
        text = labels.read_text(encoding="utf-8").split() if labels.exists() else []
        table = np.array(text, np.float64).reshape(-1, 5)
        low, high = table[:, 1:3] - table[:, 3:] / 2, table[:, 1:3] + table[:, 3:] / 2
        corners = np.concatenate([low, high], axis=1) * (
            [item.format.width, item.format.height] * 2
        )
        found.append(
            Detections(
                corners.astype(np.float32),
                np.ones(len(table), np.float32),
                table[:, 0].astype(np.int64),
            )
        )
    return found


def images_part(workers: ProcessPoolExecutor, panel: Panel, *, quick: bool) -> dict[str, Any]:
    """Compare on the odd images of ``coco_val128``."""
    paths = tuple(sorted(data("coco_val128/images").glob("*.jpg"))[1::2])
    images = Images(paths[:4] if quick else paths)
    panel.judge_sources(workers, images)
    halves = [slice(0, len(images.paths), 2), slice(1, len(images.paths), 2)]
    jobs = [workers.submit(bench_images.weights, images, MODEL, half) for half in halves]
    importance: list[Any] = [None] * len(images.paths)
    for half, job in zip(halves, jobs, strict=True):
        importance[half] = job.result()
    running = {
        (name, crf): workers.submit(
            bench_images.encode_set,
            images,
            panel,
            {} if options is None else options,
            crf,
            importance if options is None else None,
        )
        for name, options in configurations(quick=quick).items()
        for crf in CRFS
    }
    points = collect({key: job.result() for key, job in running.items()})
    comparison = Comparison(
        panel.verdicts(images),
        units=np.arange(len(images.paths)),
        labels=true_boxes(images),
    )
    return report(comparison, points, f"{len(images.paths)} images")


def video_part(workers: ProcessPoolExecutor, panel: Panel, *, quick: bool) -> dict[str, Any]:
    """Compare on the second half of ``vtest.avi``; all of it is encoded."""
    path = data("video/vtest.avi")
    clip = Clip(bench_video.beginning(path, 3), 10, 30, 2) if quick else Clip(path, 400, 795, 2)
    panel.judge_sources(workers, clip)
    running = {
        (name, crf): workers.submit(
            bench_video.encode_clip, clip, panel, bench_video.arguments(options), crf
        )
        for name, options in configurations(quick=quick).items()
        for crf in CRFS
    }
    points = collect({key: job.result()[:2] for key, job in running.items()})
    seconds = 1 if quick else BLOCK_SECONDS
    units = bench_video.blocks(clip, seconds=seconds)
    comparison = Comparison(panel.verdicts(clip), units=units)
    sample = f"frames {clip.first} to {clip.last - 1}, {units.max() + 1} blocks of {seconds} s"
    return report(comparison, points, sample)


def collect(results: dict[tuple[str, int], tuple[Any, Path]]) -> dict[str, list[RatePoint]]:
    """Return the measured points by configuration."""
    points: dict[str, list[RatePoint]] = {}
    for (name, _), (size, path) in results.items():
        points.setdefault(name, []).append(RatePoint(size=size, measurement=read(path)))
    return points


def report(
    comparison: Comparison, points: dict[str, list[RatePoint]], sample: str
) -> dict[str, Any]:
    """Return BD-rates and curves, and their table as ``markdown``."""
    rates = comparison.bd_rates(points, anchor=ANCHOR)
    table = bd_rate_table(
        {
            metric: {name: value for name, value in column.items() if name != ANCHOR}
            for metric, column in rates.items()
        }
    )
    return {
        "sample": sample,
        "bd_rate": estimates_json(rates),
        "curves": comparison.curves(points),
        "markdown": table,
    }


PROTOCOL = f"""BD-rate in percent against {ANCHOR} (preset medium, CRF {CRFS[0]} to {CRFS[-1]} in
steps of {CRFS[1] - CRFS[0]}), negative saves bytes, over the accuracies that all configurations
reach. 95 % paired bootstrap interval over images or blocks, 1000 resamples; bold is a gain whose
interval leaves 0 out and whose half-width is under half of it. With 8 blocks an interval is itself
rough. Maps by {MODEL}; {TRANSFER} did not make them. Labels: what the judge finds in the source
with a score of at least 0.25, or people's boxes. PSNR-Y and MS-SSIM are for the eye. Images:
each is one intra frame, offsets normalised over the set, bytes of the coded picture. Video: `idse
transcode` of the whole file, every second frame judged. One libx264 build for all.
"""


def main() -> None:
    """Measure, print and write ``results/first_gain.{json,md}``."""
    args = parser(__doc__, quick=True).parse_args()
    need("ffmpeg")
    start, facts = time.monotonic(), machine()
    panel = Panel((MODEL, TRANSFER))
    with pool() as workers:
        images = images_part(workers, panel, quick=args.quick)
        video = video_part(workers, panel, quick=args.quick)
    text = "# Gain of the default steering over stock x264\n\n"
    text += f"`{command_line()}`, {(time.monotonic() - start) / 60:.0f} minutes\n\n{PROTOCOL}"
    text += f"\n## coco_val128, odd images, intra ({images['sample']})\n\n"
    text += images.pop("markdown")
    text += f"\n## vtest.avi, inter ({video['sample']})\n\n"
    text += video.pop("markdown")
    print(text)
    results = {"command": command_line(), "machine": facts, "crf": CRFS}
    results |= {"images": images, "video": video}
    write_results(args.results / "first_gain", data=results, markdown=text)


if __name__ == "__main__":
    main()
