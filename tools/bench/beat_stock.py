"""Steered x264 against the best of stock, on images and on video.

    python tools/bench/beat_stock.py [--only coco imagenet video] [--choose]

Stock x264 gets the tuning that we get: the best of its grid is chosen on even images and on the
beginnings of the clips, and what is chosen on any clip competes on the first half of each;
everything is reported on odd images and on second halves. Measurements are kept by content
(IDSE_BENCH_CACHE chooses where), so that a run goes on where one was interrupted; ``--choose``
stops once the best of stock is known. Hours on two cores.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_common import CACHE, command_line, data, machine, need, parser, told

from idse.allocation.base import BASE_OPTIONS
from idse.evaluation.best import Choice, choose, distance_bd_rates
from idse.evaluation.coding import cut
from idse.evaluation.evaluate import Plan, evaluate
from idse.evaluation.panel import Panel
from idse.evaluation.plots import plot_curves
from idse.evaluation.report import as_json, markdown
from idse.evaluation.runner import Runner, Work
from idse.evaluation.sources import Clip, Images, find_sources
from idse.evaluation.suite import load_suite
from idse.evaluation.table import write_results
from idse.pipeline.arguments import encode_options, parse

if TYPE_CHECKING:
    from idse.evaluation.configuration import Best, Configuration
    from idse.evaluation.sources import Source

# Second from which on stock is chosen on each clip (for so long), where its second half begins, and
# which frames are judged: every n-th, with n no divisor of the frames between analyses, so that
# frames that were analysed are judged no more often than others.
CLIPS = {
    "vtest.avi": (10, 39.8, 7),
    "intel-car-detection.mp4": (3, 15.04, 3),
    "intel-one-by-one-person-detection.mp4": (28, 69.7, 3),
}
CHOSEN_SECONDS, CHOSEN_EVERY = 10, 3
IMAGE_RATES = tuple(float(crf) for crf in range(23, 48, 4))
CLIP_RATES = tuple(float(crf) for crf in range(23, 44, 4))
# Even images of either set that stock is chosen on.
CHOSEN_ON = 32
BEST = "best of stock"


def clip(name: str, start: float, end: float | None, step: int) -> Clip:
    """Return a part of a clip as a source of its own: nothing before it has any influence."""
    return cut(CACHE, Clip.open(data(f"video/{name}"), start=start, end=end, step=step))


def images(folder: str) -> Parts:
    """Return a set's odd images, and the even ones that stock is chosen on."""
    (odd,) = find_sources([str(data(folder))], selection="odd")
    assert isinstance(odd, Images)
    even = odd.complement()
    step = max(1, len(even.paths) // CHOSEN_ON)
    chosen = replace(even, paths=even.paths[::step][:CHOSEN_ON], others=())
    return Parts(reported=odd, chosen_on=chosen)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What is reported, what stock is chosen on and, of a clip, what is decided on."""

    reported: Source
    chosen_on: Source
    decided_on: Clip | None = None


def contents(only: list[str]) -> list[tuple[str, list[Parts], tuple[str, ...]]]:
    """Return title, sources and judges of everything asked for."""
    found: list[tuple[str, list[Parts], tuple[str, ...]]] = []
    detector, classifiers = "yolov4-tiny", ("efficientnet-lite0", "mobilenet_v2")
    if "coco" in only:
        parts = [images("coco_val128/images")]
        found.append(("coco", parts, (detector, "mobilenet_v2")))
    if "imagenet" in only:
        found.append(("imagenet", [images("imagenet")], classifiers))
    if "video" in only:
        parts = [
            Parts(
                reported=clip(name, middle, None, every),
                chosen_on=clip(name, start, start + CHOSEN_SECONDS, CHOSEN_EVERY),
                decided_on=clip(name, start, middle, every),
            )
            for name, (start, middle, every) in CLIPS.items()
        ]
        found.append(("video", parts, (detector, "mobilenet_v2")))
    return found


def best_of_stock(best: Best, source: Source, panel: Panel, runner: Runner) -> Choice:
    """Choose on what is not reported."""
    rates = IMAGE_RATES if source.still else CLIP_RATES
    found = choose(best, source, rates, panel, runner)
    print(f"{source.name}: {found.markdown()}", file=sys.stderr, flush=True)
    return found


def decided(
    choices: list[Choice], parts: list[Parts], panel: Panel, runner: Runner
) -> list[Choice]:
    """Let what was chosen on any clip compete on the first half of every clip.

    Ten seconds are few: what wins on them need not be best on the minute that they are from, and
    an anchor that is not stock's best would flatter us.
    """
    stock = {choice.configuration.arguments: choice.configuration for choice in choices}
    if len(stock) == 1:
        return choices
    panel = replace(panel, models=panel.models[:1], eye=False)
    candidates = tuple(replace(item, name=text) for text, item in stock.items())
    found = []
    for choice, part in zip(choices, parts, strict=True):
        assert part.decided_on is not None
        work = Work(source=part.decided_on, configurations=candidates, rates=CLIP_RATES)
        (points,) = runner.run(panel, [work])
        own = choice.configuration.arguments
        names = [own, *(text for text in stock if text != own)]
        rates = distance_bd_rates(points, panel.models[0], names)
        stage = {name: estimate.percent for name, estimate in rates.items()}
        least = min(stage, key=lambda name: (math.isnan(stage[name]), stage[name]))
        decision = replace(
            choice,
            configuration=stock[least],
            on=f"{choice.on}, and of the choices on all clips on {part.decided_on.sample}",
            stages=(*choice.stages, stage),
        )
        print(f"{part.decided_on.name}: {decision.markdown()}", file=sys.stderr, flush=True)
        found.append(decision)
    return found


def steered_on(choice: Choice, *, still: bool) -> tuple[Configuration, ...]:
    """Return our defaults with the x264 options that stock was found to be best with.

    None where our defaults set these by themselves.
    """
    stock = choice.configuration
    options = encode_options(parse(stock.words)).options
    ours = {"psy": "1", **BASE_OPTIONS}  # psy is x264's own default
    if not (still or stock.filter) and {"psy": "1", **options} == ours:
        return ()
    steered = replace(
        stock,
        name="default, on the options of the best of stock",
        arguments=stock.arguments.replace("--no-steer", "").strip(),
    )
    return (steered,)


def measure(
    title: str,
    parts: list[Parts],
    panel: Panel,
    runner: Runner,
    best: Best,
    configurations: tuple[Configuration, ...],
    results: Path,
) -> tuple[str, list[dict[str, Any]]]:
    """Choose, evaluate, and return Markdown and data, one report a choice of stock."""
    text, reports = "", []
    choices = [best_of_stock(best, part.chosen_on, panel, runner) for part in parts]
    choices = decided(choices, parts, panel, runner)
    for part, choice in zip(parts, choices, strict=True):
        if not configurations:
            continue
        source = part.reported
        plan = Plan(
            sources=(source,),
            configurations=(
                choice.configuration,
                *configurations,
                *steered_on(choice, still=source.still),
            ),
            anchor=BEST,
            rates=IMAGE_RATES if source.still else CLIP_RATES,
        )
        found = evaluate(plan, panel, runner)
        found = replace(found, choices={source.name: [choice]})
        table = markdown(found, title=title, command=command_line(), judges=panel.models)
        print(table, flush=True)
        text += table
        reports.append(as_json(found, {"judges": list(panel.models)}))
        for result in found.results:
            stem = source.name.rpartition(".")[0] or source.name
            path = results / f"beat_stock-{stem}.png"
            plot_curves(path, result.curves, title=f"{source.name}: {source.sample}")
    return text, reports


def main() -> None:
    """Measure, print and write ``results/beat_stock.{json,md}``."""
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", default=["coco", "imagenet", "video"])
    options.add_argument("--choose", action="store_true", help="only choose the best of stock")
    options.add_argument("--jobs", type=int, default=2)
    args = options.parse_args()
    need("ffmpeg")
    args.results.mkdir(parents=True, exist_ok=True)
    facts = machine()
    text, reports = "", []
    with Runner(args.jobs, progress=told) as runner:
        for title, parts, judges in contents(args.only):
            suite = load_suite(str(Path(__file__).parent / f"beat_stock-{title}.toml"))
            panel = Panel(models=judges, cache=CACHE)
            configurations = () if args.choose else suite.configurations
            (best,) = suite.best or load_suite("best-of-stock").best
            table, data_ = measure(
                suite.title, parts, panel, runner, best, configurations, args.results
            )
            text += table
            reports += data_
    if args.choose:
        return
    results = {"command": command_line(), "machine": facts, "reports": reports}
    write_results(args.results / "beat_stock", data=results, markdown=text)


if __name__ == "__main__":
    main()
