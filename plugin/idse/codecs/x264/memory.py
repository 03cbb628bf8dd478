"""Zeroed memory for x264, so that an encode does not depend on what the process did before.

With AVX-512, x264's ``mbtree_propagate_list`` (builds 164 and 165) reads past the end of a row of
macroblocks unless the row is a multiple of 16 long, in buffers that were never written. In a fresh
process the system hands out zeros there; in one that has decoded video or run a network the bytes
are whatever was freed last, and the same input gives another (equally good) stream from run to run.
x264 reuses its buffers, so it is enough that they are zero when they are allocated.

``native/memory`` takes the place of ``memalign`` in the one library that x264 is. What is large it
hands back to the kernel, which gives zeros for it where it is touched: as in a fresh process memory
that x264 leaves alone, a quarter of what it asks for, is never there, and huge pages stay huge.
(glibc's own fill, ``M_PERTURB``, touches everything, in small pages and for the whole process.)
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache

from idse import native

logger = logging.getLogger(__name__)

_ABI = 1


@cache
def _library() -> ctypes.CDLL:
    library = native.load("idse_memory", _ABI)
    library.idse_memory_zero.argtypes = [ctypes.c_void_p]
    library.idse_memory_zero.restype = ctypes.c_int
    return library


def zero_allocations(function: ctypes._NamedFuncPointer) -> bool:
    """Give the library that a ctypes function is of zeroed memory from now on.

    Returns
    -------
    False where the library's allocations cannot be reached (it is linked statically, or for a
    processor that nobody has told us of): it then runs as it does everywhere else.
    """
    found = int(_library().idse_memory_zero(ctypes.cast(function, ctypes.c_void_p)))
    if found <= 0:
        logger.info("x264's memory is not zeroed: streams may vary from run to run with AVX-512")
    return found > 0
