"""Importance of macroblocks -> QP offsets for libx264, normalised over a running segment.

Everything is causal and deterministic: an offset depends on the maps and pictures handed in so far,
in their order, and on nothing else.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.allocation.compensation import RateLedger
from idse.errors import InputError, MapError
from idse.importance.smoothing import binomial
from idse.picture import MACROBLOCK, macroblocks

if TYPE_CHECKING:
    from idse.allocation.policy import OffsetPolicy

FloatMap = npt.NDArray[np.float32]

# Weighted squared error balances bits at -3 log2 w: D ~ step^2 and step doubles every 6 QP.
_QP_PER_LOG2 = 3.0
# Weights are held within 2^+-16 of the mean, so that a map with zeros has a finite logarithm.
_LOG_RANGE = 16.0
# x264 rounds a macroblock's QP to whole numbers; a field below this everywhere is no steering.
_NEGLIGIBLE = 1.0 / 64.0


class Allocator:
    """Turns importance maps into QP offsets.

    In a stream, each analysed map goes through :meth:`observe` and :meth:`normalise`, and each
    picture's log-weights through :meth:`offsets`. For a set of pictures that is to be normalised as
    a whole, observe all maps first, account all pictures, then ask for offsets without a rate;
    :meth:`for_shape` lets pictures of several sizes be one set.

    Parameters
    ----------
    policy
        How hard to steer.
    mb_shape
        Macroblock rows and columns of the encoder (rows rounded up to 32 lines for interlaced).
    crf
        CRF of the encode, or None where it has none (ABR).
    interlaced
        Whether rows come in pairs, whose macroblocks may hold a field of 32 lines each: both get
        the same offset, and a rectangle that touches one protects the other.

    Raises
    ------
    InputError
        The policy needs a CRF, or protects what lies outside of the picture.
    """

    def __init__(
        self,
        policy: OffsetPolicy,
        mb_shape: tuple[int, int],
        *,
        crf: float | None,
        interlaced: bool = False,
    ) -> None:
        self._policy = policy
        self._crf = crf
        self._mb_shape = mb_shape
        self._interlaced = interlaced
        self._high = policy.max_offset
        if policy.floor_crf is not None:
            if crf is None:
                raise InputError(
                    f"floor_crf {policy.floor_crf!r} needs an encode by CRF: with a bitrate no "
                    "quality is given that unimportant regions could be held to"
                )
            self._high = min(self._high, max(0.0, policy.floor_crf - crf))
        self._protected = self._protect()
        self._seen = np.zeros(2)  # running sum of weights, and how many macroblocks it is of
        self._ledger = RateLedger(policy.max_offset, self._high)

    def for_shape(self, mb_shape: tuple[int, int]) -> Allocator:
        """Return an allocator for pictures of another size that are of the same segment.

        What one of the two observes or accounts counts for both.
        """
        other = Allocator(self._policy, mb_shape, crf=self._crf, interlaced=self._interlaced)
        other._seen = self._seen
        other._ledger = self._ledger
        return other

    def _protect(self) -> npt.NDArray[np.bool_]:
        mask = np.zeros(self._mb_shape, bool)
        rows, cols = self._mb_shape
        for rect in self._policy.protect:
            top, left = rect.y // MACROBLOCK, rect.x // MACROBLOCK
            if top >= rows or left >= cols:
                raise InputError(
                    f"protected rectangle {rect.x},{rect.y},{rect.width},{rect.height} lies outside"
                    f" of the picture ({cols * MACROBLOCK}x{rows * MACROBLOCK} in macroblocks)"
                )
            bottom, right = macroblocks(rect.y + rect.height), macroblocks(rect.x + rect.width)
            if self._interlaced:
                top, bottom = top // 2 * 2, -(-bottom // 2) * 2
            mask[top:bottom, left:right] = True
        return mask

    def observe(self, weight: FloatMap, *, elapsed: float = 0.0) -> None:
        """Let a map count in the segment's mean importance.

        Parameters
        ----------
        weight
            float32 ``(rows, cols)``: importance per luma sample, finite and not negative
            (``ImportanceMap.weight()``).
        elapsed
            Seconds since the previous call: what was seen before counts ``exp(-elapsed / memory)``.

        Raises
        ------
        MapError
            The map is not finite, negative somewhere, or of another size.
        """
        self._check(weight, "importance map")
        if float(weight.min()) < 0:
            raise MapError(f"importance map has a negative weight {float(weight.min())!r}")
        keep = self._keep(elapsed)
        self._seen *= keep
        self._seen += float(weight.sum(dtype=np.float64)), weight.size

    def normalise(self, weight: FloatMap) -> FloatMap:
        """Return log2 of a map's weights, regularised, relative to the segment's mean, smoothed.

        With m the running mean of :meth:`observe`, ``log2((w + alpha m) / (m + alpha m))``; 0
        means "as important as the mean". All 0 while the mean is 0.

        Raises
        ------
        MapError
            As :meth:`observe`.
        """
        self._check(weight, "importance map")
        mean = float(self._seen[0] / self._seen[1]) if self._seen[1] else 0.0
        if mean <= 0:
            return np.zeros(weight.shape, np.float32)
        alpha = self._policy.alpha
        relative = (weight.astype(np.float64) + alpha * mean) / (mean + alpha * mean)
        log_weight = np.log2(np.maximum(relative, 2.0**-_LOG_RANGE))
        # A sketch of 8 rows leaves a standard deviation of 16 to 51 % in a weight; neighbours take
        # out two thirds of it.
        return binomial(np.minimum(log_weight, _LOG_RANGE).astype(np.float32))

    def account(self, log_weight: FloatMap | None, rate: FloatMap, *, elapsed: float = 0.0) -> None:
        """Let a picture's estimated bits count in the size that is to be held.

        Parameters
        ----------
        log_weight
            float32 ``(rows, cols)``: its map, or None where it is not steered.
        rate
            float32 ``(rows, cols)``: estimated bits per macroblock when unsteered
            (:func:`idse.allocation.rate.estimate_bits`).
        elapsed
            Seconds since the previous call.
        """
        self._check(rate, "rate estimate")
        base = np.zeros_like(rate) if log_weight is None else self._base(log_weight)
        protected = self._protected[: rate.shape[0]]
        self._ledger.add(base, rate, protected, keep=self._keep(elapsed))

    def offsets(
        self, log_weight: FloatMap | None, rate: FloatMap | None = None, *, elapsed: float = 0.0
    ) -> FloatMap:
        """Return the QP offsets of one picture.

        Parameters
        ----------
        log_weight
            float32 ``(rows, cols)``: log2 of its weights relative to the segment's mean, or None
            where nothing is known.
        rate
            float32 ``(rows, cols)``: as for :meth:`account`, which is called first where given.
        elapsed
            Seconds since the previous call with a rate.

        Returns
        -------
        float32, C-contiguous, of the encoder's shape: finite, within +-max_offset. Exactly 0
        everywhere where the map is None or neutral.

        Raises
        ------
        MapError
            A map is not finite or of another size.
        """
        if rate is not None:
            self.account(log_weight, rate, elapsed=elapsed)
        if log_weight is None:
            return np.zeros(self._mb_shape, np.float32)
        base = self._base(log_weight)
        if float(np.abs(base).max()) < _NEGLIGIBLE:
            return np.zeros(self._mb_shape, np.float32)
        constant = self._ledger.constant() if self._policy.compensate else 0.0
        offsets = np.clip(base + np.float32(constant), -self._policy.max_offset, self._high)
        # Interlaced encodes have up to one row of macroblocks more than the picture needs.
        missing = self._mb_shape[0] - offsets.shape[0]
        if missing:
            offsets = np.pad(offsets, ((0, missing), (0, 0)), mode="edge")
        if self._interlaced:
            offsets = np.repeat((offsets[::2] + offsets[1::2]) / 2, 2, axis=0)
        offsets[self._protected] = np.minimum(offsets[self._protected], 0)
        return np.ascontiguousarray(offsets, np.float32)

    def limit(self, offsets: FloatMap) -> FloatMap:
        """Return offsets ``(..., rows, cols)`` within the floor and as rectangles are protected."""
        held = offsets
        if self._policy.floor_crf is not None and self._crf is not None:
            held = np.minimum(held, np.float32(max(0.0, self._policy.floor_crf - self._crf)))
        if self._protected.any():
            held = np.where(self._protected, np.minimum(held, 0), held)
        return np.asarray(held, np.float32)

    def _base(self, log_weight: FloatMap) -> FloatMap:
        self._check(log_weight, "map of log-weights")
        return np.float32(-_QP_PER_LOG2 * self._policy.strength) * log_weight.astype(np.float32)

    def _keep(self, elapsed: float) -> float:
        return math.exp(-max(elapsed, 0.0) / self._policy.memory)

    def _check(self, values: FloatMap, what: str) -> None:
        rows, cols = self._mb_shape
        if values.ndim != 2 or values.shape[1] != cols or not 0 <= rows - values.shape[0] <= 1:
            raise MapError(
                f"{what} has {values.shape} macroblocks, this encode needs {self._mb_shape}"
            )
        if not np.isfinite(values).all():
            raise MapError(f"{what} has values that are not finite")
