"""From measurements of several configurations at several rates to BD-rates with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse.evaluation.average_precision import confident, mean_average_precision
from idse.evaluation.bdrate import (
    Estimate,
    Kind,
    bootstrap_bd_rates,
    bootstrap_weights,
    mean_of,
)
from idse.evaluation.measure import label_matches, top1_agreement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from idse.evaluation.measure import Measurement, Verdicts
    from idse.vision.heads import Detections

FloatArray = npt.NDArray[np.float64]
Weights = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class RatePoint:
    """One configuration at one rate.

    Attributes
    ----------
    size
        float or int ``(n,)``: bytes of every picture.
    measurement
        What was measured of the same pictures.
    """

    size: npt.NDArray[Any]
    measurement: Measurement


@dataclass(frozen=True)
class _Metric:
    name: str
    kind: Kind
    values: Callable[[Measurement, Weights], FloatArray]  # one per row of weights


def _unmeasurable(metric: _Metric, curves: Mapping[str, FloatArray]) -> str | None:
    """Return why no BD-rate can be made of a metric, such as mAP where there is nothing to find."""
    for name, values in curves.items():
        if not np.isfinite(values).all():
            return f"{name} has no finite value at some rate"
        if metric.kind == "distance" and (values <= 0).any():
            return f"{name} is lossless at some rate"
    return None


class Comparison:
    """Compares configurations on one set of pictures.

    Parameters
    ----------
    sources
        What each judge made of the sources.
    units
        int ``(n,)``: which independent unit every picture belongs to, from 0 without gaps: an image
        is its own unit, frames of the same 5 seconds of video share one.
    labels
        True boxes of every picture, where there are any.
    classes
        int ``(n,)``: true class of every picture, where there are any.
    resamples, seed
        Of the bootstrap.
    """

    def __init__(
        self,
        sources: Mapping[str, Verdicts],
        *,
        units: npt.NDArray[Any],
        labels: Sequence[Detections] = (),
        classes: npt.NDArray[Any] | None = None,
        resamples: int = 1000,
        seed: int = 0,
    ) -> None:
        self._sources = sources
        self._labels = labels
        self._classes = np.zeros(0, np.int64) if classes is None else classes
        draws = bootstrap_weights(int(units.max()) + 1, resamples=resamples, seed=seed)
        self._weights = draws[:, units]

    def bd_rates(
        self, points: Mapping[str, Sequence[RatePoint]], *, anchor: str
    ) -> dict[str, dict[str, Estimate]]:
        """Return ``{metric: {configuration: BD-rate against anchor}}``.

        Raises
        ------
        InputError
            As ``bootstrap_bd_rates``.
        """
        curves = self._curves(points, self._weights)
        found = {}
        for metric in self._metrics(points):
            chosen = {
                name: (rates, values[metric.name]) for name, (rates, values) in curves.items()
            }
            reason = _unmeasurable(metric, {name: row[0] for name, (_, row) in chosen.items()})
            found[metric.name] = (
                bootstrap_bd_rates(chosen, anchor=anchor, kind=metric.kind)
                if reason is None
                else dict.fromkeys(
                    chosen, Estimate(percent=math.nan, overlap=0.0, undefined=reason)
                )
            )
        return found

    def curves(
        self, points: Mapping[str, Sequence[RatePoint]]
    ) -> dict[str, dict[str, list[float]]]:
        """Return ``{configuration: {"bytes": [...], metric: [...]}}``: means over the pictures."""
        curves = self._curves(points, self._weights[:1])
        return {
            name: {"bytes": rates[0].tolist()} | {k: v[0].tolist() for k, v in values.items()}
            for name, (rates, values) in curves.items()
        }

    def _curves(
        self, points: Mapping[str, Sequence[RatePoint]], weights: Weights
    ) -> dict[str, tuple[FloatArray, dict[str, FloatArray]]]:
        """Return bytes ``(rows, rates)`` and each metric's values ``(rows, rates)``."""
        metrics = self._metrics(points)
        return {
            name: (
                mean_of(np.stack([point.size for point in row]), weights),
                {
                    metric.name: np.stack(
                        [metric.values(point.measurement, weights) for point in row], axis=1
                    )
                    for metric in metrics
                },
            )
            for name, row in points.items()
        }

    def _metrics(self, points: Mapping[str, Sequence[RatePoint]]) -> list[_Metric]:
        metrics = []
        for judge, source in self._sources.items():
            metrics += self._judged(judge, source)
        metrics.append(_Metric("PSNR-Y", "score", lambda m, w: mean_of(m.psnr_y, w)))
        some = next(iter(points.values()))[0].measurement.ms_ssim
        measured = np.isfinite(some)
        if measured.any():

            def dissimilarity(m: Measurement, w: Weights) -> FloatArray:
                return mean_of(1 - m.ms_ssim[measured], w[:, measured])

            metrics.append(_Metric("MS-SSIM", "distance", dissimilarity))
        return metrics

    def _judged(self, judge: str, source: Verdicts) -> list[_Metric]:
        def distance(m: Measurement, w: Weights) -> FloatArray:
            return mean_of(m.judges[judge].distance, w)

        def precision_on(labels: Sequence[Detections]) -> Callable[..., FloatArray]:
            return lambda m, w: mean_average_precision(label_matches(labels, m.judges[judge]), w)

        def agreement(m: Measurement, w: Weights) -> FloatArray:
            return mean_of(top1_agreement(source, m.judges[judge]), w)

        def correct(m: Measurement, w: Weights) -> FloatArray:
            return mean_of(m.judges[judge].top1 == self._classes, w)

        metrics = [_Metric(f"output distance, {judge}", "distance", distance)]
        if source.found:
            pseudo = [confident(found) for found in source.found]
            metrics.append(_Metric(f"mAP on pseudo-labels, {judge}", "score", precision_on(pseudo)))
        if source.found and self._labels:
            metrics.append(
                _Metric(f"mAP on true labels, {judge}", "score", precision_on(self._labels))
            )
        if source.top1.size:
            metrics.append(_Metric(f"top-1 agreement, {judge}", "score", agreement))
        if source.top1.size and self._classes.size:
            metrics.append(_Metric(f"top-1 on true labels, {judge}", "score", correct))
        return metrics
