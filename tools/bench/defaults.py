"""Gain and cost against n_s and the time between analyses.

    python tools/bench/defaults.py [--quick]

On the first half of ``vtest.avi`` only: the second half is for reporting. One setting is varied at
a time: n_s with an analysis every 5 s, the time between analyses with n_s 4 and 8; matrices are
flat and alpha is 0.3 in all. Takes about 20 minutes on two idle cores. The results that are kept
are from before frames waited for the next analysis.
"""

from __future__ import annotations

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

from idse.evaluation.comparison import Comparison
from idse.evaluation.configuration import Configuration
from idse.evaluation.panel import Panel
from idse.evaluation.results import cpu_ratios
from idse.evaluation.runner import Runner, Work
from idse.evaluation.sources import Clip
from idse.evaluation.table import cell, estimates_json, markdown_table, write_results

MODEL = "yolov4-tiny"
CRFS = tuple(range(23, 44, 4))
SKETCHES = (1, 2, 4, 8, 16)
INTERVALS = (1, 2.5, 5, 10, 20)
N_S, EVERY = (4, 8), 5  # what the other one is varied at
REST = "--matrices flat --alpha 0.3"
SECONDS = 40  # the first half
JUDGED_EVERY = 4
BLOCK_SECONDS = 5


def configurations(*, quick: bool) -> tuple[Configuration, ...]:
    """Return what is compared, the anchor first."""
    pairs = [(n, EVERY) for n in SKETCHES]
    pairs += [(n, every) for n in N_S for every in INTERVALS if (n, every) not in pairs]
    if quick:
        pairs = pairs[:1]
    steered = {f"n_s {n}, every {s:g} s": f"{REST} --n-s {n} --analyse-every {s}" for n, s in pairs}
    return tuple(
        Configuration(name=name, arguments=arguments)
        for name, arguments in ({ANCHOR: "--no-steer"} | steered).items()
    )


def main() -> None:
    """Measure, print and write ``results/defaults.{json,md}``."""
    args = parser(__doc__, quick=True).parse_args()
    need("ffmpeg")
    facts = machine()
    seconds = 3 if args.quick else SECONDS
    part = beginning(data("video/vtest.avi"), seconds)
    clip = Clip.open(part, step=JUDGED_EVERY, block=1 if args.quick else BLOCK_SECONDS)
    panel = Panel(models=(MODEL,), cache=CACHE)
    chosen = configurations(quick=args.quick)
    with Runner(JOBS) as runner:
        (points,) = runner.run(panel, [Work(source=clip, configurations=chosen, rates=CRFS)])
    comparison = Comparison(panel.verdicts(clip), units=clip.units())
    rates = comparison.bd_rates(points, anchor=ANCHOR)
    cost = cpu_ratios(points, ANCHOR)
    analysed = {name: row[-1].report["frames_analysed"] for name, row in points.items()}
    header = ["", *rates, "frames analysed", "CPU, x unsteered"]
    rows = []
    for item in chosen[1:]:
        name = item.name
        gains = [cell(column[name]) for column in rates.values()]
        rows.append([name, *gains, str(analysed[name]), f"{cost[name]:.2f}"])
    text = "# Gain and cost by n_s and by the time between analyses\n\n"
    text += f"`{command_line()}`\n\n"
    text += f"The first {seconds} s of vtest.avi, every fourth frame judged by {MODEL}, which made "
    text += f"the maps; BD-rate in percent against {ANCHOR}, CRF {CRFS[0]} to {CRFS[-1]}, 95 % "
    text += f"bootstrap over {clip.units().max() + 1} blocks. All with `{REST}`. "
    text += "CPU is user and system time of the "
    text += "whole command over that of `--no-steer`, the start of Python and torch included.\n\n"
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
