"""Distortion weights of a picture, as the library of ``idse build-x264`` takes them.

Fixed point with 8 fractional bits throughout; the C side (``native/x264-gpl``) says what happens to
them: they replace the squared error wherever x264 compares candidates by rate and distortion, and
scale the trellis' lambda.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.codecs.x264 import _raw
from idse.errors import CodecError, InputError

if TYPE_CHECKING:
    from idse.codecs.x264.library import X264Library

FloatArray = npt.NDArray[np.float32]

ONE = 256
MAX_WEIGHT = 255.0
MAX_SKETCHES = 16
# 2047 / 256: products with an error then fit 32 bits at 10 bits per sample. More is cut off.
MAX_SKETCH = 2047 / ONE
CELLS = (4, 8)

_REFUSALS = {
    -1: "it was built for another version of this package, run: idse build-x264",
    -2: "the picture is encoded already",
    -3: "out of memory",
}


@dataclass(frozen=True, eq=False)
class Distortion:
    """What replaces the squared error inside one picture.

    For a block with luma error e that is the sum over its 4x4 blocks b of
    ``weights[b] ||e_b||^2`` or, with sketches, ``sum_s (sketches[s] . e)^2 + share * (that)``,
    which is the paper's ``||J_s e||^2 + tau ||e||^2``. The trellis takes the weights in both cases.
    Chroma keeps its squared error.

    Everything is relative to its macroblock: what a macroblock as a whole matters is what QP
    offsets say, and counts twice where the weights' mean inside a macroblock is not 1. With
    sketches, the expected distortion of white noise, ``mean over samples of sum_s sketches[s]^2 +
    share``, should be 1.

    Blocks lie where they are seen, also in interlaced pictures. Without RD (``subme`` below 6) and
    trellis, as in presets up to veryfast, nothing of this has an effect.

    Attributes
    ----------
    weights
        float32 ``(4 mb_rows, 4 mb_columns)``, one per 4x4 luma block, above 0, at most 255.
    sketches
        float32 ``(n, cells mb_rows, cells mb_columns)`` with n from 1 to 16 and 4 or 8 ``cells``
        per side of a macroblock (of 4x4 or 2x2 luma samples): the derivative of the n-th sketch by
        a luma sample of that cell, any sign. Cut off at +-8.
    shares
        float32 ``(mb_rows, mb_columns)``, with sketches only: from 0 to 255.
    """

    weights: FloatArray
    sketches: FloatArray | None = None
    shares: FloatArray | None = None


def _checked(array: FloatArray, shape: tuple[int, ...], what: str) -> FloatArray:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        found = getattr(array, "dtype", type(array).__name__)
        raise InputError(f"distortion {what} are {found}, expected a numpy array of float32")
    if array.shape != shape:
        raise InputError(f"distortion {what} have shape {array.shape}, expected {shape}")
    return array


def _fixed(array: FloatArray, what: str, least: float) -> npt.NDArray[np.uint16]:
    # One test for NaN, infinities and size: comparisons with NaN are false.
    usable = (array >= least) & (array <= MAX_WEIGHT)
    if not usable.all():
        place = tuple(int(i) for i in np.argwhere(~usable)[0])
        raise InputError(
            f"distortion {what}: {array[place]} at {place} is no number from {least:g} to "
            f"{MAX_WEIGHT:g}"
        )
    return (array * ONE + 0.5).astype(np.uint16)


def _cells(sketches: FloatArray, mb_shape: tuple[int, int]) -> int:
    for cells in CELLS:
        if sketches.ndim == 3 and sketches.shape[1:] == (cells * mb_shape[0], cells * mb_shape[1]):
            return cells
    shapes = " or ".join(str((c * mb_shape[0], c * mb_shape[1])) for c in CELLS)
    raise InputError(f"distortion sketches have shape {sketches.shape}, expected (n,) and {shapes}")


def _blocked(sketches: FloatArray, mb_shape: tuple[int, int], cells: int) -> npt.NDArray[np.int16]:
    """Return sketches macroblock by macroblock: int16 ``(rows, columns, n, cells, cells)``."""
    if not 1 <= len(sketches) <= MAX_SKETCHES:
        raise InputError(f"{len(sketches)} distortion sketches: 1 to {MAX_SKETCHES} can be taken")
    # A sum is not finite where a term is not, and is quicker; it may overflow where none is.
    if not np.isfinite(sketches.sum()) and not np.isfinite(sketches).all():
        raise InputError("distortion sketches contain a value that is no finite number")
    scaled = sketches * np.float32(ONE)
    np.clip(scaled, -MAX_SKETCH * ONE, MAX_SKETCH * ONE, out=scaled)
    fixed = np.rint(scaled, out=scaled).astype(np.int16)
    # A row of a macroblock's cells is moved in one piece of 8 or 16 bytes: three times as quick.
    rows = fixed.view(np.float64 if cells == 4 else np.complex128)
    split = rows.reshape(len(sketches), mb_shape[0], cells, mb_shape[1])
    moved = np.ascontiguousarray(split.transpose(1, 3, 0, 2))
    return moved.view(np.int16).reshape(*mb_shape, len(sketches), cells, cells)


class _Prepared:
    """A ``Distortion`` in the library's own terms; holds the memory that ``raw`` points to."""

    def __init__(self, distortion: Distortion, mb_shape: tuple[int, int]) -> None:
        rows, columns = mb_shape
        weights = _checked(distortion.weights, (4 * rows, 4 * columns), "weights")
        # Less than 1/256 would round to no weight at all.
        self._weights = np.ascontiguousarray(_fixed(weights, "weights", 1 / ONE))
        self.raw = _raw.Distortion(ctypes.sizeof(_raw.Distortion), columns, rows, 0, 0)
        self.raw.weights = self._weights.ctypes.data
        if (distortion.sketches is None) != (distortion.shares is None):
            raise InputError("distortion sketches need shares, and shares sketches")
        if distortion.sketches is None or distortion.shares is None:
            return
        sketches = _checked(distortion.sketches, np.shape(distortion.sketches), "sketches")
        cells = _cells(sketches, mb_shape)
        self._sketches = _blocked(sketches, mb_shape, cells)
        shares = _checked(distortion.shares, mb_shape, "shares")
        self._shares = np.ascontiguousarray(_fixed(shares, "shares", 0))
        self.raw.i_sketches, self.raw.i_cells = len(sketches), cells
        self.raw.sketches = self._sketches.ctypes.data
        self.raw.shares = self._shares.ctypes.data


def hand_in(
    library: X264Library,
    handle: int,
    frame: int,
    weights: Distortion | FloatArray,
    mb_shape: tuple[int, int],
) -> None:
    """Give the library what the ``frame``-th picture, counted from 0, is to be encoded with.

    Raises
    ------
    InputError
        The library is stock libx264, or something in ``weights`` has another type, shape or range
        than ``Distortion`` describes.
    CodecError
        The library refuses.
    """
    if not library.weighted:
        raise InputError(
            f"{library.path} takes no distortion weights: run idse build-x264, and open the "
            "encoder with library=load_library(weighted=True)"
        )
    distortion = weights if isinstance(weights, Distortion) else Distortion(weights)
    prepared = _Prepared(distortion, mb_shape)
    code = getattr(library.functions, _raw.WEIGHTS_FUNCTION)(handle, frame, prepared.raw)
    if code:
        reason = _REFUSALS.get(code, f"code {code}")
        raise CodecError(f"{library.path} refuses distortion weights of picture {frame}: {reason}")
