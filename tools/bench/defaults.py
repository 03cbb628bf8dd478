"""Why the defaults are what they are: gain and cost against n_s and the time between analyses.

    python tools/bench/defaults.py [--quick]

On the first half of ``vtest.avi`` only: the second half is for reporting. One setting is varied at
a time: n_s with an analysis every 5 s, the time between analyses with n_s 4 and 8. Takes about 20
minutes on two idle cores.
"""

from __future__ import annotations

import statistics

import bench_video
from bench_common import Usage, command_line, data, machine, need, parser
from bench_judging import Clip, Panel, pool, read

from idse.evaluation.comparison import Comparison, RatePoint
from idse.evaluation.table import cell, estimates_json, markdown_table, write_results

MODEL = "yolov4-tiny"
CRFS = tuple(range(23, 44, 4))
ANCHOR = "stock default"
SKETCHES = (1, 2, 4, 8, 16)
INTERVALS = (1, 2.5, 5, 10, 20)
N_S, EVERY = (4, 8), 5  # what the other one is varied at
SECONDS = 40  # the first half
JUDGED_EVERY = 4
BLOCK_SECONDS = 5


def configurations(*, quick: bool) -> dict[str, list[str]]:
    """Return the options of `idse transcode` by what they are called in the table."""
    pairs = [(n, EVERY) for n in SKETCHES]
    pairs += [(n, every) for n in N_S for every in INTERVALS if (n, every) not in pairs]
    if quick:
        pairs = pairs[:1]
    steered = {
        f"n_s {n}, every {every:g} s": ["--n-s", str(n), "--analyse-every", str(every)]
        for n, every in pairs
    }
    return {ANCHOR: ["--no-steer"]} | steered


def main() -> None:
    """Measure, print and write ``results/defaults.{json,md}``."""
    args = parser(__doc__, quick=True).parse_args()
    need("ffmpeg")
    facts = machine()
    seconds = 3 if args.quick else SECONDS
    part = bench_video.beginning(data("video/vtest.avi"), seconds)
    clip = Clip(part, 0, 10 * seconds, JUDGED_EVERY)
    panel = Panel((MODEL,))
    chosen = configurations(quick=args.quick)
    points: dict[str, list[RatePoint]] = {}
    usages: dict[str, list[Usage]] = {}
    analysed: dict[str, int] = {}
    with pool() as workers:
        panel.judge_sources(workers, clip)
        running = {
            (name, crf): workers.submit(bench_video.encode_clip, clip, panel, extra, crf)
            for name, extra in chosen.items()
            for crf in CRFS
        }
        for (name, _), job in running.items():
            size, path, usage, told = job.result()
            points.setdefault(name, []).append(RatePoint(size=size, measurement=read(path)))
            usages.setdefault(name, []).append(usage)
            analysed[name] = told["frames_analysed"]

    units = bench_video.blocks(clip, seconds=1 if args.quick else BLOCK_SECONDS)
    comparison = Comparison(panel.verdicts(clip), units=units)
    rates = comparison.bd_rates(points, anchor=ANCHOR)
    cost = {
        name: statistics.median(
            own.cpu / stock.cpu for own, stock in zip(usage, usages[ANCHOR], strict=True)
        )
        for name, usage in usages.items()
    }
    header = ["", *rates, "frames analysed", "CPU, x unsteered"]
    rows = []
    for name in list(chosen)[1:]:
        gains = [cell(column[name]) for column in rates.values()]
        rows.append([name, *gains, str(analysed[name]), f"{cost[name]:.2f}"])
    text = "# Gain and cost by n_s and by the time between analyses\n\n"
    text += f"`{command_line()}`\n\n"
    text += f"The first {seconds} s of vtest.avi, every fourth frame judged by {MODEL}, which made "
    text += f"the maps; BD-rate in percent against {ANCHOR}, CRF {CRFS[0]} to {CRFS[-1]}, 95 % "
    text += f"bootstrap over {units.max() + 1} blocks. CPU is user and system time of the whole "
    text += "command over that of `--no-steer`, the start of Python and torch included.\n\n"
    text += markdown_table(header, rows)
    print(text)
    results = {
        "command": command_line(),
        "machine": facts,
        "crf": CRFS,
        "bd_rate": estimates_json(rates),
        "curves": comparison.curves(points),
        "frames_analysed": analysed,
        "cpu_ratio": cost,
    }
    write_results(args.results / "defaults", data=results, markdown=text)


if __name__ == "__main__":
    main()
