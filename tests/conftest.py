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


@pytest.fixture(scope="session")
def weighted_library(request: pytest.FixtureRequest) -> Path:
    """The libx264 that takes distortion weights, built once for the sources that there are."""
    from idse.codecs.x264.build import build_library, is_current, recipe_hash
    from idse.codecs.x264.source import UnavailableError

    assert request.config.cache is not None
    folder = request.config.cache.mkdir("libx264-idse")
    library = folder / f"{recipe_hash()[:16]}.so"
    if not is_current(library):
        try:
            build_library(library)
        except UnavailableError as error:
            pytest.skip(f"cannot build libx264 with distortion weights: {error}")
    return library
