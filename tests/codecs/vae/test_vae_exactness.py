"""What one machine encodes another decodes: no symbol depends on a float's last bit."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from vae_models import GOLDEN, KINDS, digest, photo, symbols, tiny

from idse.codecs import vae

pytestmark = pytest.mark.fast

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from vae_models import digest, tiny
network = tiny("hyperprior")
for path in sys.argv[2:]:
    print(digest(Path(path).read_bytes(), network))
"""


class Disturbed:
    """Transforms of a machine that rounds otherwise, by far more than any does."""

    def __init__(self, transforms, noise=1e-3, dtype=np.float32):
        self._inner = transforms
        self._rng = np.random.default_rng(0)
        self._noise, self._dtype = noise, dtype
        for name in ("stride", "analysis_halo", "hyper_halo", "synthesis_halo"):
            setattr(self, name, getattr(transforms, name))

    def _disturb(self, x):
        return (x + self._rng.normal(0, self._noise, x.shape)).astype(self._dtype)

    def analyse(self, pixels):
        return self._disturb(self._inner.analyse(pixels))

    def hyper_analyse(self, latents):
        return self._disturb(self._inner.hyper_analyse(latents.astype(np.float32)))

    def synthesise(self, latents):
        return self._inner.synthesise(self._disturb(latents).astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [-1500, 0, 1777, 4000])
def test_noise_in_every_float_leaves_symbols_alone(kind, step):
    network = tiny(kind)
    noisy = replace(network, transforms=Disturbed(network.transforms))
    picture = photo(100, 90)
    for encoder, decoder in ((network, noisy), (noisy, network), (noisy, noisy)):
        data = vae.encode(picture, encoder, step=step).data
        assert digest(data, decoder) == digest(data, encoder)
        clean = vae.decode(data, lambda _: network)
        disturbed = vae.decode(data, lambda _, decoder=decoder: decoder)
        assert np.abs(clean.astype(int) - disturbed).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_decoded_is_what_was_quantised(kind):
    from idse.codecs.vae.latents import Latents

    network = tiny(kind)
    picture = photo(130, 70)
    latents = Latents(picture, network)
    z, values = symbols(vae.encode(picture, network, step=300).data, network)
    assert (z is None) == (kind == "factorised")
    if z is not None:
        assert np.array_equal(z.ravel(), latents.side[0])
    wanted = [coded for coded, _ in latents.coded(300)]
    assert len(values) == len(wanted)
    for ours, theirs in zip(values, wanted, strict=True):
        assert np.array_equal(ours.ravel(), theirs)


def test_an_encoder_in_double_precision_is_understood():
    network = tiny("hyperprior")
    other = replace(network, transforms=Disturbed(network.transforms, 0, np.float64))
    other.transforms._inner._vae.double()
    try:
        x = torch.from_numpy(photo(64, 64).transpose(2, 0, 1)).double() / 255 - 0.5
        with torch.inference_mode():
            exact = other.transforms._inner._vae.analysis(x[None])[0]
    finally:
        other.transforms._inner._vae.float()
    near = network.transforms.analyse(photo(64, 64).transpose(2, 0, 1))
    # The two analyses differ, so the encoders may code different symbols; each stream is its own.
    assert 0 < np.abs(exact.numpy() - near).max() < 1e-3
    data = vae.encode(photo(64, 64), other, step=-2000).data
    assert digest(data, network) == digest(data, other)


MACHINES = {
    "one thread": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    "four threads": {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4"},
    "no AVX": {
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX2 FMA3",
        "ATEN_CPU_CAPABILITY": "default",
    },
    "AVX2": {"OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "avx2"},
}


@pytest.mark.full
@pytest.mark.parametrize("machine", MACHINES)
def test_other_threads_and_cpus_decode_the_same_symbols(machine):
    names = ["v1-small", "v1-odd", "v1-fine", "v1-coarse", "v1-bands"]
    paths = [GOLDEN / f"{name}-hyperprior.ivae" for name in names]
    known = json.loads((GOLDEN / "v1-symbols.json").read_text())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, Path(__file__).parent, *paths],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | MACHINES[machine],
    )
    assert done.stdout.split() == [known[f"{name}-hyperprior"] for name in names]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_decodes_the_same_symbols():
    from idse.learned.vae import model

    network = tiny("hyperprior")
    other = model.load(GOLDEN / "tiny-hyperprior.safetensors", device="cuda")
    for encoder, decoder in ((network, other), (other, network)):
        data = vae.encode(photo(150, 90), encoder, step=0).data
        assert digest(data, decoder) == digest(data, encoder)
        difference = vae.decode(data, lambda _: network).astype(int) - vae.decode(
            data, lambda _: other
        )
        assert np.abs(difference).max() <= 1
