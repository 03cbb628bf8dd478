"""Zeroed memory for x264, so that an encode does not depend on what the process did before.

With AVX-512, x264's ``mbtree_propagate_list`` (builds 164 and 165) reads past the end of a row of
macroblocks unless the row is a multiple of 16 long, in buffers that were never written. In a fresh
process the system hands out zeros there; in one that has decoded video or run a network the bytes
are whatever was freed last, and the same input gives another (equally good) stream from run to run.
x264 reuses its buffers, so it is enough that they are zero when they are allocated.

glibc can be told to fill what it allocates (``M_PERTURB``; the fill is the complement of the value,
so 255 fills with zeros) at the cost of a memset per allocation in the whole process, hence only
while x264 fills its pools. Other C libraries are left alone.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_M_PERTURB = -6  # malloc.h
_FILL_ZEROS, _OFF = 255, 0

_lock = threading.Lock()
_users = 0


def _find_mallopt() -> ctypes._NamedFuncPointer | None:
    libc = ctypes.CDLL(None)
    # Whoever debugs with glibc's own fill has set one of these: not ours to change.
    debugging = "MALLOC_PERTURB_" in os.environ or "perturb" in os.environ.get("GLIBC_TUNABLES", "")
    if debugging or not hasattr(libc, "gnu_get_libc_version") or not hasattr(libc, "mallopt"):
        return None
    function = libc.mallopt
    function.argtypes, function.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    return function


_mallopt = _find_mallopt()


@contextmanager
def zeroed_allocations() -> Iterator[None]:
    """Let malloc give out zeroed memory; may be nested and used by several threads."""
    global _users  # noqa: PLW0603 (the setting is the process's)
    if _mallopt is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _mallopt(_M_PERTURB, _FILL_ZEROS)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _mallopt(_M_PERTURB, _OFF)
