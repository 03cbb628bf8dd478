"""Loading of the C libraries that are built with the package (``native/``)."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from idse.errors import LibraryLoadError

_DIRECTORY = Path(__file__).parent / "_native"


@cache
def load(name: str, abi: int) -> ctypes.CDLL:
    """Load ``lib<name>.so`` of this package and check that its ABI number is ``abi``.

    Every library exports ``int <name>_abi(void)``; the number changes whenever a signature or a
    struct does, so a stale build is refused instead of corrupting memory.

    Raises
    ------
    LibraryLoadError
        The library is missing, cannot be loaded, or was built from other sources.
    """
    path = _DIRECTORY / f"lib{name}.so"
    if not path.exists():
        raise LibraryLoadError(
            f"native library {path} is missing: install the package again (pip install .)"
        )
    try:
        library = ctypes.CDLL(str(path))
        probe = getattr(library, f"{name}_abi")
    except (OSError, AttributeError) as error:
        raise LibraryLoadError(f"native library {path} cannot be used: {error}") from error
    probe.argtypes = []
    probe.restype = ctypes.c_int
    found = probe()
    if found != abi:
        raise LibraryLoadError(
            f"native library {path} has ABI {found}, this package expects {abi}: install it again "
            "(pip install .)"
        )
    return library
