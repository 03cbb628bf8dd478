"""The C functions of ``native/h264/h264.h``, declared one by one."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_int8, c_int32, c_int64, c_size_t, c_uint, c_void_p
from functools import cache

from idse import native

_ABI = 2

DONE = 0
PICTURE = 1
UNSUPPORTED = -2

# Bits of Picture.slice_types and of Picture.flags.
SLICE_P, SLICE_B = 1, 2
CODED, SKIPPED, INTRA = 1, 2, 4


class Picture(ctypes.Structure):
    """``idse_h264_picture``."""

    _fields_ = (
        ("tag", c_int64),
        ("order", c_int64),
        ("mb_width", c_int32),
        ("mb_height", c_int32),
        ("slice_types", c_int32),
        ("structure", c_int32),
        ("bit_depth", c_int32),
        ("qp", POINTER(c_int8)),
        ("flags", POINTER(ctypes.c_uint8)),
        ("bits", POINTER(c_int32)),
    )


@cache
def library() -> ctypes.CDLL:
    """Return ``libidse_h264`` with the prototype of every function set."""
    lib = native.load("idse_h264", _ABI)
    lib.idse_h264_open.argtypes = []
    lib.idse_h264_open.restype = c_void_p
    lib.idse_h264_close.argtypes = [c_void_p]
    lib.idse_h264_close.restype = None
    lib.idse_h264_read.argtypes = [
        c_void_p,
        c_char_p,
        c_size_t,
        c_uint,
        c_int64,
        POINTER(c_size_t),
    ]
    lib.idse_h264_read.restype = c_int
    lib.idse_h264_flush.argtypes = [c_void_p]
    lib.idse_h264_flush.restype = c_int
    lib.idse_h264_fetch.argtypes = [c_void_p, POINTER(Picture)]
    lib.idse_h264_fetch.restype = None
    lib.idse_h264_problem.argtypes = [c_void_p]
    lib.idse_h264_problem.restype = c_char_p
    lib.idse_h264_problem_macroblock.argtypes = [c_void_p]
    lib.idse_h264_problem_macroblock.restype = c_int64
    return lib
