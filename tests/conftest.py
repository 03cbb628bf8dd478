"""Fixtures that several floors share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from idse.vision import FeatureExtractor

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Research data beside the repository; what needs it is skipped where it is absent."""
    if not (DATA / "video").is_dir():
        pytest.skip(f"needs the research data in {DATA} (not part of the repository)")
    return DATA.resolve()


@pytest.fixture(scope="session")
def yolo() -> FeatureExtractor:
    """yolov4-tiny from the user's cache, downloaded on first use."""
    from idse.vision import load_model

    return load_model("yolov4-tiny")
