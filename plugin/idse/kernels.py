"""The C kernels over pictures (``native/kernels``): luma planes, block matching, AC energy.

Everything is checked here before C sees a pointer. The kernels keep no state and allocate nothing,
so they may be called from several threads, each with its own arrays.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse import native
from idse.errors import InputError
from idse.picture import MACROBLOCK

if TYPE_CHECKING:
    from idse.picture import Picture, Plane

ABI = 5  # of the library, for other modules that declare some of its functions
_FULL_PAD = 32
_SMALL_PAD = 8
# x264 holds picture sides in 16 bits of macroblock arithmetic; vectors here are int16 as well.
_MAX_SIDE = 16384

Vectors = npt.NDArray[np.int16]
FloatMap = npt.NDArray[np.float32]
_pointer = ctypes.c_void_p
_int = ctypes.c_int


@cache
def _library() -> ctypes.CDLL:
    library = native.load("idse_kernels", ABI)
    signatures: dict[str, list[Any]] = {
        # luma, stride, width, height, depth, rows, cols, full, small
        "luma_planes": [_pointer, ctypes.c_ssize_t, *[_int] * 5, _pointer, _pointer],
        # current, previous, rows, cols, temporal, vectors
        "motion_search": [_pointer, _pointer, _int, _int, _pointer, _pointer],
        # current, previous, rows, cols, vectors, residual, activity
        "motion_refine": [_pointer, _pointer, _int, _int, _pointer, _pointer, _pointer],
        # plane, stride, width, height, sample_bytes, block_width, block_height, rows, cols, energy
        "ac_energy": [_pointer, ctypes.c_ssize_t, *[_int] * 7, _pointer],
        # values, planes, vectors, share, rows, cols, out
        "flow_back": [_pointer, _int, _pointer, _pointer, _int, _int, _pointer],
        "carry": [_pointer, _int, _pointer, _pointer, _int, _int, _pointer],
    }
    for name, arguments in signatures.items():
        function = getattr(library, f"idse_kernels_{name}")
        function.argtypes = arguments
        function.restype = None
    return library


def _checked_plane(plane: Plane) -> Plane:
    """Return ``plane`` as something C can walk: 2-D, 8 or 16 bit, columns contiguous."""
    if plane.ndim != 2 or plane.dtype not in (np.uint8, np.uint16):
        raise InputError(f"plane is {plane.dtype} {plane.shape}, expected 2-D uint8 or uint16")
    if not (0 < plane.shape[0] <= _MAX_SIDE and 0 < plane.shape[1] <= _MAX_SIDE):
        raise InputError(f"plane of {plane.shape} samples: sides must be 1 to {_MAX_SIDE}")
    if plane.strides[1] != plane.itemsize:
        plane = np.ascontiguousarray(plane)
    return plane


@dataclass(frozen=True, eq=False)
class LumaPlanes:
    """8-bit luma of one picture at full and quarter size, whole macroblocks with a border.

    Attributes
    ----------
    mb_shape
        Macroblock rows and columns.
    full, small
        uint8, ``(16 rows + 64, 16 cols + 64)`` and ``(4 rows + 16, 4 cols + 16)``. 10-bit samples
        are shifted down to 8 bit.
    """

    mb_shape: tuple[int, int]
    full: npt.NDArray[np.uint8]
    small: npt.NDArray[np.uint8]

    @classmethod
    def empty(cls, mb_shape: tuple[int, int]) -> LumaPlanes:
        """Return planes that nothing was written to yet."""
        rows, cols = mb_shape
        full = (rows * MACROBLOCK + 2 * _FULL_PAD, cols * MACROBLOCK + 2 * _FULL_PAD)
        small = (rows * 4 + 2 * _SMALL_PAD, cols * 4 + 2 * _SMALL_PAD)
        return cls(mb_shape, np.empty(full, np.uint8), np.empty(small, np.uint8))


def luma_planes(picture: Picture, into: LumaPlanes | None = None) -> LumaPlanes:
    """Return a copy of the luma of ``picture`` in the form that :func:`motion_search` takes.

    Parameters
    ----------
    picture
        Of any format.
    into
        What is written over and returned where it has the right size: memory that is touched for
        the first time costs more than the copy.

    Raises
    ------
    InputError
        The picture is too large.
    """
    rows, cols = picture.format.mb_shape
    luma = _checked_plane(picture.planes[0])
    if into is None or into.mb_shape != (rows, cols):
        into = LumaPlanes.empty((rows, cols))
    _library().idse_kernels_luma_planes(
        luma.ctypes.data,
        luma.strides[0],
        luma.shape[1],
        luma.shape[0],
        picture.format.bit_depth,
        rows,
        cols,
        into.full.ctypes.data,
        into.small.ctypes.data,
    )
    return into


@dataclass(frozen=True, eq=False)
class BlockMatch:
    """Where each macroblock's content was in the previous picture.

    Attributes
    ----------
    vectors
        int16 ``(rows, cols, 2)``: dx, dy in luma samples.
    residual
        float32 ``(rows, cols)``: mean absolute difference to the match per luma sample, 8-bit code
        values, over even lines.
    activity
        float32 ``(rows, cols)``: mean absolute difference of a sample to its left or upper
        neighbour, whichever is smaller: what intra prediction at its simplest leaves. Likewise.
    """

    vectors: Vectors
    residual: FloatMap
    activity: FloatMap


def motion_search(
    current: LumaPlanes, previous: LumaPlanes, *, temporal: Vectors | None = None
) -> BlockMatch:
    """Match every macroblock of ``current`` in ``previous``.

    Candidates are standing still, the neighbours' vectors and ``temporal``; the best is refined at
    quarter size, brought to full size between its neighbours' residuals, and refined there by one
    sample.

    Parameters
    ----------
    current, previous
        Luma of equal size.
    temporal
        ``vectors`` of the previous picture's match.

    Raises
    ------
    InputError
        Sizes or types do not fit.
    """
    rows, cols = current.mb_shape
    if previous.mb_shape != current.mb_shape:
        raise InputError(
            f"pictures of {current.mb_shape} and {previous.mb_shape} macroblocks cannot be matched"
        )
    if temporal is not None:
        shape = (rows, cols, 2)
        if temporal.shape != shape or temporal.dtype != np.int16:
            raise InputError(
                f"temporal vectors are {temporal.dtype} {temporal.shape}, expected int16 {shape}"
            )
        temporal = np.ascontiguousarray(temporal)
    vectors = np.empty((rows, cols, 2), np.int16)
    residual = np.empty((rows, cols), np.float32)
    activity = np.empty((rows, cols), np.float32)
    _library().idse_kernels_motion_search(
        current.small.ctypes.data,
        previous.small.ctypes.data,
        rows,
        cols,
        None if temporal is None else temporal.ctypes.data,
        vectors.ctypes.data,
    )
    _library().idse_kernels_motion_refine(
        current.full.ctypes.data,
        previous.full.ctypes.data,
        rows,
        cols,
        vectors.ctypes.data,
        residual.ctypes.data,
        activity.ctypes.data,
    )
    return BlockMatch(vectors, residual, activity)


def ac_energy(picture: Picture) -> npt.NDArray[np.uint32]:
    """Return each macroblock's AC energy as x264's adaptive quantisation computes it.

    Returns
    -------
    uint32 ``(mb_rows, mb_cols)``: the sum over the three planes of the block's squared deviations
    from its mean, in squared code values of the picture's own depth (x264 ``ac_energy_mb``,
    progressive pictures).
    """
    rows, cols = picture.format.mb_shape
    sx, sy = picture.format.subsampling
    energy = np.zeros((rows, cols), np.uint32)
    for plane, shift_x, shift_y in zip(picture.planes, (0, sx, sx), (0, sy, sy), strict=True):
        samples = _checked_plane(plane)
        _library().idse_kernels_ac_energy(
            samples.ctypes.data,
            samples.strides[0],
            samples.shape[1],
            samples.shape[0],
            samples.itemsize,
            MACROBLOCK >> shift_x,
            MACROBLOCK >> shift_y,
            rows,
            cols,
            energy.ctypes.data,
        )
    return energy


def flow_back(values: FloatMap, vectors: FloatMap, share: FloatMap) -> FloatMap:
    """Hand what the macroblocks of a picture hold back to where their content comes from.

    Parameters
    ----------
    values
        float32 ``(n, rows, cols)``: n quantities of every macroblock.
    vectors
        float32 ``(rows, cols, 2)``: (dx, dy) in luma samples to the content's place in the previous
        picture.
    share
        float32 ``(rows, cols)``: the part of its values that a macroblock hands back.

    Returns
    -------
    float32 ``(n, rows, cols)``: sums for the previous picture's macroblocks. Where content comes
    from between macroblocks, each gets the part that overlaps; from outside, the edge gets it.

    Raises
    ------
    InputError
        Shapes or types do not fit.
    """
    return _flow("flow_back", values, vectors, share)


def carry(values: FloatMap, vectors: FloatMap, share: FloatMap) -> FloatMap:
    """Bring what the previous picture's macroblocks hold to where their content has moved.

    Parameters
    ----------
    values
        float32 ``(n, rows, cols)``: n quantities of the previous picture's macroblocks.
    vectors, share
        As for :func:`flow_back`, of the picture; ``share`` is the part that arrives.

    Returns
    -------
    float32 ``(n, rows, cols)``: for every macroblock of the picture the bilinear interpolation at
    its content's previous place; at the edge where that is outside.

    Raises
    ------
    InputError
        Shapes or types do not fit.
    """
    return _flow("carry", values, vectors, share)


def _flow(name: str, values: FloatMap, vectors: FloatMap, share: FloatMap) -> FloatMap:
    rows, cols = share.shape if share.ndim == 2 else (0, 0)
    expected = {
        "share": (share, (rows, cols)),
        "values": (values, (len(values), rows, cols)),
        "vectors": (vectors, (rows, cols, 2)),
    }
    for what, (array, shape) in expected.items():
        if array.dtype != np.float32 or array.shape != shape or not array.size:
            raise InputError(
                f"{what} is {array.dtype} {array.shape}, expected float32 of {shape}, not empty"
            )
    values, vectors, share = (np.ascontiguousarray(a) for a in (values, vectors, share))
    out = np.empty_like(values)
    getattr(_library(), f"idse_kernels_{name}")(
        values.ctypes.data,
        len(values),
        vectors.ctypes.data,
        share.ctypes.data,
        rows,
        cols,
        out.ctypes.data,
    )
    return out
