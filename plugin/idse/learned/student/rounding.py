"""Weights as int8 and a scale per output: a student's file is mostly that.

Plain rounding shifts what an output says on average: inputs after a rectifier are all 0 or more, so
that errors of weights add up to one of the sum. Here every output's weights keep their sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

LARGEST = 127


def rounded(weights: npt.NDArray[np.floating[Any]]) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Round weights to multiples of a step of each output's own.

    Parameters
    ----------
    weights
        Finite, ``(out, ...)``, below 8e6.

    Returns
    -------
    tuple
        int8 of the same shape, -127 to 127, and steps, float32 ``(out,)`` that float16 holds
        exactly: the least of which 127 reach the largest weight. No weight is off by a whole step,
        and the sum of an output's weights by no more than half of one. Where weights reach 0.002,
        what `restored` returns is rounded to itself.
    """
    flat = np.asarray(weights, np.float64).reshape(len(weights), -1)
    step = _steps(np.abs(flat).max(1, initial=0))
    exact = flat / step[:, None]
    near = np.rint(exact)
    error = exact - near
    excess = np.rint(error.sum(1))[:, None]
    # One step more for those that are furthest below, or less for those furthest above; the
    # largest stays, for by it the step is found again.
    gain = error * np.sign(excess)
    if flat.size:
        np.put_along_axis(gain, np.abs(flat).argmax(1)[:, None], -1.0, axis=1)
    rank = np.argsort(np.argsort(-gain, axis=1, kind="stable"), axis=1, kind="stable")
    near += np.sign(excess) * (rank < np.abs(excess))
    return near.astype(np.int8).reshape(weights.shape), step


def restored(weights: npt.NDArray[np.int8], step: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """Return what `rounded` made of weights, float32; infinite where a float32 is too small."""
    with np.errstate(over="ignore", invalid="ignore"):
        return (weights.astype(np.float32).T * np.asarray(step, np.float32)).T


def _steps(largest: npt.NDArray[np.float64]) -> FloatArray:
    """Return the least numbers of float16 above 0 that are a 127th of these or more."""
    half = np.maximum(largest / LARGEST, np.finfo(np.float16).smallest_subnormal).astype(np.float16)
    half = np.where(
        half.astype(np.float64) * LARGEST < largest, np.nextafter(half, np.float16(np.inf)), half
    )
    return half.astype(np.float32)
