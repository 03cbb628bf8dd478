"""BD-rate of steering with its defaults against stock x264: images as intra frames, and a video.

    python tools/bench/first_gain.py [--quick]

Judged by the network that made the maps and by one that did not, by the protocol of
``idse.evaluation``. Takes about 20 minutes on two idle cores; a run that was interrupted goes on
where it was (set IDSE_BENCH_CACHE to choose where measurements are kept).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench_common import (
    ANCHOR,
    CACHE,
    JOBS,
    beginning,
    command_line,
    data,
    machine,
    need,
    parser,
)

from idse.evaluation.configuration import Configuration
from idse.evaluation.evaluate import Plan, evaluate
from idse.evaluation.panel import Panel
from idse.evaluation.runner import Runner
from idse.evaluation.sources import Clip, find_sources
from idse.evaluation.table import bd_rate_table, write_results

if TYPE_CHECKING:
    from idse.evaluation.results import Result
    from idse.evaluation.sources import Source

MODEL, TRANSFER = "yolov4-tiny", "mobilenet_v2"
CRFS = tuple(range(23, 48, 4))
STEERED = "steered defaults"
CONFIGURATIONS = {
    ANCHOR: "--no-steer",
    "stock AQ mode 2": "--no-steer --x264-params aq-mode=2",
    "stock AQ mode 3": "--no-steer --x264-params aq-mode=3",
    "stock tune psnr (AQ off)": "--no-steer --tune psnr",
    STEERED: "",
}
BLOCK_SECONDS = 5


def sources(*, quick: bool) -> tuple[Source, Source]:
    """Return the odd images of ``coco_val128`` and the second half of ``vtest.avi``, or a bit."""
    (images,) = find_sources([str(data("coco_val128/images"))], selection="odd")
    clip = data("video/vtest.avi")
    if quick:
        images = replace(images, paths=images.paths[:4])
        return images, Clip.open(beginning(clip, 3), start=1, step=2, block=1)
    return images, Clip.open(clip, start=40, step=2, block=BLOCK_SECONDS)


def report(result: Result) -> dict[str, Any]:
    """Return BD-rates and curves, and their table as ``markdown``."""
    table = bd_rate_table(
        {
            metric: {name: value for name, value in column.items() if name != ANCHOR}
            for metric, column in result.bd_rate.items()
        }
    )
    told = result.json()
    return {key: told[key] for key in ("sample", "bd_rate", "curves")} | {"markdown": table}


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
    chosen = {k: v for k, v in CONFIGURATIONS.items() if not args.quick or k in (ANCHOR, STEERED)}
    plan = Plan(
        sources=sources(quick=args.quick),
        configurations=tuple(Configuration(name=k, arguments=v) for k, v in chosen.items()),
        anchor=ANCHOR,
        rates=CRFS,
    )
    with Runner(JOBS) as runner:
        found = evaluate(plan, Panel(models=(MODEL, TRANSFER), cache=CACHE), runner)
    images, video = map(report, found.results)
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
