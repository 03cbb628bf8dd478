"""Networks that watch pictures: registry, loaders, preprocessing, task heads.

The names below that need torch are imported when they are first used, so that the registry can be
listed without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from idse.errors import missing_extra
from idse.vision.registry import EXACT_MODEL, STUDENT

if TYPE_CHECKING:
    from idse.vision.extractor import FeatureExtractor
    from idse.vision.heads import Boxes, Classification, Detections, TaskHead, Top1
    from idse.vision.load import load_model

# What steers where nothing else is named.
DEFAULT_MODEL = STUDENT

_LAZY = {
    "Boxes": "heads",
    "Classification": "heads",
    "Detections": "heads",
    "FeatureExtractor": "extractor",
    "TaskHead": "heads",
    "Top1": "heads",
    "load_model": "load",
}

__all__ = [
    "DEFAULT_MODEL",
    "EXACT_MODEL",
    "Boxes",
    "Classification",
    "Detections",
    "FeatureExtractor",
    "TaskHead",
    "Top1",
    "load_model",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _LAZY:
        raise AttributeError(f"module 'idse.vision' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"idse.vision.{_LAZY[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise missing_extra("torch", "torch") from error
        raise
