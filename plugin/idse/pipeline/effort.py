"""QP offsets by encoding a segment again and again (``--effort oracle``).

Every round encodes the segment with the offsets found so far, measures what the network truly loses
in it, and encodes it twice more with all QPs a little higher and lower, which gives the slope of
weighted distortion over bits of every macroblock. Offsets then move towards equal slopes. The best
round by what the network loses at equal bytes wins; stock is one of them.

It costs three encodes and some 40 gradients per network a round, and is what every cheaper
allocation is held against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.allocation.equal_slope import Pool, towards_equal_slopes
from idse.importance.motion import MotionEstimator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from idse.importance.motion import MotionField
    from idse.picture import Picture
    from idse.pipeline.trial import Trial, Trials

FloatMap = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

# Bits fall by half in about so many QP.
_HALVING_QP = 6.0
# Slopes of log-distance over log-bytes that are believed; measured ones are 0.5 to 1.6.
_FLATTEST, _STEEPEST = 0.3, 2.0
# An error of half a code value per sample: what rounding leaves, and what no weight is read from.
_LEAST_ERROR = 64.0
# Weight of plain squared error in the offsets that the search starts from (OffsetPolicy.alpha).
_ALPHA = 0.3
# What the mean counts in the weight of a macroblock that few analyses say anything of.
_UNKNOWN = 0.02
# Smallest weight as a part of the mean one: an error that helped once is not worth having.
_LEAST_WEIGHT = 0.02
# Change of the squared error between the two neighbours that is counted at least, as a part of it.
_LEAST_GAIN = 0.05


@dataclass(frozen=True, kw_only=True)
class OraclePolicy:
    """How a segment is searched.

    Attributes
    ----------
    rounds
        Of improvement, at least 1.
    samples
        Pictures whose losses are shared out among macroblocks in a round, spread over the segment;
        as many others are judged. Measured ones alternate from round to round, judged ones stay.
    step
        QP up and down for the slopes.
    damping
        Part of the way to equal slopes that a round goes; half of it after a round that lost.
    longest
        Largest step of a round, QP.
    bound
        Largest offset, QP.
    memory
        What the next picture's bits and distortion count in a macroblock's slope.
    keep
        What an earlier round's measurements count.
    sketched
        Part of the sketch in the weights, the rest being what was measured.
    """

    rounds: int = 5
    samples: int = 25
    step: float = 2.0
    damping: float = 0.4
    longest: float = 3.0
    bound: float = 16.0
    memory: float = 0.85
    keep: float = 0.7
    sketched: float = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The best allocation of a segment.

    Attributes
    ----------
    offsets
        float32 ``(pictures, rows, cols)``, or None where nothing beat stock.
    change
        Distance of the outputs against stock's at equal bytes, as a part of it, as judged here.
    frames_measured
        Pictures whose losses were shared out.
    """

    offsets: FloatMap | None
    change: float
    frames_measured: int = 0


@dataclass(frozen=True, eq=False)
class _Tried:
    """Offsets with their encode; None is stock."""

    offsets: FloatMap | None
    trial: Trial
    change: float


