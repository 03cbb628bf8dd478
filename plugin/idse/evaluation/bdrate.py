"""Bjontegaard delta rate: how many more or fewer bytes the same accuracy costs, with intervals.

The method of G. Bjontegaard (VCEG-M33, 2001) as this project uses it. Task accuracy is noisy and
saturates, so the cubic fit of the original, which then turns back on itself, is replaced by an
isotonic one, linear between the rates measured. The mean difference of log-rate is integrated over
the accuracies that *all* compared curves reach, so that every number of a table speaks of the same
range. Needs the extra ``eval`` (scipy).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from idse.errors import InputError, missing_extra

if TYPE_CHECKING:
    from collections.abc import Mapping

try:
    from scipy.optimize import isotonic_regression
except ImportError as error:  # pragma: no cover - depends on the installation
    raise missing_extra("scipy", "eval") from error

FloatArray = npt.NDArray[np.float64]
Kind = Literal["score", "distance"]

MIN_RATES = 6
MIN_OVERLAP = 0.5
CONFIDENCE = 0.95
# A percentile interval reads the 2.5 % tails: more undefined resamples than that leave it unknown.
_MAX_UNDEFINED = (1 - CONFIDENCE) / 2


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One BD-rate against the anchor.

    Attributes
    ----------
    percent
        Change of rate at equal accuracy, in percent: negative saves bytes. NaN where undefined.
    low, high
        The 95 % percentile bootstrap interval; NaN where it is undefined or was not asked for.
    overlap
        The part of the accuracy range of this curve or of the anchor's, whichever is less, that all
        compared curves share: 0 to 1.
    undefined
        Why the number or its interval is missing; None where nothing is.
    """

    percent: float
    low: float = math.nan
    high: float = math.nan
    overlap: float
    undefined: str | None = None


@dataclass(frozen=True)
class _Fit:
    """A curve as a monotone polyline: ``level`` (never falling) over ``log_rate`` (rising)."""

    log_rate: FloatArray
    level: FloatArray

    @property
    def range(self) -> tuple[float, float]:
        return float(self.level[0]), float(self.level[-1])

    def mean_log_rate(self, low: float, high: float) -> float:
        """Return the mean of log-rate as a function of level over ``low``..``high``.

        Exact for the polyline. A plateau (rates at one level) is a jump of that function and has
        no width, so it needs no rule for which of its rates counts.
        """
        start, end = self.level[:-1], self.level[1:]
        a, b = np.clip(start, low, high), np.clip(end, low, high)
        width = end - start
        slope = np.diff(self.log_rate) / np.where(width > 0, width, 1.0)
        middle = self.log_rate[:-1] + slope * ((a + b) / 2 - start)
        return float(np.sum(middle * (b - a)) / (high - low))


def _fit(name: str, rate: npt.ArrayLike, accuracy: npt.ArrayLike, kind: Kind) -> _Fit:
    r, a = np.asarray(rate, np.float64), np.asarray(accuracy, np.float64)
    if r.ndim != 1 or r.shape != a.shape or r.size < MIN_RATES:
        raise InputError(
            f"curve {name!r} has rates {r.shape} and accuracies {a.shape}: both must be the same "
            f"length, at least {MIN_RATES} points"
        )
    if not (np.isfinite(r).all() and np.isfinite(a).all() and (r > 0).all()):
        raise InputError(f"curve {name!r} holds a rate or an accuracy that is not a usable number")
    if kind == "distance":
        if (a <= 0).any():
            raise InputError(
                f"curve {name!r} holds the distance {a.min()}, which has no logarithm: leave out "
                "the rates that are lossless to the judge"
            )
        a = -np.log(a)
    order = np.argsort(r, kind="stable")
    return _Fit(np.log(r[order]), isotonic(a[order]))


def isotonic(values: npt.ArrayLike) -> FloatArray:
    """Return the never falling values that are nearest to ``values`` in least squares."""
    fitted: FloatArray = isotonic_regression(np.asarray(values, np.float64), increasing=True).x
    return fitted


