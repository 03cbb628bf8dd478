"""An evaluation from its plan to its results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from idse.errors import InputError
from idse.evaluation.best import Choice, choose
from idse.evaluation.filtering import downscaling
from idse.evaluation.results import Result, Sample, compare, joined_points
from idse.evaluation.runner import Runner, Work
from idse.evaluation.sources import Clip, Images
from idse.vision import load_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idse.evaluation.comparison import RatePoint
    from idse.evaluation.configuration import Best, Configuration
    from idse.evaluation.panel import Panel
    from idse.evaluation.sources import Source

DOWNSCALE = "downscale"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared, and on what.

    Attributes
    ----------
    sources
        Each is a sample of its own; several clips, or several sets of images, are shown together
        as well.
    configurations
        At least two with ``best``, under different names.
    best
        More of them, which are chosen for every source on what is not reported of it; where all of
        it is reported, on that.
    anchor
        The name of the one that the others are compared with.
    rates
        At least six for all encoders; empty for the ones that each has by default.
    resamples
        Of the bootstrap.

    Raises
    ------
    InputError
        Names repeat, there is no such anchor, or a source cannot be encoded by one of them.
    """

    sources: tuple[Source, ...]
    configurations: tuple[Configuration, ...]
    anchor: str
    best: tuple[Best, ...] = ()
    rates: tuple[float, ...] = ()
    resamples: int = 1000

    def __post_init__(self) -> None:
        names = [item.name for item in self.candidates]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise InputError(f"configuration {double[0]!r} is there twice: name them differently")
        if len(names) < 2:
            raise InputError(f"{len(names)} configuration(s) cannot be compared: give two or more")
        if self.anchor not in names:
            raise InputError(f"anchor {self.anchor!r} is none of {', '.join(names)}")
        if any(item.alone and item.name == self.anchor for item in self.configurations):
            raise InputError(f"anchor {self.anchor!r} is to be compared alone: with what?")
        if not self.sources:
            raise InputError("nothing to encode: give images, folders of images, or clips")
        titles = [source.name for source in self.sources]
        if len(set(titles)) < len(titles):
            raise InputError(f"sources {', '.join(titles)} share a name: evaluate them apart")
        for item in self.candidates:
            for source in self.sources:
                try:
                    item.coder.check(source)
                except InputError as error:
                    raise InputError(f"configuration {item.name!r}: {error}") from error

    @property
    def candidates(self) -> tuple[Configuration, ...]:
        """All configurations, those to be chosen as they are before that."""
        return (*self.configurations, *(best.base for best in self.best))

    def chosen(self, choices: Sequence[Choice]) -> tuple[Configuration, ...]:
        """Return all configurations: the anchor first if it was chosen, other choices last."""
        chosen = [choice.configuration for choice in choices]
        first = [item for item in chosen if item.name == self.anchor]
        last = [item for item in chosen if item.name != self.anchor]
        return (*first, *self.configurations, *last)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What came out.

    Attributes
    ----------
    plan
        What was asked for, filters spelled out.
    results
        One a sample.
    choices
        What was chosen as the best of each kind, by sample.
    """

    plan: Plan
    results: list[Result]
    choices: dict[str, list[Choice]]


def evaluate(plan: Plan, panel: Panel, runner: Runner) -> Evaluation:
    """Encode, decode and judge everything, and compare.

    Raises
    ------
    IdseError
        Something cannot be encoded, decoded or judged. What was measured is kept for the next run.
    """
    plan = with_downscaling(plan, panel)
    choices = {
        source.name: [
            choose(best, source.complement(), plan.rates, panel, runner) for best in plan.best
        ]
        for source in plan.sources
    }
    works = [
        Work(
            source=source,
            configurations=plan.chosen(choices[source.name]),
            rates=plan.rates,
        )
        for source in plan.sources
    ]
    measured = runner.run(panel, works)
    samples = [Sample.of(source, panel) for source in plan.sources]
    configurations = works[0].configurations

    def against_anchor(sample: Sample, points: Mapping[str, Sequence[RatePoint]]) -> Result:
        return compare(sample, points, configurations, anchor=plan.anchor, resamples=plan.resamples)

    results = [
        against_anchor(sample, points) for sample, points in zip(samples, measured, strict=True)
    ]
    for kind, name in ((Images, "all images"), (Clip, "all clips")):
        which = [n for n, source in enumerate(plan.sources) if isinstance(source, kind)]
        if len(which) > 1:
            sample = Sample.joined(name, [samples[n] for n in which])
            results.append(against_anchor(sample, joined_points([measured[n] for n in which])))
    return Evaluation(plan=plan, results=results, choices=choices)


def with_downscaling(plan: Plan, panel: Panel) -> Plan:
    """Put the filter for the first judge where a configuration says ``"downscale"``."""
    if all(item.filter != DOWNSCALE for item in plan.configurations):
        return plan
    network = load_model(panel.models[0])
    chain = downscaling(network.fit, network.size)
    return replace(
        plan,
        configurations=tuple(
            replace(item, filter=chain) if item.filter == DOWNSCALE else item
            for item in plan.configurations
        ),
    )
