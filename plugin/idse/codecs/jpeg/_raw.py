"""The C functions of ``native/jpeg/shim.h``, declared one by one."""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    Structure,
    c_char,
    c_char_p,
    c_int,
    c_int32,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from functools import cache
from typing import Final

from idse import native
from idse.errors import CodecError, IdseError, InputError, LibraryLoadError

_ABI: Final = 1

COMPONENTS: Final = 3
BLOCK: Final = 64
MESSAGE: Final = 256

OK: Final = 0
_NO_MEMORY: Final = -3

GREY, RGB, YCC = 1, 2, 3

_PerComponent = c_int32 * COMPONENTS


class Header(Structure):
    """``idse_jpeg_header``."""

    _fields_ = (
        ("width", c_int32),
        ("height", c_int32),
        ("components", c_int32),
        ("colour", c_int32),
        ("horizontal", _PerComponent),
        ("vertical", _PerComponent),
        ("rows", _PerComponent),
        ("columns", _PerComponent),
        ("progressive", c_int32),
        ("restart_interval", c_int32),
        ("markers", c_int32),
    )


class Marker(Structure):
    """``idse_jpeg_marker``."""

    _fields_ = (("code", c_int32), ("size", c_uint32), ("data", c_void_p))


class Scan(Structure):
    """``idse_jpeg_scan``."""

    _fields_ = (
        ("count", c_int32),
        ("component", _PerComponent),
        ("ss", c_int32),
        ("se", c_int32),
        ("ah", c_int32),
        ("al", c_int32),
    )


Table = c_uint16 * BLOCK
Tables = Table * COMPONENTS
Pointers = c_void_p * COMPONENTS


class Settings(Structure):
    """``idse_jpeg_settings``."""

    _fields_ = (
        ("width", c_int32),
        ("height", c_int32),
        ("components", c_int32),
        ("horizontal", _PerComponent),
        ("vertical", _PerComponent),
        ("tables", Tables),
        ("optimise", c_int32),
        ("restart_rows", c_int32),
        ("scan_count", c_int32),
        ("scans", POINTER(Scan)),
        ("jfif_minor", c_int32),
        ("density_unit", c_int32),
        ("density_x", c_int32),
        ("density_y", c_int32),
        ("marker_count", c_int32),
        ("markers", POINTER(Marker)),
    )


class Output(Structure):
    """``idse_jpeg_output``."""

    _fields_ = (("data", POINTER(c_uint8)), ("size", c_uint64), ("message", c_char * MESSAGE))


@cache
def library() -> ctypes.CDLL:
    """Return ``libidse_jpeg`` with the prototype of every function set.

    Raises
    ------
    LibraryLoadError
        It cannot be loaded, or the libjpeg that it found is no libjpeg-turbo of the same ABI.
    """
    lib = native.load("idse_jpeg", _ABI)
    lib.idse_jpeg_version.argtypes = []
    lib.idse_jpeg_version.restype = c_char_p
    lib.idse_jpeg_check.argtypes = [c_char * MESSAGE]
    lib.idse_jpeg_check.restype = c_int
    lib.idse_jpeg_open.argtypes = [
        c_void_p,
        c_size_t,
        c_uint64,
        POINTER(Header),
        POINTER(c_int),
    ]
    lib.idse_jpeg_open.restype = c_void_p
    lib.idse_jpeg_close.argtypes = [c_void_p]
    lib.idse_jpeg_close.restype = None
    lib.idse_jpeg_problem.argtypes = [c_void_p]
    lib.idse_jpeg_problem.restype = c_char_p
    lib.idse_jpeg_get_marker.argtypes = [c_void_p, c_int32, POINTER(Marker)]
    lib.idse_jpeg_get_marker.restype = c_int
    lib.idse_jpeg_read_coefficients.argtypes = [c_void_p, Pointers, Tables]
    lib.idse_jpeg_read_coefficients.restype = c_int
    lib.idse_jpeg_read_pixels.argtypes = [c_void_p, c_int32, c_void_p]
    lib.idse_jpeg_read_pixels.restype = c_int
    lib.idse_jpeg_encode.argtypes = [POINTER(Settings), c_void_p, c_int32, POINTER(Output)]
    lib.idse_jpeg_encode.restype = c_int
    lib.idse_jpeg_write.argtypes = [POINTER(Settings), Pointers, POINTER(Output)]
    lib.idse_jpeg_write.restype = c_int
    lib.idse_jpeg_free.argtypes = [POINTER(Output)]
    lib.idse_jpeg_free.restype = None
    _check(lib)
    return lib


def _check(lib: ctypes.CDLL) -> None:
    message = (c_char * MESSAGE)()
    if lib.idse_jpeg_check(message) != OK:
        raise LibraryLoadError(
            f"the libjpeg that idse_jpeg found cannot be used: {_text(message.value)}; it needs "
            f"libjpeg-turbo, like {version(lib)} that it was built with"
        )


def version(lib: ctypes.CDLL) -> str:
    """Return the version of the libjpeg-turbo that ``lib`` was built with."""
    return _text(lib.idse_jpeg_version())


def error(status: int, action: str, message: bytes) -> IdseError:
    """Return the exception for a status other than ``OK``, with libjpeg's own words in it."""
    kind = CodecError if status == _NO_MEMORY else InputError
    return kind(f"{action}: {_text(message)}")


def _text(message: bytes) -> str:
    return message.decode("ascii", "replace")