class SegmentSearch:
    """Looks for the offsets of one segment.

    Parameters
    ----------
    trials
        Encodes the segment.
    stride
        Of the pictures that ``trials`` judges.
    importance
        The networks' weights.
    sketch
        Returns a picture's weights by a sketch of the networks' Jacobian, float32 ``(rows, cols)``.
    policy
        How to search.
    limit
        Holds offsets ``(pictures, rows, cols)`` within what the user allows.
    progress
        Called after every round with the part of the search that is done.
    """

    def __init__(
        self,
        trials: Trials,
        importance: Sequence[float],
        sketch: Callable[[Picture], FloatMap],
        *,
        stride: int,
        policy: OraclePolicy,
        limit: Callable[[FloatMap], FloatMap] = lambda offsets: offsets,
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._trials = trials
        self._importance = np.array(importance, np.float64) / sum(importance)
        self._sketch = sketch
        self._stride = stride
        self._policy = policy
        self._limit = limit
        self._progress = progress
        pictures = trials.pictures
        self._count = len(pictures)
        self._pool = Pool(
            _motion(iter(pictures)),
            _motion(pictures[n] for n in reversed(range(self._count)))[::-1],
            memory=policy.memory,
        )
        self._scale: FloatArray = np.zeros(self._importance.size)
        self._steepness = 1.0
        self._stock: Trial | None = None

    def run(self) -> Found:
        """Search.

        Raises
        ------
        ModelError
            A network fails on a picture.
        CodecError
            x264 failed.
        """
        policy = self._policy
        stock = self._stock = self._trials.encode(None, 0.0, judged=True)
        self._scale = _reciprocal(stock.distance) * self._importance
        if not self._scale.any():
            return Found(offsets=None, change=0.0)
        beside = self._neighbours(None, judged=True)
        self._steepness = _steepness(*beside, self._scale)
        sketch = self._sketched(stock.bits.shape)
        best = _Tried(None, stock, 0.0)
        start = np.clip(-3 * np.log2((sketch + _ALPHA) / (1 + _ALPHA)), -policy.bound, policy.bound)
        share, error = np.zeros(start.shape), np.zeros(start.shape)
        damping, offsets = policy.damping, self._balanced(start.astype(np.float32), stock)
        for n in range(policy.rounds):
            tried = self._try(offsets, n)
            if tried.change < best.change:
                best, beside = tried, self._neighbours(tried.offsets)
            elif n:
                damping /= 2
            share, error = share * policy.keep, error * policy.keep
            for index, found in tried.trial.share.items():
                share[index] += np.tensordot(self._scale, found, axes=1)
                error[index] += tried.trial.error[index]
            weight = self._weight(share, error, sketch, best.trial.error)
            up, down = beside
            lost = np.maximum(up.error - down.error, _LEAST_GAIN * best.trial.error)
            current = np.zeros_like(start, np.float32) if best.offsets is None else best.offsets
            offsets = towards_equal_slopes(
                current,
                self._pool(weight * lost),
                self._pool(down.bits - up.bits),
                damping=damping,
                longest=policy.longest,
                bound=policy.bound,
            )
            offsets = self._balanced(offsets, best.trial, current)
            self._progress((n + 1) / policy.rounds)
        last = self._try(offsets, policy.rounds)
        best = min(best, last, key=lambda tried: tried.change)
        return Found(
            offsets=None if best.offsets is None else self._settled(best),
            change=best.change,
            frames_measured=self._trials.frames_seen,
        )

    def _try(self, offsets: FloatMap, n: int) -> _Tried:
        """Encode with offsets, and compare with stock at equal bytes."""
        assert self._stock is not None
        trial = self._trials.encode(offsets, 0.0, measured=self._sampled(n), judged=True)
        relative = float(self._scale @ trial.distance) / float(self._scale @ self._stock.distance)
        more = trial.bytes / self._stock.bytes
        return _Tried(offsets, trial, relative * more**self._steepness - 1)

    def _neighbours(self, offsets: FloatMap | None, *, judged: bool = False) -> tuple[Trial, Trial]:
        step = self._policy.step
        up = self._trials.encode(offsets, step, judged=judged)
        return up, self._trials.encode(offsets, -step, judged=judged)

    def _balanced(
        self, offsets: FloatMap, trial: Trial, before: FloatMap | float = 0.0
    ) -> FloatMap:
        """Return offsets shifted so that they are expected to give stock's bytes.

        What a macroblock's bits in ``trial``, whose offsets were ``before``, become is taken from
        the change of its offset.
        """
        assert self._stock is not None
        change = np.average(offsets - before, weights=trial.bits + 1e-9)
        more = trial.bytes / self._stock.bytes
        return self._shifted(offsets, _HALVING_QP * math.log2(more) - float(change))

    def _settled(self, tried: _Tried) -> FloatMap:
        """Return offsets that make no larger file than stock."""
        assert self._stock is not None
        assert tried.offsets is not None
        more = tried.trial.bytes / self._stock.bytes
        return self._shifted(tried.offsets, max(0.0, _HALVING_QP * math.log2(more)))

    def _shifted(self, offsets: FloatMap, shift: float) -> FloatMap:
        bound = self._policy.bound
        return self._limit(np.clip(offsets + np.float32(shift), -bound, bound))

    def _sketched(self, shape: tuple[int, ...]) -> FloatArray:
        """Return the sketch's weights of all pictures, relative to their mean."""
        total, seen = np.zeros(shape), np.zeros(shape)
        for n in range(0, self._count, self._stride):
            total[n] = self._sketch(self._trials.pictures[n])
            seen[n] = 1.0
        known = self._pool(seen)
        mean = float(total.sum() / seen.sum())
        if mean <= 0:
            return np.ones(shape)
        # Where nothing is known of a macroblock, it matters as the mean does.
        return (self._pool(total) / mean + _UNKNOWN) / (known + _UNKNOWN)

    def _weight(
        self, share: FloatArray, error: FloatArray, sketch: FloatArray, coded: FloatArray
    ) -> FloatArray:
        """Return weights of all pictures, whose mean over the squared error is 1."""
        total, lost = float(error.sum()), float(share.sum())
        theirs = sketch * coded.sum() / float((sketch * coded).sum())
        if total <= 0 or lost <= 0:
            return np.asarray(theirs, np.float64)
        seen = self._pool((error > 0).astype(np.float64))
        ours = self._pool(share) / (self._pool(error) + _LEAST_ERROR * seen + 1e-9)
        ours = np.maximum(ours * total / lost, _LEAST_WEIGHT)
        part = self._policy.sketched
        return np.asarray(part * theirs + (1 - part) * ours, np.float64)

    def _sampled(self, n: int) -> frozenset[int]:
        """Return the pictures that are measured in round n: where possible none that is judged."""
        phases = [p for p in (1, 3) if p < self._stride]
        start = phases[n % len(phases)] if self._count > self._stride else 0
        return frozenset(range(start, self._count, self._stride))


def _motion(pictures: Iterator[Picture]) -> list[MotionField | None]:
    estimator = MotionEstimator()
    return [estimator.push(picture) for picture in pictures]


def _reciprocal(values: FloatArray) -> FloatArray:
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


def _steepness(up: Trial, down: Trial, scale: FloatArray) -> float:
    """Return how fast the distance falls with the bytes, in logarithms."""
    lost = float(scale @ up.distance), float(scale @ down.distance)
    if min(lost) <= 0 or up.bytes >= down.bytes:
        return 1.0
    found = math.log(lost[0] / lost[1]) / math.log(down.bytes / up.bytes)
    return min(max(found, _FLATTEST), _STEEPEST)
