"""The C functions of ``native/jpeg/trellis.h``, declared one by one."""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    Structure,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_ssize_t,
    c_void_p,
)
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from idse import native
from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from idse.codecs.jpeg.layout import JpegLayout

_ABI: Final = 2

_OK: Final = 0
_NO_MEMORY: Final = -1
_NOT_FINITE: Final = -2
_NEGATIVE: Final = -3

COMPONENTS: Final = 3

_Three = c_int32 * COMPONENTS
Pointers = c_void_p * COMPONENTS


class Grid(Structure):
    """``idse_grid``."""

    _fields_ = (
        ("components", c_int32),
        ("horizontal", _Three),
        ("vertical", _Three),
        ("rows", _Three),
        ("cols", _Three),
    )


class RawScan(Structure):
    """``idse_scan``."""

    _fields_ = (
        ("components", c_int32),
        ("component", _Three),
        ("ss", c_int32),
        ("se", c_int32),
        ("ah", c_int32),
        ("al", c_int32),
    )


@cache
def library() -> ctypes.CDLL:
    """Return ``libidse_trellis`` with the prototype of every function set."""
    lib = native.load("idse_trellis", _ABI)
    grid, scan = POINTER(Grid), POINTER(RawScan)
    signatures = {
        # pixels, stride, width, height, channels, grid, out, planes
        "transform": ([c_void_p, c_ssize_t, *[c_int] * 3, grid, Pointers, Pointers], c_int),
        # values, count
        "check": ([c_void_p, c_int64], c_int),
        # grid, coefficients, weights, tables, lambda, progressive, levels
        "run": ([grid, Pointers, Pointers, c_void_p, c_float, c_int, c_void_p], c_int),
        # grid, coefficients, weights, tables, lambda, progressive
        "estimate": ([grid, Pointers, Pointers, c_void_p, c_float, c_int], c_double),
        # grid, coefficients, weights, tables, levels
        "distortion": ([grid, Pointers, Pointers, c_void_p, c_void_p], c_double),
        # grid, levels, scan, progressive, interval, exact, header
        "scan_bytes": ([grid, c_void_p, scan, c_int, c_int64, c_int, POINTER(c_int64)], c_int64),
        # one, two, blocks, count, out
        "mix": ([c_void_p, c_void_p, c_int64, c_int64, c_void_p], None),
    }
    for name, (arguments, result) in signatures.items():
        function = getattr(lib, f"idse_trellis_{name}")
        function.argtypes, function.restype = arguments, result
    return lib


def grid(layout: JpegLayout) -> Grid:
    """Return a layout as C takes it."""
    raw = Grid(components=layout.components)
    for i, (horizontal, vertical) in enumerate(layout.factors):
        raw.horizontal[i], raw.vertical[i] = horizontal, vertical
        raw.rows[i], raw.cols[i] = layout.block_shape(i)
    return raw


def check(status: int) -> None:
    """Raise ``MemoryError`` where a function found no scratch memory."""
    if status == _NO_MEMORY:
        raise MemoryError
    if status != _OK:
        raise AssertionError(f"libidse_trellis returned {status}")


def pointers(arrays: Sequence[npt.NDArray[np.generic]]) -> ctypes.Array[c_void_p]:
    """Return where contiguous arrays lie."""
    return Pointers(*(array.ctypes.data for array in arrays))


def floats(
    layout: JpegLayout,
    arrays: Sequence[npt.NDArray[np.floating]],
    what: str,
    *,
    negative: bool,
) -> list[npt.NDArray[np.float32]]:
    """Return values of all coefficients as C takes them, copied only where they have to be.

    Raises
    ------
    InputError
        The shapes are not the layout's, a value is not finite, or one is negative and must not be.
    """
    expected = [(*layout.block_shape(i), 8, 8) for i in range(layout.components)]
    if [array.shape for array in arrays] != expected:
        told = ", ".join(str(array.shape) for array in arrays)
        raise InputError(f"{what} are of {told}: {layout} takes {expected}")
    out = [np.ascontiguousarray(array, np.float32) for array in arrays]
    for array in out:
        status = library().idse_trellis_check(array.ctypes.data, array.size)
        if status == _NOT_FINITE:
            raise InputError(f"{what} are not all finite numbers: replace NaN and infinity")
        if status == _NEGATIVE and not negative:
            raise InputError(f"{what} go down to {array.min()}: they must be >= 0")
    return out
