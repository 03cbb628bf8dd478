"""Families of encoders of still pictures: one file each, by the name that suites know them by."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from idse.errors import InputError

if TYPE_CHECKING:
    from idse.evaluation.coders.base import Coder

# Loaded when they are asked for: most need a package of their own.
_CODERS = {
    "x264": ("x264", "X264"),
    "jpeg": ("idse_jpeg", "IdseJpeg"),
    "libjpeg-turbo": ("libjpeg_turbo", "LibjpegTurbo"),
    "mozjpeg": ("mozjpeg", "Mozjpeg"),
    "jpegli": ("jpegli", "Jpegli"),
    "luo": ("fixed_tables", "Luo"),
    "grace": ("fixed_tables", "Grace"),
    "vae": ("vae", "Vae"),
}
CODECS = tuple(_CODERS)

__all__ = ["CODECS", "find_coder"]


def find_coder(codec: str) -> type[Coder]:
    """Return a family of encoders.

    Raises
    ------
    InputError
        There is none of that name.
    MissingExtraError
        It needs a package that is not installed.
    """
    if codec not in _CODERS:
        raise InputError(f"codec {codec!r} is not one of {', '.join(CODECS)}")
    module, name = _CODERS[codec]
    found: type[Coder] = getattr(import_module(f"{__name__}.{module}"), name)
    return found
