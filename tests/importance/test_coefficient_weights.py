"""Weights of JPEG coefficients against the full-resolution sketch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_sketch_jacobian import random_picture, small_network
from test_spectrum import cosines

from idse.errors import ModelError
from idse.importance import Analyser

pytestmark = pytest.mark.fast


def by_definition(plane):
    """Return the sum over rows of the squared DCT of every 8x8 block, zeros beyond the plane."""
    rows, height, width = plane.shape
    plane = np.pad(plane, [(0, 0), (0, -height % 8), (0, -width % 8)])
    blocks = plane.reshape(rows, -(-height // 8), 8, -(-width // 8), 8).swapaxes(2, 3)
    basis = cosines(8)
    return ((basis @ blocks @ basis.T) ** 2).sum(0)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"siting": "center"},
        {"pix_fmt": "yuv422p", "siting": "center", "full_range": True},
        {"pix_fmt": "yuv444p"},
        {"rotation": 90},
        {"width": 101, "height": 75},
        {"width": 3, "height": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_are_those_of_the_jacobian_at_the_picture_s_resolution(kwargs, fit):
    network, picture = small_network(fit=fit), random_picture(index=2, **kwargs)
    analyser = Analyser([(network, 1)], n_s=3, dtype="float64")
    found, sketch = analyser.coefficients(picture), analyser.sketch(picture)
    for weights, plane in zip(found, (sketch.y, sketch.cb, sketch.cr), strict=True):
        expected = by_definition(plane)
        assert weights.dtype == np.float32
        np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-9 * expected.max())


def test_siting_moves_chroma_and_nothing_else():
    def weights(siting):
        picture = random_picture(siting=siting)
        for plane in picture.planes[1:]:
            plane[:] = 128  # the network sees the same, wherever chroma lies
        return Analyser([(small_network(), 1)]).coefficients(picture)

    left, centre = weights("left"), weights("center")
    np.testing.assert_allclose(left[0], centre[0], rtol=1e-3)  # rounding of equal sums
    assert not np.allclose(left[1], centre[1], rtol=1e-3, atol=0)


def test_add_up_over_networks_as_their_maps_do():
    picture = random_picture(width=64, height=48)
    analyser = Analyser([(small_network(), 1), (small_network(n_f=3), 2)], dtype="float64")
    total = sum(weights.sum(dtype=np.float64) for weights in analyser.coefficients(picture))
    assert total == pytest.approx(analyser.analyse(picture).energy.sum(), rel=1e-5)


def test_an_analysis_after_them_does_not_look_twice(monkeypatch):
    picture = random_picture()
    analyser = Analyser([(small_network(), 1)])
    expected = analyser.analyse(picture).energy
    analyser.coefficients(picture)
    monkeypatch.setattr("idse.importance.analyser.sketch_gradients", None)
    np.testing.assert_array_equal(analyser.analyse(picture).energy, expected)


@pytest.mark.parametrize("size", [(101, 75), (640, 416)])
def test_the_kernel_s_are_those_of_torch(size):
    picture = random_picture(width=size[0], height=size[1])
    single, double = (
        Analyser([(small_network(), 1)], n_s=3, dtype=dtype).coefficients(picture)
        for dtype in ("float32", "float64")
    )
    for found, expected in zip(single, double, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5 * expected.max())


class Scale(torch.nn.Module):
    """Multiplies."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def test_gradients_too_large_to_square_are_refused():
    network = small_network(dtype=torch.float32)
    network.module.append(Scale(1e30))
    with pytest.raises(ModelError, match="too large to square"):
        Analyser([(network, 1)]).coefficients(random_picture())
