"""The C side, ``native/preload/patch.h``, declared once."""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_char,
    c_char_p,
    c_int,
    c_int32,
    c_size_t,
    c_uint64,
    c_void_p,
)
from functools import cache

from idse import native

_ABI = 1
MOST_ENCODERS = 256

# Called from the thread that encodes, which has let go of the interpreter.
LogSink = CFUNCTYPE(None, c_char_p)

COUNTERS = (
    "frames",
    "steered",
    "unsteered",
    "lost",
    "late",
    "age",
    "skipped",
    "sessions",
    "own_ns",
    "waited_ns",
)


class Patched(ctypes.Structure):
    """``struct idse_patched``: what is known of one encoder."""

    _fields_ = (
        ("number", c_uint64),
        ("open", c_int32),
        ("build", c_int32),
        ("width", c_int32),
        ("height", c_int32),
        ("mode", c_char * 8),
        ("problem", c_char * 200),
        *((name, c_uint64) for name in COUNTERS),
    )


_PROTOTYPES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "idse_pyav_attach": (c_int, (c_char_p, c_char_p, c_size_t)),
    "idse_pyav_detach": (None, ()),
    "idse_pyav_default": (c_int, (c_char_p, c_size_t)),
    "idse_pyav_choose": (c_int, (c_void_p, c_char_p, c_size_t)),
    "idse_pyav_waits": (c_int, (c_void_p,)),
    "idse_pyav_forget": (None, (c_void_p,)),
    "idse_pyav_class": (c_void_p, ()),
    "idse_pyav_log_to": (None, (LogSink,)),
    "idse_pyav_encoders": (c_int, (POINTER(Patched),)),
}


@cache
def library() -> ctypes.CDLL:
    """Return the library, loaded and declared.

    Raises
    ------
    LibraryLoadError
        It is missing or was built from other sources.
    """
    loaded = native.load("idse_pyav", _ABI)
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def attach(module: str) -> str:
    """Point the libavcodec that a loaded module uses at us; return why not, or nothing."""
    why = ctypes.create_string_buffer(200)
    library().idse_pyav_attach(module.encode(), why, len(why))
    return why.value.decode()


def encoders() -> list[Patched]:
    """Return the encoders that are known, oldest first."""
    found = (Patched * MOST_ENCODERS)()
    count = library().idse_pyav_encoders(found)
    return sorted(found[:count], key=lambda item: int(item.number))
