"""The constant that keeps a steered file no larger than the unsteered one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatMap = npt.NDArray[np.float32]

# Bits fall by half in this many QP. Measured on steered encodes: 4.4 to 6.9, by content and CRF.
HALVING_QP = 6.0
# QP that the model may be short of: measured on video, what held the size was -1.3 to 0.5 of the
# model's constant away from it.
MARGIN = 0.5

_BIN = 0.125
_STEPS = 12  # leaves 0.01 QP of the range, an order below a bin


class RateLedger:
    """Bits of the segment by the offset that importance alone asks for.

    The model: a macroblock of r bits costs ``r 2^(-o / HALVING_QP)`` at offset o. A histogram of r
    over o is all that is needed to find the constant c at which the sum over the segment, offsets
    clipped, equals the sum without steering.

    The constant is never negative. Where steering alone makes the file smaller, it stays smaller:
    spending the difference at once would leave nothing for what matters more and comes later.

    Parameters
    ----------
    max_offset
        Largest magnitude of an offset, QP.
    high
        Largest offset, QP, at most ``max_offset``.
    """

    def __init__(self, max_offset: float, high: float) -> None:
        self._low = -max_offset
        self._high = high
        # Twice the range: a constant may bring back what lies beyond the bounds.
        self._centres = np.arange(-2 * max_offset, 2 * max_offset + _BIN, _BIN)
        self._bits = np.zeros((2, self._centres.size))  # free, protected

    def add(
        self, base: FloatMap, rate: FloatMap, protected: npt.NDArray[np.bool_], *, keep: float
    ) -> None:
        """Count a picture; everything counted before is first multiplied by ``keep``."""
        self._bits *= keep
        last = self._centres.size - 1
        index = np.rint((base - self._centres[0]) / _BIN)
        index = np.clip(index, 0, last).astype(np.intp)
        for row, mask in enumerate([~protected, protected]):
            self._bits[row] += np.bincount(
                index[mask], weights=rate[mask], minlength=self._centres.size
            )

    def constant(self) -> float:
        """Return the QP to add to every offset, at least 0; 0 while nothing was counted.

        Where the bounds leave no way to reach the unsteered size, the bound wins.
        """
        total = float(self._bits.sum())
        if total <= 0:
            return 0.0
        low, high = self._low - self._centres[-1], self._high - self._centres[0]
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if self._size(middle) > total:
                low = middle
            else:
                high = middle
        return max(0.0, float(high) + MARGIN)

    def _size(self, constant: float) -> float:
        offsets = np.clip(self._centres + constant, self._low, self._high)
        factors = np.exp2(-np.stack([offsets, np.minimum(offsets, 0)]) / HALVING_QP)
        return float((self._bits * factors).sum())
