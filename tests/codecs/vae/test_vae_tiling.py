"""Large pictures go through the networks in tiles."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from vae_models import make, photo

from idse.codecs import vae
from idse.codecs.vae import codec as codec_module
from idse.codecs.vae import latents as latents_module
from idse.codecs.vae.tiling import tiled
from idse.learned.vae import model
from idse.learned.vae.transforms import reach

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("kind", ["hyperprior", "factorised"])
@pytest.mark.parametrize("transform", ["gdn", "residual"])
def test_tiled_is_whole(kind, transform, monkeypatch):
    network = model.network_of(make(kind, transform=transform, steps=(-1024, 1024)))
    picture = photo(300, 420)
    find = lambda _: network  # noqa: E731
    whole_latents = latents_module.Latents(picture, network)
    data = vae.encode(picture, network, step=0).data
    whole = vae.decode(data, find)
    for module in (latents_module, codec_module):
        monkeypatch.setattr(module, "TILE", 128)
    monkeypatch.setattr(latents_module, "_HYPER_TILE", 128)
    parts = latents_module.Latents(picture, network)
    np.testing.assert_allclose(parts._distances, whole_latents._distances, atol=1e-3)
    assert np.abs(vae.decode(data, find).astype(int) - whole).max() <= 1


@pytest.mark.parametrize("transform", ["gdn", "residual"])
@pytest.mark.parametrize("kind", ["hyperprior", "factorised"])
def test_the_stated_reach_is_the_true_one(kind, transform):
    vae_ = model.network_of(make(kind, transform=transform, steps=(0, 0))).transforms._vae
    for part, channels, size in ((vae_.analysis, 3, 512), (vae_.synthesis, 6, 24)):
        torch.manual_seed(0)
        x = torch.randn(1, channels, size, size).requires_grad_()
        y = part(x)
        middle = y.shape[-1] // 2
        # Of the output samples that belong to one input sample, the outermost look the farthest.
        per = max(y.shape[-1] // size, 1)
        y[..., middle : middle + per, middle : middle + per].sum().backward()
        touched = np.flatnonzero(x.grad.abs().sum((0, 1, 2)).numpy())
        centre = middle * size // y.shape[-1]
        farthest = max(centre - touched[0], touched[-1] - centre)
        assert farthest <= math.ceil(reach(part)) < 2 * farthest + 2


def test_tiles_see_the_edge_repeated():
    plane = np.arange(35.0).reshape(1, 5, 7)
    seen = []

    def function(part):
        seen.append(part.shape)
        return part[:, ::2, ::2]

    out = np.empty((1, 4, 4))
    tiled(function, plane, out, ratio=Fraction(1, 2), unit=4, core=4, halo=2)
    assert seen == [(1, 6, 6), (1, 6, 6), (1, 6, 6), (1, 6, 6)]
    assert np.array_equal(out, np.pad(plane, [(0, 0), (0, 3), (0, 1)], mode="edge")[:, ::2, ::2])


def test_what_is_beyond_the_picture_is_dropped():
    plane = np.arange(6.0).reshape(1, 2, 3)
    out = np.empty((1, 3, 5))
    tiled(
        lambda part: part.repeat(2, 1).repeat(2, 2),
        plane,
        out,
        ratio=Fraction(2),
        unit=1,
        core=2,
        halo=1,
    )
    assert np.array_equal(out, plane.repeat(2, 1).repeat(2, 2)[:, :3, :5])
