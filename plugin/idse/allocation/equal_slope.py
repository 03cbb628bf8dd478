"""QP offsets by the slopes of real encodes: every bit is to buy the same.

At the best allocation of a segment, one bit more lowers the weighted distortion by the same amount
wherever it is spent (Everett's theorem; equation 27 of the IDSE paper is its special case for one
distortion model). Three encodes of one allocation, 2 QP apart, give the slope of every macroblock;
offsets are moved until the slopes are equal.

Bits spent in one picture lower the distortion of later pictures that copy from it, so bits and
distortion are both summed along the motion before they are divided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.importance.smoothing import binomial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.importance.motion import MotionField

FloatMap = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

# QP per octave of slope: where D is proportional to the squared step and R falls linearly with QP.
_QP_PER_OCTAVE = 3.0
# A macroblock whose pool has this part of the mean bits or less is pulled half way to the mean
# slope: nothing says what its bits are worth.
_RESERVE = 0.05


def warp(values: FloatArray, field: MotionField) -> FloatArray:
    """Move a map ``(rows, cols)`` along one picture's motion; what was not seen before gets 0."""
    rows, cols = values.shape
    y = np.arange(rows, dtype=np.float64)[:, None] + field.vectors[..., 1] / 16
    x = np.arange(cols, dtype=np.float64)[None, :] + field.vectors[..., 0] / 16
    y, x = np.clip(y, 0, rows - 1), np.clip(x, 0, cols - 1)
    top, left = y.astype(np.intp), x.astype(np.intp)
    bottom, right = np.minimum(top + 1, rows - 1), np.minimum(left + 1, cols - 1)
    fy, fx = y - top, x - left
    upper = values[top, left] * (1 - fx) + values[top, right] * fx
    lower = values[bottom, left] * (1 - fx) + values[bottom, right] * fx
    found: FloatArray = (upper * (1 - fy) + lower * fy) * field.reliability
    return found


class Pool:
    """Sums maps of successive pictures along the motion, both ways, fading, and over neighbours.

    Parameters
    ----------
    forward
        Motion of every picture since its predecessor; None for the first one and where none is
        known.
    backward
        The same of the pictures in reverse order, listed in presentation order: motion of every
        picture since its *successor*, None for the last one.
    memory
        What a picture's neighbour counts, 0 to 1.
    """

    def __init__(
        self,
        forward: Sequence[MotionField | None],
        backward: Sequence[MotionField | None],
        *,
        memory: float,
    ) -> None:
        self._forward = [None if f is None or f.scene_cut else f for f in forward]
        self._backward = [None if f is None or f.scene_cut else f for f in backward]
        self._memory = memory

    def __call__(self, values: npt.NDArray[np.floating]) -> FloatArray:
        """Pool ``(pictures, rows, cols)``; not normalised: divide pools by each other."""
        past, future = values.astype(np.float64), values.astype(np.float64)
        last = len(values) - 1
        for n in range(1, last + 1):
            field = self._forward[n]
            if field is not None:
                past[n] += self._memory * warp(past[n - 1], field)
        for n in range(last - 1, -1, -1):
            field = self._backward[n]
            if field is not None:
                future[n] += self._memory * warp(future[n + 1], field)
        both = past + future - values
        return binomial(both)


def towards_equal_slopes(
    offsets: FloatMap,
    gain: FloatArray,
    cost: FloatArray,
    *,
    damping: float,
    longest: float,
    bound: float,
) -> FloatMap:
    """Return offsets that are nearer to equal slopes.

    Parameters
    ----------
    offsets
        float32 ``(pictures, rows, cols)``, QP: those that gain and cost were measured around.
    gain, cost
        Weighted distortion and bits between two encodes with all offsets a little higher and a
        little lower, pooled; negative values count as 0.
    damping
        Part of the way to go.
    longest
        Largest step, QP.
    bound
        Largest magnitude of an offset, QP.

    Returns
    -------
    float32, shape of ``offsets``.
    """
    gain, cost = np.maximum(gain, 0), np.maximum(cost, 0)
    mean_gain, mean_cost = float(gain.mean()), float(cost.mean())
    if mean_gain <= 0 or mean_cost <= 0:
        return offsets
    slope = (gain / mean_gain + _RESERVE) / (cost / mean_cost + _RESERVE)
    step = np.clip(-_QP_PER_OCTAVE * damping * np.log2(slope), -longest, longest)
    return np.asarray(np.clip(offsets + step, -bound, bound), np.float32)
