"""From measured points to what is reported: BD-rates, curves, segments, cost."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from idse.evaluation.bdrate import Estimate, bd_rates
from idse.evaluation.comparison import Comparison, RatePoint
from idse.evaluation.measure import Measurement, Verdicts
from idse.evaluation.sources import Clip, Images
from idse.evaluation.table import estimates_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from idse.evaluation.configuration import Configuration
    from idse.evaluation.panel import Panel
    from idse.evaluation.runner import Points
    from idse.evaluation.sources import Source
    from idse.vision.heads import Detections

SEGMENT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Pictures of one source, or of several as one, with what is known of them.

    Attributes
    ----------
    name, description
        For tables.
    verdicts
        What each judge makes of the sources.
    units
        int ``(n,)``: the unit of the bootstrap that every picture is in.
    labels, classes
        True boxes and classes, empty where there are none.
    times
        float64 ``(n,)``: seconds into the clip; empty for images and for several sources.
    """

    name: str
    description: str
    verdicts: Mapping[str, Verdicts]
    units: npt.NDArray[Any]
    labels: Sequence[Detections]
    classes: npt.NDArray[Any]
    times: npt.NDArray[np.float64]

    @classmethod
    def of(cls, source: Source, panel: Panel) -> Sample:
        """Describe one source, which the panel has judged."""
        return cls(
            name=source.name,
            description=source.sample,
            verdicts=panel.verdicts(source),
            units=source.units(),
            labels=source.boxes() if isinstance(source, Images) else (),
            classes=source.classes() if isinstance(source, Images) else np.zeros(0, np.int64),
            times=source.times() if isinstance(source, Clip) else np.zeros(0),
        )

    @classmethod
    def joined(cls, name: str, parts: Sequence[Sample]) -> Sample:
        """Return several samples as one; true labels are left out, they may be of other kinds."""
        starts = np.cumsum([0, *(part.units.max() + 1 for part in parts)])
        units = [part.units + start for part, start in zip(parts, starts, strict=False)]
        return cls(
            name=name,
            description=", ".join(part.name for part in parts),
            verdicts={
                model: Verdicts.joined([part.verdicts[model] for part in parts])
                for model in parts[0].verdicts
            },
            units=np.concatenate(units),
            labels=(),
            classes=np.zeros(0, np.int64),
            times=np.zeros(0),
        )


def joined_points(parts: Sequence[Points]) -> dict[str, list[RatePoint]]:
    """Return the points of several sources as those of one; same configurations and rates."""
    return {
        name: [
            RatePoint(
                size=np.concatenate([point.size for point in row]),
                measurement=Measurement.joined([point.measurement for point in row]),
            )
            for row in zip(*(part[name] for part in parts), strict=True)
        ]
        for name in parts[0]
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What one sample shows.

    Attributes
    ----------
    sample
        The pictures.
    bd_rate
        ``{metric: {configuration: estimate}}`` against the anchor.
    curves
        ``{configuration: {"bytes" or metric: [one value a rate]}}``.
    rates
        Of every configuration, such as CRFs.
    segments
        BD-rate of output distance of every 10 s of a clip, by configuration; the first is that of
        seconds 0 to 10 of the part. NaN where undefined.
    cost
        Processor time of `idse transcode` against the anchor's, median over the rates; of those
        that filter nothing, for what a filter costs is not in there; empty for images.
    """

    sample: Sample
    bd_rate: dict[str, dict[str, Estimate]]
    curves: dict[str, dict[str, list[float]]]
    rates: dict[str, list[float]]
    segments: dict[str, list[float]]
    cost: dict[str, float]

    def json(self) -> dict[str, Any]:
        """Return everything that a file of results keeps of it."""
        return {
            "name": self.sample.name,
            "sample": self.sample.description,
            "bd_rate": estimates_json(self.bd_rate),
            "rates": self.rates,
            "curves": self.curves,
            "segments_of_10_s": self.segments,
            "cpu_ratio": self.cost,
        }


def compare(
    sample: Sample,
    points: Mapping[str, Sequence[RatePoint]],
    configurations: Sequence[Configuration],
    *,
    anchor: str,
    resamples: int = 1000,
) -> Result:
    """Compare all configurations with the anchor.

    Raises
    ------
    InputError
        Too few units, or points that give no curve.
    """
    comparison = Comparison(
        sample.verdicts,
        units=sample.units,
        labels=sample.labels,
        classes=sample.classes,
        resamples=resamples,
    )
    alone = {item.name for item in configurations if item.alone and item.name != anchor}
    filtered = {item.name for item in configurations if item.filter}
    together = {name: row for name, row in points.items() if name not in alone}
    rates = comparison.bd_rates(together, anchor=anchor)
    for name in sorted(alone):
        pair = {anchor: points[anchor], name: points[name]}
        for metric, column in comparison.bd_rates(pair, anchor=anchor).items():
            rates[metric][name] = column[name]
    order = list(points)
    return Result(
        sample=sample,
        bd_rate={
            metric: {name: column[name] for name in order if name in column}
            for metric, column in rates.items()
        },
        curves=comparison.curves(points),
        rates={n: [getattr(point, "rate", np.nan) for point in row] for n, row in points.items()},
        segments=_segments(sample, points, anchor),
        cost=cpu_ratios(
            {n: row for n, row in points.items() if n == anchor or n not in filtered}, anchor
        ),
    )


def _segments(
    sample: Sample, points: Mapping[str, Sequence[RatePoint]], anchor: str
) -> dict[str, list[float]]:
    if not sample.times.size:
        return {}
    segment = ((sample.times - sample.times[0]) // SEGMENT_SECONDS).astype(np.int64)
    # A rest of under half a segment belongs to the one before.
    counts = np.bincount(segment)
    if segment[-1] and 2 * counts[-1] < counts[0]:
        segment[segment == segment[-1]] -= 1
    judge = next(iter(sample.verdicts))
    found: dict[str, list[float]] = {name: [] for name in points if name != anchor}
    for number in range(segment[-1] + 1):
        chosen = segment == number
        curves = {
            name: (
                [point.size[chosen].mean() for point in row],
                [
                    max(point.measurement.judges[judge].distance[chosen].mean(), 1e-12)
                    for point in row
                ],
            )
            for name, row in points.items()
        }
        for name, values in found.items():
            pair = {anchor: curves[anchor], name: curves[name]}
            estimate = bd_rates(pair, anchor=anchor, kind="distance")[name]
            values.append(estimate.percent)
    return found


def cpu_ratios(points: Mapping[str, Sequence[RatePoint]], anchor: str) -> dict[str, float]:
    """Return the processor time of every configuration's encodes over the anchor's.

    The median over the rates that both were encoded at. Empty for images, which are encoded within
    this program.
    """

    def cpu(row: Sequence[RatePoint]) -> dict[float, float]:
        usages = {getattr(point, "rate", 0.0): getattr(point, "usage", None) for point in row}
        return {rate: usage.cpu for rate, usage in usages.items() if usage is not None}

    base = cpu(points[anchor])
    ratios = {
        name: [seconds / base[rate] for rate, seconds in cpu(row).items() if rate in base]
        for name, row in points.items()
    }
    return {name: statistics.median(values) for name, values in ratios.items() if values}
