"""Estimated rates against files that the codec really writes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from idse.codecs.vae import decode, encode
from idse.learned.vae.export import make
from idse.learned.vae.model import network_of
from idse.learned.vae.networks import VaeConfig, build
from idse.learned.vae.start import start_from

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("architecture", "transform"),
    [("factorised", "gdn"), ("hyperprior", "gdn"), ("hyperprior", "residual")],
)
def test_files_are_as_large_as_estimated(architecture: str, transform: str) -> None:
    generator = torch.Generator().manual_seed(6)
    small = torch.rand(4, 3, 32, 48, generator=generator)
    pictures = torch.nn.functional.interpolate(small, scale_factor=4, mode="bicubic").clamp(0, 1)
    torch.manual_seed(0)
    vae = build(VaeConfig(architecture=architecture, transform=transform, width=12, latents=24))
    start_from(vae, pictures[:3])
    network = network_of(make(vae))
    pixels = (255 * pictures[3]).round().byte().permute(1, 2, 0).numpy()
    for octave in (-1, 0, 2):
        coded = encode(pixels, network, step=1024 * octave)
        with torch.no_grad():
            exact = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
            estimate = vae.code(exact, 2.0**octave)
        # The header, and what integer tables and rounded parameters cost.
        assert 8 * len(coded.data) == pytest.approx(float(estimate.bits), rel=0.02, abs=400)
        decoded = decode(coded.data, lambda _: network)
        wanted = (255 * estimate.decoded[0].clip(0, 1)).permute(1, 2, 0).numpy()
        assert np.abs(decoded - wanted).mean() < 1.5
