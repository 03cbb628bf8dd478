"""Weights of training photographs from a network's sketch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from idse.importance import Analyser
from idse.learned.vae.data import Photographs
from idse.learned.vae.importance import as_picture, importance_weights
from idse.vision import FeatureExtractor

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fast


class LeftHalf(torch.nn.Module):
    """Sees the left half only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., : x.shape[-1] // 2].flatten(1)


def test_weights_lie_where_the_network_looks(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (64, 128, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "more").mkdir()
    Image.fromarray(pixels[:, :72]).save(tmp_path / "more" / "b.png")
    network = FeatureExtractor(LeftHalf(), size=(64, 128), mean=(0, 0, 0), std=(1, 1, 1))
    weights = importance_weights(tmp_path, Analyser([(network, 1.0)]), alpha=0.5)
    assert weights["a.png"].shape == (3, 4, 8)
    assert weights["more/b.png"].shape == (3, 4, 5)
    luma = weights["a.png"][0]
    np.testing.assert_allclose(luma[:, 4:], 0.5 / 1.5, rtol=1e-5)
    assert (luma[:, :4] > 1).all()
    crops = Photographs(tmp_path, side=64, weights=weights).draw(4, seed=(0,))
    assert crops.weights is not None
    assert crops.weights.shape == crops.pictures.shape


def test_grey_becomes_luma() -> None:
    picture = as_picture(np.full((8, 8, 3), 77, np.uint8))
    assert [int(plane[0, 0]) for plane in picture.planes] == [77, 128, 128]
