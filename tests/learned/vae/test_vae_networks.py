"""Transforms and entropy models of the learned codecs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from idse.errors import InputError
from idse.learned.vae.layers import GDN, lower_bound
from idse.learned.vae.networks import (
    VaeConfig,
    build,
    gaussian_cells,
    pad,
)
from idse.learned.vae.prior import FactorisedPrior

pytestmark = pytest.mark.fast

ARCHITECTURES = list(itertools.product(("factorised", "hyperprior"), ("gdn", "residual")))


def small(architecture: str = "hyperprior", transform: str = "gdn", **options) -> VaeConfig:
    return VaeConfig(architecture=architecture, transform=transform, width=6, latents=5, **options)


@pytest.mark.parametrize(("architecture", "transform"), ARCHITECTURES)
def test_shapes(architecture: str, transform: str) -> None:
    network = build(small(architecture, transform))
    pictures = torch.rand(2, 3, 64, 128)
    y = network.analyse(pictures)
    assert y.shape == (2, 5, 64 // network.stride, 128 // network.stride)
    assert network.synthesise(y).shape == pictures.shape
    coded = network.code(pictures, torch.tensor([0.5, 4.0]), quantiser="noise")
    assert coded.decoded.shape == pictures.shape
    assert coded.bits.shape == coded.rounded_bits.shape == (2,)
    assert (coded.bits > 0).all()


def test_hyper_shapes_and_layers() -> None:
    network = build(small())
    z = network.hyper_analysis(network.analyse(torch.rand(1, 3, 128, 192)))
    assert z.shape == (1, 6, 2, 3)
    mean, log2_scale = network.gaussians(z.round())
    assert mean.shape == log2_scale.shape == (1, 5, 8, 12)
    # What whole-number arithmetic repeats exactly.
    allowed = torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.ReLU
    assert all(isinstance(layer, allowed) for layer in network.hyper_synthesis)


def test_padding_repeats_the_edge() -> None:
    picture = torch.rand(1, 3, 65, 100)
    padded = pad(picture, 64)
    assert padded.shape == (1, 3, 128, 128)
    assert torch.equal(padded[..., :65, :100], picture)
    assert torch.equal(padded[..., 127, :100], picture[..., 64, :])
    assert torch.equal(pad(padded, 64), padded)


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"latents": -1}, {"transform": "dct"}, {"architecture": "vq"}]
)
def test_config_is_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        VaeConfig(**wrong)


def test_gdn_follows_its_formula_and_inverts_by_fixed_point() -> None:
    generator = torch.Generator().manual_seed(1)
    layer = GDN(4).double()
    with torch.no_grad():
        layer.gamma_root.copy_(0.3 * torch.rand(4, 4, generator=generator))
        layer.beta_root.copy_(0.8 + torch.rand(4, generator=generator))
    x = torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64)
    y = layer(x)
    norm = torch.einsum("ij,bjhw->bihw", layer.gamma, x**2) + layer.beta[None, :, None, None]
    torch.testing.assert_close(y, x / norm.sqrt())
    # Equations 2.26 and 2.27: repeated IGDN with the same parameters undoes it.
    inverse = GDN(4, inverse=True).double()
    inverse.load_state_dict(layer.state_dict())
    guess = y
    for _ in range(200):
        guess = y * inverse(guess) / guess
    torch.testing.assert_close(guess, x)


def test_gdn_parameters_stay_in_range() -> None:
    layer = GDN(3)
    with torch.no_grad():
        layer.gamma_root.fill_(-1.0)
        layer.beta_root.fill_(-1.0)
    assert (layer.gamma >= 0).all()
    assert (layer.beta > 0).all()
    # They can return: a gradient that would raise them passes.
    (-layer.gamma.sum()).backward()
    assert (layer.gamma_root.grad < 0).all()


def test_lower_bound_lets_values_rise_only() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    lower_bound(x, 0.0).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]
    x.grad = None
    (-lower_bound(x, 0.0)).sum().backward()
    assert x.grad.tolist() == [-1.0, -1.0]


@pytest.mark.parametrize("step", [0.25, 1.0, 3.0])
def test_prior_is_a_distribution_at_every_step(step: float) -> None:
    torch.manual_seed(3)
    prior = FactorisedPrior(4)
    cells = torch.arange(-4000, 4001).float() * step
    x = cells[None, None, None].expand(1, 4, 1, -1)
    total = prior.likelihood(x, step).double().sum(dim=(0, 2, 3))
    torch.testing.assert_close(total, torch.ones(4, dtype=torch.float64), atol=1e-4, rtol=0)


def test_prior_cells_match_the_cumulative_function() -> None:
    torch.manual_seed(4)
    prior = FactorisedPrior(3)
    edges = torch.arange(-20, 22) - 0.5
    cumulative = prior.cumulative(edges)
    assert cumulative.dtype == torch.float64
    assert (cumulative.diff() > 0).all()
    cells = prior.likelihood((edges[:-1] + 0.5).expand(1, 3, 1, -1))[0, :, 0]
    torch.testing.assert_close(cells.double(), cumulative.diff(), atol=1e-6, rtol=1e-4)


def test_gaussian_cells_are_a_distribution() -> None:
    values = torch.arange(-400, 401).double()
    for scale in (0.01, 0.3, 2.0, 50.0):
        cells = gaussian_cells(values, torch.full_like(values, scale))
        assert float(cells.sum()) == pytest.approx(1, abs=1e-5)
    wanted = math.erf(0.5 / math.sqrt(2))
    assert float(gaussian_cells(torch.zeros(1), torch.ones(1))) == pytest.approx(wanted, rel=1e-5)


def test_noise_and_rounding_agree_on_rates_where_latents_are_wide() -> None:
    torch.manual_seed(0)
    network = build(small())
    pictures = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        coded = network.code(pictures, 0.05, quantiser="noise")
    ratio = (coded.bits / coded.rounded_bits).numpy()
    np.testing.assert_allclose(ratio, 1, atol=0.02)


def test_straight_through_equals_rounding_but_for_its_gradient() -> None:
    torch.manual_seed(0)
    network = build(small())
    pictures = torch.rand(1, 3, 64, 64)
    through = network.code(pictures, quantiser="straight-through")
    rounded = network.code(pictures, quantiser="round")
    torch.testing.assert_close(through.decoded, rounded.decoded)
    torch.testing.assert_close(through.bits, rounded.rounded_bits)
    through.decoded.sum().backward()
    assert network.analysis[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("architecture", ["factorised", "hyperprior"])
def test_rounded_bits_are_those_of_the_whole_codec(architecture: str) -> None:
    torch.manual_seed(0)
    network = build(small(architecture))
    pictures = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        wanted = network.code(pictures, 0.3).bits
        torch.testing.assert_close(network.rounded_bits(network.analyse(pictures), 0.3), wanted)


def test_coarser_steps_take_fewer_bits() -> None:
    torch.manual_seed(0)
    network = build(small())
    pictures = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        bits = [float(network.code(pictures, step).bits) for step in (0.1, 0.3, 1.0, 3.0)]
    assert bits == sorted(bits, reverse=True)


@pytest.mark.parametrize("learned", [True, False])
def test_steps_per_feature_map_are_learned_or_fixed(learned: bool) -> None:
    network = build(small(learned_steps=learned))
    assert network.log2_base.requires_grad is learned
    assert network.steps(2.0).shape == (5,)
    assert network.steps(torch.ones(3)).shape == (3, 5)
    torch.testing.assert_close(network.steps(2.0), 2 * network.steps(1.0))
    coded = network.code(torch.rand(1, 3, 64, 64), quantiser="noise")
    coded.bits.sum().backward()
    assert (network.log2_base.grad is not None) is learned
