"""Networks that start as transform codecs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from idse.learned.vae.heuristic import mean_shift, rounded_rates, step_for_rate
from idse.learned.vae.networks import VaeConfig, build
from idse.learned.vae.start import start_from

pytestmark = pytest.mark.fast


def smooth_pictures(count: int) -> torch.Tensor:
    small = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    return torch.nn.functional.interpolate(small, size=(64, 64), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("transform", ["gdn", "residual"])
@pytest.mark.parametrize(("architecture", "latents"), [("factorised", 32), ("hyperprior", 64)])
def test_a_start_already_codes_pictures(architecture: str, latents: int, transform: str) -> None:
    torch.manual_seed(0)
    network = build(
        VaeConfig(architecture=architecture, transform=transform, width=16, latents=latents)
    )
    pictures = smooth_pictures(8)

    def error(step: float) -> float:
        with torch.no_grad():
            decoded = network.code(pictures, step).decoded
        return float((decoded - pictures).square().mean())

    before = error(0.1)
    start_from(network, pictures[:6])
    # Residual stages give a channel up, which at this width is one in sixteen.
    share = 0.02 if transform == "gdn" else 0.05
    assert error(0.1) < share * float(pictures.var())
    assert error(0.1) < 0.1 * before
    assert error(0.1) < error(16.0)


def test_scales_start_as_each_maps_own() -> None:
    torch.manual_seed(0)
    network = build(VaeConfig(width=16, latents=64))
    pictures = smooth_pictures(8)
    start_from(network, pictures)
    with torch.no_grad():
        y = network.analyse(pictures)
        _, log2_scale = network.gaussians(network.hyper_analysis(y).round())
    mean = log2_scale.mean((0, 2, 3)).numpy()
    np.testing.assert_allclose(mean, y.transpose(0, 1).flatten(1).std(1).log2(), atol=0.6)


def test_densities_start_as_wide_as_their_maps() -> None:
    torch.manual_seed(0)
    network = build(VaeConfig(architecture="factorised", width=16, latents=32))
    pictures = smooth_pictures(8)
    with torch.no_grad():
        start_from(network, pictures)
        latents = network.analyse(pictures)
        deviation = latents.transpose(0, 1).flatten(1).std(1)
        edges = 2 * deviation[:, None] * torch.tensor([-1.0, 1.0])
        inside = network.prior.cumulative(edges).diff()
    assert inside.min() > 0.7
    assert inside.max() < 0.995


def test_step_for_rate_finds_it() -> None:
    torch.manual_seed(0)
    network = build(VaeConfig(width=8, latents=16))
    pictures = list(smooth_pictures(3).split(1))
    start_from(network, torch.cat(pictures))
    for rate in (0.2, 0.5):
        step = step_for_rate(network, pictures, rate)
        assert np.mean(rounded_rates(network, pictures, step)) == pytest.approx(rate, rel=0.05)


def test_rates_are_per_sample_of_the_picture_not_of_its_padding() -> None:
    torch.manual_seed(0)
    network = build(VaeConfig(width=4, latents=4))
    picture = smooth_pictures(1)
    (whole,) = rounded_rates(network, [picture], 1.0)
    (part,) = rounded_rates(network, [picture[..., :32]], 1.0)
    assert part > 1.2 * whole


def test_noise_takes_more_where_nearly_all_rounds_to_nothing() -> None:
    torch.manual_seed(0)
    network = build(VaeConfig(width=8, latents=16))
    pictures = list(smooth_pictures(3).split(1))
    start_from(network, torch.cat(pictures))
    coarse, fine = (
        mean_shift(network, pictures, step, "mixed")
        / np.mean(rounded_rates(network, pictures, step))
        for step in (64.0, 1.0)
    )
    assert coarse > fine + 0.05
    assert mean_shift(network, pictures, 64.0, "straight-through") == pytest.approx(0, abs=1e-6)
    again = [mean_shift(network, pictures, 64.0, "mixed") for _ in range(2)]
    assert again[0] == again[1]