def bd_rates(
    curves: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], *, anchor: str, kind: Kind
) -> dict[str, Estimate]:
    """Return the BD-rate of every curve against ``anchor``.

    Parameters
    ----------
    curves
        Name to ``(rates, accuracies)``, each ``(n,)`` with n >= 6: rates positive in any one unit,
        accuracies finite. All curves together define the range of accuracy that is compared: leave
        out, or compare alone, one that reaches only part of it.
    anchor
        The name that the others are compared with; it is part of the result, at 0 %.
    kind
        ``"score"``: more is better, integrated as it is. ``"distance"``: less is better, positive,
        integrated over its logarithm.

    Raises
    ------
    InputError
        Fewer than six rates, lengths that differ, values that are not finite, a rate or a distance
        that is not positive, or an unknown anchor.
    """
    if anchor not in curves:
        raise InputError(f"anchor {anchor!r} is not among the curves {', '.join(curves)}")
    fits = {name: _fit(name, *curve, kind) for name, curve in curves.items()}
    low = max(fit.range[0] for fit in fits.values())
    high = min(fit.range[1] for fit in fits.values())

    def share(fit: _Fit) -> float:
        width = fit.range[1] - fit.range[0]
        return max(high - low, 0.0) / width if width > 0 else 0.0

    result = {}
    for name, fit in fits.items():
        overlap = min(share(fit), share(fits[anchor]))
        if overlap < MIN_OVERLAP:
            result[name] = Estimate(
                percent=math.nan,
                overlap=overlap,
                undefined=f"the curves share {overlap:.0%} of the range, {MIN_OVERLAP:.0%} needed",
            )
            continue
        change = fit.mean_log_rate(low, high) - fits[anchor].mean_log_rate(low, high)
        result[name] = Estimate(percent=100 * math.expm1(change), overlap=overlap)
    return result


def bootstrap_weights(units: int, *, resamples: int = 1000, seed: int = 0) -> npt.NDArray[np.int32]:
    """Return how often every unit is drawn in every resample.

    A unit is what is independent of the others: an image, or 5 contiguous seconds of a video.
    Weighing every configuration and rate by the same rows makes the comparison paired.

    Returns
    -------
    int32 ``(1 + resamples, units)``. Row 0 is all ones: the sample itself.

    Raises
    ------
    InputError
        Fewer than two units: nothing can be said about the spread.
    """
    if units < 2:
        raise InputError(f"{units} unit(s) cannot be resampled: give at least 2 images or blocks")
    draws = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), resamples)
    return np.concatenate([np.ones((1, units)), draws]).astype(np.int32)


def mean_of(values: npt.ArrayLike, weights: npt.NDArray[Any]) -> FloatArray:
    """Return the weighted mean over units: ``values (..., units)`` gives ``(rows, ...)``.

    NaN where a row gives no unit any weight.
    """
    total = np.tensordot(weights, np.asarray(values, np.float64), axes=(1, -1))
    count = weights.sum(axis=1, dtype=np.float64).reshape(-1, *[1] * (total.ndim - 1))
    mean: FloatArray = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean


def bootstrap_bd_rates(
    curves: Mapping[str, tuple[FloatArray, FloatArray]], *, anchor: str, kind: Kind
) -> dict[str, Estimate]:
    """Return BD-rates with 95 % intervals from curves of the sample and of its resamples.

    Parameters
    ----------
    curves
        Name to ``(rates, accuracies)``, both ``(rows, n)``: row 0 is the sample, the others are
        its resamples, weighed by the same ``bootstrap_weights`` for every curve.
    anchor, kind
        As for ``bd_rates``.

    Raises
    ------
    InputError
        As for ``bd_rates``, or a different number of rows. A resample in which an accuracy is NaN
        (no unit drawn that it can be measured on) only counts as one without a BD-rate.
    """
    rows = {len(values) for curve in curves.values() for values in curve}
    if len(rows) != 1:
        raise InputError(f"curves of {sorted(rows)} rows are not resamples of one sample")

    def draw(row: int) -> dict[str, Estimate]:
        if row and not all(np.isfinite(values[row]).all() for _, values in curves.values()):
            return dict.fromkeys(curves, Estimate(percent=math.nan, overlap=0.0))
        chosen = {name: (rate[row], values[row]) for name, (rate, values) in curves.items()}
        return bd_rates(chosen, anchor=anchor, kind=kind)

    draws = [draw(row) for row in range(rows.pop())]
    return {name: _with_interval([item[name] for item in draws]) for name in curves}


def _with_interval(draws: list[Estimate]) -> Estimate:
    sample, values = draws[0], np.array([draw.percent for draw in draws[1:]])
    if sample.undefined is not None or not values.size:
        return sample
    defined = values[np.isfinite(values)]
    missing = 1 - defined.size / values.size
    if missing > _MAX_UNDEFINED:
        return Estimate(
            percent=sample.percent,
            overlap=sample.overlap,
            undefined=f"no interval: undefined in {missing:.0%} of the resamples",
        )
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(defined, [tail, 100 - tail])
    return Estimate(
        percent=sample.percent, low=float(low), high=float(high), overlap=sample.overlap
    )
