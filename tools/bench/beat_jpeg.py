"""JPEG for machines against other JPEG encoders, on images that nothing was chosen on.

    python tools/bench/beat_jpeg.py [--only coco imagenet] [--peers]

Peers get the tuning that we get: their options are chosen on even images, everything is reported on
odd ones. Measurements are kept by content (IDSE_BENCH_CACHE chooses where), so that a run goes on
where one was interrupted; ``--peers`` measures what does not change while we do. An hour on two
cores.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_common import CACHE, command_line, data, machine, need, parser, told

from idse.evaluation.bdrate import MIN_RATES
from idse.evaluation.best import choose
from idse.evaluation.evaluate import Evaluation, Plan, evaluate
from idse.evaluation.panel import Panel
from idse.evaluation.plots import plot_curves
from idse.evaluation.report import as_json, markdown
from idse.evaluation.results import Sample, compare
from idse.evaluation.runner import Runner, Work
from idse.evaluation.sources import Images, find_sources
from idse.evaluation.suite import Suite, load_suite
from idse.evaluation.table import bd_rate_table, estimates_json, write_results

if TYPE_CHECKING:
    from idse.evaluation.bdrate import Estimate
    from idse.evaluation.runner import Point

# Folder and judges of each set; the first judge also made the weights.
SETS = {
    "coco": ("coco_val128/images", ("yolov4-tiny", "mobilenet_v2")),
    "imagenet": ("imagenet", ("efficientnet-lite0", "mobilenet_v2")),
}
# Even images of either set that options are chosen on.
CHOSEN_ON = 32
QUICK = 3
OURS = "jpeg"
SHOWN = (
    "ours (progressive)",
    "ours, for this network alone (strength 1)",
    "ours, best of its options",
)

Rates = dict[str, "dict[str, Estimate]"]


def images(folder: str, *, quick: bool) -> tuple[Images, Images]:
    """Return a set's odd images, and the even ones that options are chosen on."""
    (odd,) = find_sources([str(data(folder))], selection="odd", pix_fmt="rgb24")
    assert isinstance(odd, Images)
    even = odd.complement()
    step = max(1, len(even.paths) // CHOSEN_ON)
    even = replace(even, paths=even.paths[::step][:CHOSEN_ON], others=())
    if quick:
        odd, even = (replace(part, paths=part.paths[:QUICK]) for part in (odd, even))
    return odd, even


def compared(suite: Suite, odd: Images, even: Images, panel: Panel, runner: Runner) -> Evaluation:
    """Choose options on even images and compare everything on odd ones."""
    choices = []
    for best in suite.best:
        choices.append(choose(best, even, (), panel, runner))
        print(choices[-1].markdown(), file=sys.stderr, flush=True)
    assert suite.anchor is not None
    plan = Plan(
        sources=(odd,),
        configurations=(*suite.configurations, *(choice.configuration for choice in choices)),
        anchor=suite.anchor,
    )
    return replace(evaluate(plan, panel, runner), choices={odd.name: choices})


def against_peers(found: Evaluation, panel: Panel, runner: Runner) -> Rates:
    """Return the BD-rates of ours against every peer, each over what the two of them reach."""
    (source,) = found.plan.sources
    configurations = found.plan.configurations
    (points,) = runner.run(panel, [Work(source=source, configurations=configurations, rates=())])
    sample = Sample.of(source, panel)
    rates: Rates = {}
    for name in SHOWN:
        for peer in (item.name for item in configurations if item.codec != OURS):
            pair = within_reach(points[peer], points[name], panel.models[0])
            curves = dict(zip((peer, name), pair, strict=True))
            result = compare(sample, curves, (), anchor=peer, resamples=found.plan.resamples)
            for metric, column in result.bd_rate.items():
                rates.setdefault(metric, {})[f"{name} against {peer}"] = column[name]
    return rates


def within_reach(one: list[Point], two: list[Point], judge: str) -> list[list[Point]]:
    """Leave out points that lie, by output distance, far beyond what the other curve reaches.

    One beyond each end of it stays, and six at least do: what is measured where nothing compares
    should not make the range that is compared look small.
    """

    def distances(row: list[Point]) -> list[float]:
        return [float(point.measurement.judges[judge].distance.mean()) for point in row]

    found = []
    for row, other in ((one, two), (two, one)):
        levels, reach = distances(row), distances(other)
        inside = [k for k, level in enumerate(levels) if min(reach) <= level <= max(reach)]
        first, last = (inside[0], inside[-1]) if inside else (0, len(row) - 1)
        wanted = max(MIN_RATES, last - first + 3)
        while last - first + 1 < min(wanted, len(row)):
            first, last = max(first - 1, 0), min(last + 1, len(row) - 1)
        found.append(row[first : last + 1])
    return found


def main() -> None:
    """Measure, print and write ``results/beat_jpeg.{json,md}`` with a plot for each set."""
    options = parser(__doc__, quick=True)
    options.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    options.add_argument("--peers", action="store_true", help="leave ours out, write nothing")
    options.add_argument("--jobs", type=int, default=2)
    args = options.parse_args()
    need("ffmpeg")
    facts = machine()
    text, reports = "", list[dict[str, Any]]()
    with Runner(args.jobs, progress=told) as runner:
        for name in args.only:
            folder, judges = SETS[name]
            suite = load_suite(str(Path(__file__).parent / f"beat_jpeg-{name}.toml"))
            if args.peers:
                suite = replace(
                    suite,
                    configurations=tuple(i for i in suite.configurations if i.codec != OURS),
                    best=tuple(item for item in suite.best if item.codec != OURS),
                )
            panel = Panel(models=judges, cache=CACHE)
            found = compared(suite, *images(folder, quick=args.quick), panel, runner)
            part = markdown(found, title=suite.title, command=command_line(), judges=judges)
            if args.peers:
                print(part, flush=True)
                continue
            against = against_peers(found, panel, runner)
            part += "\nOurs against each of the others, over the accuracies that the two reach:\n\n"
            part += bd_rate_table(against)
            print(part, flush=True)
            text += part
            extra = {"judges": list(judges), "against": estimates_json(against)}
            reports.append(as_json(found, extra))
            args.results.mkdir(parents=True, exist_ok=True)
            for result in found.results:
                path = args.results / f"beat_jpeg-{result.sample.name}.png"
                title = f"{result.sample.name}: {result.sample.description}"
                plot_curves(path, result.curves, title=title)
    if not args.peers:
        results = {"command": command_line(), "machine": facts, "reports": reports}
        write_results(args.results / "beat_jpeg", data=results, markdown=text)


if __name__ == "__main__":
    main()
