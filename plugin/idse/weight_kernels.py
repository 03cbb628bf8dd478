"""The C kernels over weights of JPEG coefficients (``native/kernels/weights.c``).

Everything is checked here before C sees a pointer. The kernels keep no state and allocate nothing,
so they may be called from several threads, each with its own arrays.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_float, c_int, c_int32, c_int64, c_ssize_t, c_void_p
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from idse import native
from idse.errors import InputError
from idse.kernels import ABI

_BLOCK = 8

Floats = npt.NDArray[np.float32]


class _Gradients(Structure):
    _fields_ = (
        ("values", c_void_p),
        ("row_step", c_ssize_t),
        ("count", c_int32),
        ("width", c_int32),
    )


class _Taps(Structure):
    _fields_ = (
        ("first", c_void_p),
        ("factor", c_void_p),
        ("blocks", c_int32),
        ("reach", c_int32),
    )


@cache
def _library() -> ctypes.CDLL:
    library = native.load("idse_kernels", ABI)
    taps = POINTER(_Taps)
    signatures = {
        # gradients, down, across, scratch, out
        "coefficient_weights": [POINTER(_Gradients), taps, taps, c_void_p, c_void_p],
        # weights, blocks, sums
        "frequency_sums": [c_void_p, c_int64, c_void_p],
        # weights, blocks, factor, sums
        "block_sums": [c_void_p, c_int64, c_void_p, c_void_p],
        # weights, blocks, own, common, spectrum, least, out
        "blend_weights": [c_void_p, c_int64, *[c_void_p] * 3, c_float, c_void_p],
    }
    for name, arguments in signatures.items():
        function = getattr(library, f"idse_kernels_{name}")
        function.argtypes = arguments
        function.restype = None
    library.idse_kernels_frequency_sums.restype = c_int
    return library


@dataclass(frozen=True, eq=False)
class Taps:
    """What the blocks of 8 samples along an axis see of a gradient.

    Attributes
    ----------
    first
        int32 ``(blocks,)``: the first sample of the gradient that each sees.
    factor
        float32 ``(blocks, reach, 8)``: how much that one and the next count for each of the 8 basis
        functions.

    Raises
    ------
    InputError
        Shapes or types are others.
    """

    first: npt.NDArray[np.int32]
    factor: Floats

    def __post_init__(self) -> None:
        blocks, reach = len(self.first), self.factor.shape[1] if self.factor.ndim == 3 else 0
        expected = {
            "first": (self.first, np.int32, (blocks,)),
            "factor": (self.factor, np.float32, (blocks, reach, _BLOCK)),
        }
        for name, (array, dtype, shape) in expected.items():
            if array.dtype != dtype or array.shape != shape or not array.size:
                raise InputError(
                    f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} of {shape}"
                )
            object.__setattr__(self, name, np.ascontiguousarray(array))

    def inside(self, samples: int) -> bool:
        """Tell whether nothing outside of so many samples is seen."""
        return bool(self.first.min() >= 0 and self.first.max() + self.factor.shape[1] <= samples)

    def _raw(self) -> _Taps:
        return _Taps(
            self.first.ctypes.data, self.factor.ctypes.data, len(self.first), self.factor.shape[1]
        )


def coefficient_weights(gradients: Floats, down: Taps, across: Taps) -> Floats:
    """Return the squares of every block's transformed gradients, summed over the gradients.

    Parameters
    ----------
    gradients
        float32 ``(n, rows, columns)``; each gradient contiguous.
    down, across
        Of the blocks' rows and columns.

    Returns
    -------
    ndarray
        float32 ``(block rows, block columns, 8, 8)``; rows of a block are vertical frequencies.

    Raises
    ------
    InputError
        Shapes or types do not fit.
    """
    if gradients.dtype != np.float32 or gradients.ndim != 3 or not gradients.size:
        raise InputError(
            f"gradients are {gradients.dtype} {gradients.shape}, expected float32 of 3 axes"
        )
    n, rows, columns = gradients.shape
    if not (down.inside(rows) and across.inside(columns)):
        raise InputError(f"blocks reach beyond gradients of {rows} rows and {columns} columns")
    step, *inner = (stride // gradients.itemsize for stride in gradients.strides)
    if inner != [columns, 1] or step < 0:
        gradients = np.ascontiguousarray(gradients)
        step = rows * columns
    scratch = np.empty(_BLOCK * columns * n, np.float32)
    out = np.empty((len(down.first), len(across.first), _BLOCK, _BLOCK), np.float32)
    raw = _Gradients(gradients.ctypes.data, step, n, columns)
    _library().idse_kernels_coefficient_weights(
        ctypes.byref(raw),
        ctypes.byref(down._raw()),  # noqa: SLF001 - the pointers are this module's own
        ctypes.byref(across._raw()),  # noqa: SLF001
        scratch.ctypes.data,
        out.ctypes.data,
    )
    return out


def _checked(weights: Floats) -> Floats:
    if weights.dtype != np.float32 or weights.ndim != 4 or weights.shape[2:] != (8, 8):
        raise InputError(
            f"weights are {weights.dtype} {weights.shape}, expected float32 of "
            "(block rows, block columns, 8, 8)"
        )
    return np.ascontiguousarray(weights)


def frequency_sums(weights: Floats) -> npt.NDArray[np.float64]:
    """Return the sum over blocks of float32 ``(block rows, block columns, 8, 8)``: ``(8, 8)``.

    Raises
    ------
    InputError
        The weights have another shape or type, one is negative, or their sum is not finite.
    """
    weights = _checked(weights)
    sums = np.empty((_BLOCK, _BLOCK), np.float64)
    negative = _library().idse_kernels_frequency_sums(
        weights.ctypes.data, weights.size // sums.size, sums.ctypes.data
    )
    if negative or not np.isfinite(sums).all():
        raise InputError("weights of coefficients must be finite and not negative")
    return sums


def block_sums(weights: Floats, factor: npt.NDArray[np.floating]) -> Floats:
    """Return the sum of each block's weights times ``(8, 8)`` factors.

    Parameters
    ----------
    weights
        float32 ``(block rows, block columns, 8, 8)``.
    factor
        One for each frequency.

    Raises
    ------
    InputError
        The weights have another shape or type, or there are not 64 factors.
    """
    weights, factors = _checked(weights), _frequencies(factor)
    sums = np.empty(weights.shape[:2], np.float32)
    _library().idse_kernels_block_sums(
        weights.ctypes.data, sums.size, factors.ctypes.data, sums.ctypes.data
    )
    return sums


def blend_weights(
    weights: Floats,
    common: Floats,
    *,
    own: npt.NDArray[np.floating],
    spectrum: npt.NDArray[np.floating],
    least: float,
) -> Floats:
    """Return ``common * spectrum + own * weights + least``.

    Parameters
    ----------
    weights
        float32 ``(block rows, block columns, 8, 8)``.
    common
        float32 ``(block rows, block columns)``.
    own, spectrum
        ``(8, 8)``.
    least
        Any number.

    Raises
    ------
    InputError
        Shapes or types do not fit.
    """
    weights = _checked(weights)
    if common.dtype != np.float32 or common.shape != weights.shape[:2]:
        raise InputError(
            f"common is {common.dtype} {common.shape}, expected float32 of {weights.shape[:2]}"
        )
    common = np.ascontiguousarray(common)
    shares, shape = _frequencies(own), _frequencies(spectrum)
    out = np.empty_like(weights)
    _library().idse_kernels_blend_weights(
        weights.ctypes.data,
        common.size,
        shares.ctypes.data,
        common.ctypes.data,
        shape.ctypes.data,
        least,
        out.ctypes.data,
    )
    return out


def _frequencies(values: npt.NDArray[np.floating]) -> Floats:
    if values.shape != (_BLOCK, _BLOCK):
        raise InputError(f"values of {values.shape} are not one for each of 8x8 frequencies")
    return np.ascontiguousarray(values, np.float32)
