"""The functions of ``native/student``, as they are declared in C."""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_void_p,
)
from functools import cache

from idse import native

_ABI = 1
_map = c_void_p  # of floats

KINDS = {"conv": 0, "upsample": 1, "add": 2, "concat": 3, "mean": 4}
REASON_BYTES = 160
# Instruction sets, best last; 0 is the best that the machine has.
ISAS = {"best": 0, "portable": 1, "avx2": 2, "avx512": 3}


class Op(Structure):
    """``idse_student_op``."""

    _fields_ = (
        *((name, c_int32) for name in ("kind", "in0", "in1", "out", "channels", "kernel")),
        *((name, c_int32) for name in ("stride", "groups", "relu", "reserved")),
        ("weight", c_int64),
        ("bias", c_int64),
    )


class Plane(Structure):
    """``idse_student_plane``."""

    _fields_ = (
        ("samples", c_void_p),
        ("stride", ctypes.c_ssize_t),
        ("width", c_int32),
        ("height", c_int32),
        ("sample_bytes", c_int32),
        ("scale", c_float),
        ("offset", c_float),
    )


class Shape(Structure):
    """``idse_student_shape``."""

    _fields_ = (("rows", c_int32), ("cols", c_int32), ("heads", c_int32))


@cache
def library() -> ctypes.CDLL:
    """Return the library.

    Raises
    ------
    LibraryLoadError
        It is missing or cannot be used.
    """
    found = native.load("idse_student", _ABI)
    reason = (c_char_p, c_size_t)
    signatures: dict[str, tuple[object, tuple[object, ...]]] = {
        "best_isa": (c_int, ()),
        # ops, n_ops, weights, n_weights, map, isa, why
        "new": (c_void_p, (POINTER(Op), c_int, c_void_p, c_int64, c_int, c_int, *reason)),
        "free": (None, (c_void_p,)),
        # student, rows, cols, shape, why
        "fit": (c_int, (c_void_p, c_int, c_int, POINTER(Shape), *reason)),
        # student, planes, turns, map
        "run": (c_int, (c_void_p, POINTER(Plane), c_int, c_void_p)),
        # map, rows, cols, heads, blend, down, n_down, across, n_across, scratch, out
        "spread": (None, (_map, *[c_int] * 3, _map, _map, c_int, _map, c_int, _map, _map)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(found, f"idse_student_{name}")
        function.restype = result
        function.argtypes = list(arguments)
    return found
