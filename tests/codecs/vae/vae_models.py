"""Small models with random weights, pictures, and a look into streams."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from idse.codecs import vae
from idse.codecs.vae.container import HEADER_BYTES
from idse.codecs.vae.latents import bands, grid, side_index
from idse.codecs.vae.tables import SymbolReader

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "vae"
KINDS = ("hyperprior", "factorised")


def tiny(kind):
    """The committed model of 4 channels and 6 latents."""
    from idse.learned.vae import model

    return model.load(GOLDEN / f"tiny-{kind}.safetensors")


def make(kind, *, width=4, latents=6, seed=1, transform="gdn", steps=None, gain=8.0):
    """A model whose latents spread over some ten steps, as a ModelFile."""
    import torch

    from idse.learned.vae import export
    from idse.learned.vae.networks import VaeConfig, build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = VaeConfig(architecture=kind, width=width, latents=latents, transform=transform)
        network = build(config).eval()
        with torch.no_grad():
            last = next(m for m in reversed(network.analysis) if isinstance(m, torch.nn.Conv2d))
            last.weight *= gain
            network.log2_base += torch.linspace(-0.5, 0.5, latents)
            if kind == "hyperprior":
                network.hyper_analysis[-1].weight *= gain
                network.hyper_synthesis[-1].bias[latents:] += torch.linspace(-2, 4, latents)
            _tame(network)
    file = export.make(network, steps=steps, card={"seed": seed})
    return export.sealed(file, metadata={"curve": [(0.1, 100.0), (2.0, 5.0)]})


def _tame(network):
    """Scale the decoder so that its pictures are not all black and white."""
    import torch

    pixels = torch.from_numpy(photo(128, 128).transpose(2, 0, 1).astype(np.float32)) / 255
    decoded = network.synthesise(network.analyse(pixels[None]))
    types = torch.nn.Conv2d, torch.nn.ConvTranspose2d
    last = next(m for m in reversed(network.synthesis) if isinstance(m, types))
    last.weight *= 0.15 / decoded.std()


def photo(height, width, *, seed=0):
    """A smooth picture with an edge and some noise: uint8 ``(height, width, 3)``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y / 9 + c) * 60 + np.cos(x / (7 + c)) * 50 for c in range(3)]
    plane = np.stack(waves, axis=2) + 128 + 40 * (x > width // 2)[..., None]
    return np.clip(plane + rng.normal(0, 4, plane.shape), 0, 255).astype(np.uint8)


def symbols(data, network):
    """The integers in a stream: hyper latents (or None) and a list of bands of latents."""
    header = vae.read_header(data)
    prior = network.prior
    rows, columns = grid(network, header.height, header.width)
    reader = SymbolReader(data[HEADER_BYTES:])
    z = None
    if prior.side is not None:
        shape = rows // prior.scale, columns // prior.scale
        z = reader.read(prior.side, side_index(prior, shape)).reshape(-1, *shape)
    values = []
    for start, end in bands(prior, rows, columns):
        _, spreads = prior.parameters(z, start, end, columns)
        index = prior.index(spreads, header.step)
        values.append(reader.read(prior.tables, index.ravel()).reshape(index.shape))
    return z, values


def digest(data, network):
    """SHA-256 of a stream's integers."""
    z, values = symbols(data, network)
    digest = hashlib.sha256(b"" if z is None else z.astype("<i4").tobytes())
    for band in values:
        digest.update(band.astype("<i4").tobytes())
    return digest.hexdigest()
