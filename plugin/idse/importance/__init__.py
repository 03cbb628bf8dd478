"""Importance of the parts of a picture to a network: Jacobian sketches, maps, motion.

Maps are read and written without torch; ``Analyser`` and what it returns are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idse.errors import missing_extra
from idse.importance.maps import ImportanceMap, MapMetadata, MapSet, read_maps, write_maps

if TYPE_CHECKING:
    from idse.importance.analyser import Analyser, load_networks

__all__ = [
    "Analyser",
    "ImportanceMap",
    "MapMetadata",
    "MapSet",
    "load_networks",
    "read_maps",
    "write_maps",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in {"Analyser", "load_networks"}:
        raise AttributeError(f"module 'idse.importance' has no attribute {name!r}")
    try:
        from idse.importance import analyser
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise missing_extra("torch", "torch") from error
        raise
    return getattr(analyser, name)
