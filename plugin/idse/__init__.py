"""idse: codecs for machines. Spends the bits of H.264 and JPEG on what a vision network looks at.

``import idse`` and every codec work without torch; the names below that need it are imported when
they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idse.pipeline.images.encoder import JpegEncoder, encode_jpeg
    from idse.vision import FeatureExtractor, load_model

__version__ = "0.1.0"

_LAZY = {
    "FeatureExtractor": "idse.vision",
    "JpegEncoder": "idse.pipeline.images.encoder",
    "encode_jpeg": "idse.pipeline.images.encoder",
    "load_model": "idse.vision",
}

__all__ = ["FeatureExtractor", "JpegEncoder", "__version__", "encode_jpeg", "load_model"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'idse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
