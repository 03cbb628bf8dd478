"""Choosing the best configuration on other pictures than those that are reported."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from idse.errors import InputError
from idse.evaluation.bdrate import bd_rates
from idse.evaluation.coding import cut
from idse.evaluation.runner import Work
from idse.evaluation.sources import Clip, Images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.evaluation.bdrate import Estimate
    from idse.evaluation.configuration import Best, Configuration, Stage
    from idse.evaluation.panel import Panel
    from idse.evaluation.runner import Point, Points, Runner
    from idse.evaluation.sources import Source

_BASE = "base"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen, and from what.

    Attributes
    ----------
    configuration
        The best.
    on
        What it was chosen on.
    stages
        Of every stage: candidates with their BD-rate of output distance against the stage's
        start, in percent; NaN where undefined.
    """

    configuration: Configuration
    on: str
    stages: tuple[dict[str, float], ...]

    def markdown(self) -> str:
        """Return a line for the report."""
        chosen = self.configuration
        text = f"{chosen.name}: `{chosen.command}`"
        if chosen.filter:
            text += f" after the filter `{chosen.filter}`"
        count = sum(len(stage) for stage in self.stages)
        return f"{text}, the best of {count} by output distance on {self.on}."

    def json(self) -> dict[str, Any]:
        """Return everything."""
        return {
            "codec": self.configuration.codec,
            "arguments": self.configuration.arguments,
            "filter": self.configuration.filter,
            "on": self.on,
            "stages": list(self.stages),
        }


def choose(
    best: Best, source: Source, rates: Sequence[float], panel: Panel, runner: Runner
) -> Choice:
    """Go through the stages; each keeps the variation with the least BD-rate of output distance.

    Of a clip only the part to choose on is encoded.

    Parameters
    ----------
    best
        The stages.
    source
        What to choose on. What it leaves out of a set of images has no say, also not in what an
        encoder learns beforehand.
    rates
        Unless ``best`` has its own; empty for the encoder's.
    panel
        Its first network judges.
    runner
        Encodes and judges.

    Raises
    ------
    InputError
        No variation has a BD-rate.
    """
    panel = replace(panel, models=panel.models[:1], eye=False)
    current = best.base
    stages = []
    told = source.sample
    if isinstance(source, Clip) and source.last - source.first < source.frames:
        source = cut(panel.cache, source)
    if isinstance(source, Images):
        source = replace(source, others=())
    for stage in best.images if isinstance(source, Images) else best.clips:
        found = _stage(stage, current, source, best.rates or rates, panel=panel, runner=runner)
        stages.append({item.name: percent for item, percent in found})
        defined = [(percent, n) for n, (_, percent) in enumerate(found) if math.isfinite(percent)]
        if not defined:
            raise InputError(f"no variation of {best.name!r} has a BD-rate on {source.name}")
        current = replace(found[min(defined)[1]][0], name=best.name)
    return Choice(configuration=current, on=told, stages=tuple(stages))


def _stage(
    stage: Stage,
    current: Configuration,
    source: Source,
    rates: Sequence[float],
    *,
    panel: Panel,
    runner: Runner,
) -> list[tuple[Configuration, float]]:
    """Return the variations with their BD-rate."""
    variations = tuple(stage.variations(current))
    base = replace(current, name=_BASE)
    work = Work(source=source, configurations=(base, *variations), rates=tuple(rates))
    (points,) = runner.run(panel, [work])
    judge = panel.models[0]
    # Each against the base alone: one odd candidate must not narrow the range of all others.
    return [
        (item, distance_bd_rates(points, judge, (_BASE, item.name))[item.name].percent)
        for item in variations
    ]


def distance_bd_rates(points: Points, judge: str, names: Sequence[str]) -> dict[str, Estimate]:
    """Return BD-rates of output distance against the first of the names, without intervals."""

    def curve(row: Sequence[Point]) -> tuple[list[float], list[float]]:
        sizes = [float(point.size.mean()) for point in row]
        return sizes, [float(point.measurement.judges[judge].distance.mean()) for point in row]

    curves = {name: curve(points[name]) for name in names}
    return bd_rates(curves, anchor=names[0], kind="distance")
