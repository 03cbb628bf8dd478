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
_ROUNDING = 1e-9  # of sums of bits; where every offset ends at 0, the size is met and not passed


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
        # Twice the range: a constant may bring back what lies beyond the bounds.
        self._centres = np.arange(-2 * max_offset, 2 * max_offset + _BIN, _BIN)
        self._bits = np.zeros((2, self._centres.size))  # free, protected
        self._factors = np.exp2(-self._centres / HALVING_QP)
        # Constants to choose from, and which bins each of them brings to the bounds.
        self._constants = np.arange(-MARGIN, high - self._centres[0] + _BIN, _BIN)
        tops = [high, min(high, 0.0)]
        self._bounds = [np.exp2(-bound / HALVING_QP) for bound in (-max_offset, *tops)]
        self._first = self._bin_at(-max_offset)
        self._last = [self._bin_at(top) for top in tops]

    def _bin_at(self, bound: float) -> npt.NDArray[np.intp]:
        """Return, for every constant, the first bin that it lifts to a bound, or their number."""
        found = np.searchsorted(self._centres, bound - self._constants)
        return np.asarray(found, np.intp)

    def add(
        self, base: FloatMap, rate: FloatMap, protected: npt.NDArray[np.bool_], *, keep: float
    ) -> None:
        """Count a picture; everything counted before is first multiplied by ``keep``."""
        self._bits *= keep
        last = self._centres.size - 1
        index = np.rint((base - self._centres[0]) / _BIN)
        index = np.clip(index, 0, last).astype(np.intp)
        index += protected * self._centres.size  # the second row's bins follow the first one's
        counted = np.bincount(index.ravel(), weights=rate.ravel(), minlength=self._bits.size)
        self._bits += counted.reshape(self._bits.shape)

    def constant(self) -> float:
        """Return the QP to add to every offset, at least 0; 0 while nothing was counted.

        Where the bounds leave no way to reach the unsteered size, the bound wins.
        """
        total = float(self._bits.sum()) * (1 + _ROUNDING)
        if total <= 0:
            return 0.0
        sizes = self._sizes()
        after = int(np.argmax(sizes <= total))
        if sizes[after] > total:
            return float(self._constants[-1]) + MARGIN
        if after == 0:
            return 0.0
        # Between two constants the size is all but linear.
        step = (sizes[after - 1] - total) / (sizes[after - 1] - sizes[after])
        return float(self._constants[after - 1] + step * _BIN) + MARGIN

    def _sizes(self) -> npt.NDArray[np.float64]:
        """Return the size at every constant: of bins at the lower bound, between, and at the upper.

        Sums over bins are differences of sums from the first one.
        """
        ahead = ((0, 0), (1, 0))
        plain = np.cumsum(np.pad(self._bits, ahead), axis=1)
        scaled = np.cumsum(np.pad(self._bits * self._factors, ahead), axis=1)
        between = np.exp2(-self._constants / HALVING_QP)
        sizes = np.zeros(self._constants.size)
        low, *tops = self._bounds
        for row, (last, top) in enumerate(zip(self._last, tops, strict=True)):
            sizes += low * plain[row, self._first]
            sizes += between * (scaled[row, last] - scaled[row, self._first])
            sizes += top * (plain[row, -1] - plain[row, last])
        return sizes
