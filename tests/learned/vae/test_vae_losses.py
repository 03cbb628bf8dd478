"""Losses of the learned codecs and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from idse.learned.vae import losses
from idse.learned.vae.networks import VaeConfig, build

pytestmark = pytest.mark.fast


def test_squared_error_is_in_code_values() -> None:
    pictures = torch.zeros(2, 3, 4, 4)
    decoded = pictures.clone()
    decoded[1] = 2 / 255
    assert losses.squared_error(pictures, decoded).tolist() == pytest.approx([0, 4])


def test_uniform_weights_of_grey_errors_count_luma_only() -> None:
    pictures = torch.rand(1, 3, 4, 4)
    decoded = pictures + 3 / 255  # grey: no chroma
    weights = torch.ones(1, 3, 4, 4)
    assert float(losses.weighted_error(pictures, decoded, weights)) == pytest.approx(3, rel=1e-3)
    weights[:, 0, :2] = 3
    assert float(losses.weighted_error(pictures, decoded, weights)) == pytest.approx(6, rel=1e-3)


def test_target_rate_is_its_formula() -> None:
    rate, error = torch.tensor([0.2, 0.4]), torch.tensor([10.0, 20.0])
    wanted = np.mean([10 + 500 * ((0.3 - 0.2) / 0.3) ** 2, 20 + 500 * ((0.3 - 0.4) / 0.3) ** 2])
    loss = losses.target_rate(rate, error, parameter=0.3, beta=500)
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kind", ["rate-distortion", "target", "weighted"])
def test_gradients_through_a_network(kind: str) -> None:
    torch.manual_seed(0)
    network = build(VaeConfig(architecture="factorised", width=3, latents=3)).double()
    pictures = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    step = torch.ones(1, dtype=torch.float64)

    def loss() -> torch.Tensor:
        noise = torch.Generator().manual_seed(5)
        coded = network.code(pictures, step, quantiser="noise", generator=noise)
        rate = coded.bits / 256
        error = losses.squared_error(pictures, coded.decoded)
        if kind == "target":
            return losses.target_rate(rate, error, parameter=0.7, beta=5000)
        if kind == "weighted":
            weights = torch.linspace(0.5, 2, 768, dtype=torch.float64).reshape(1, 3, 16, 16)
            error = losses.weighted_error(pictures, coded.decoded, weights)
        return losses.rate_distortion(rate, error, step, multiplier=0.1)

    value = loss()
    value.backward()
    parameters = [network.log2_base, network.analysis[1].gamma_root, network.synthesis[0].weight]
    for parameter in parameters:
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        index = int(gradient.abs().argmax())
        kept, width = float(flat[index]), 1e-6
        ends = []
        for sign in (1, -1):
            flat[index] = kept + sign * width
            with torch.no_grad():
                ends.append(float(loss()))
        flat[index] = kept
        assert (ends[0] - ends[1]) / (2 * width) == pytest.approx(float(gradient[index]), rel=1e-3)
