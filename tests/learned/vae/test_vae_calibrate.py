"""Models fitted to photographs."""

import numpy as np
import pytest
import torch

from idse.codecs import vae
from idse.errors import InputError, ModelError
from idse.learned.vae import calibrate, export, model
from idse.learned.vae.networks import VaeConfig, build

pytestmark = pytest.mark.fast

STEPS = (-1024, 2048)


def picture(seed):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 16, 3)).repeat(8, 0).repeat(8, 1)
    return np.clip(coarse + rng.normal(0, 8, coarse.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", params=["hyperprior", "factorised"])
def network(request):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = build(VaeConfig(architecture=request.param, width=4, latents=6)).eval()
    with torch.no_grad():
        last = next(m for m in reversed(network.analysis) if isinstance(m, torch.nn.Conv2d))
        last.weight *= 8
    return network


def test_fitted_tables_make_other_pictures_smaller(network):
    fitted = calibrate.calibrated(network, [picture(1), picture(2)], steps=STEPS)
    plain = export.make(network, steps=STEPS)
    assert fitted.identity != plain.identity
    sizes = [
        len(vae.encode(picture(3), model.network_of(file), step=512).data)
        for file in (fitted, plain)
    ]
    assert sizes[0] < sizes[1]
    # Hyperprior: what is as likely below its mean as above is coded alike.
    if "side.sizes" in fitted.tensors:
        tables = np.split(
            fitted.tensors["tables.frequencies"].astype(int),
            np.cumsum(fitted.tensors["tables.sizes"])[:-1],
        )
        assert max(np.abs(t[:-1] - t[-2::-1]).max() for t in tables) <= 1


def test_the_network_s_own_tables_can_be_kept(network):
    kept = calibrate.calibrated(network, [picture(1)], steps=STEPS, fit_tables=False)
    plain = export.make(network, steps=STEPS)
    assert kept.identity == plain.identity
    curve = kept.value("curve", list)
    assert len(curve) == 7
    assert curve == sorted(curve)
    assert model.network_of(kept).steps == STEPS


def test_the_same_photographs_give_the_same_model(network):
    photographs = [picture(1)]
    first = calibrate.calibrated(network, photographs, steps=STEPS)
    assert calibrate.calibrated(network, photographs, steps=STEPS).identity == first.identity


def test_no_photographs_are_refused(network):
    with pytest.raises(InputError, match="none were given"):
        calibrate.calibrated(network, [])
    with pytest.raises(InputError, match="finer one first"):
        export.make(network, steps=(5, 1))


@pytest.mark.parametrize("value", [1e5, np.nan, np.inf])
def test_weights_of_a_training_that_diverged_are_refused(value):
    network = build(VaeConfig(width=4, latents=4))
    with torch.no_grad():
        network.synthesis[0].weight[0, 0, 0, 0] = value
    with pytest.raises(ModelError, match=r"synthesis\.0\.weight holds .*: training diverged"):
        export.make(network)


@pytest.mark.parametrize(
    "probabilities",
    [[1.0, 0.0], [0.0, 0.0, 1.0], [1e-9] * 999 + [1.0], [1.0] * 16384, [3.0, 1e-12, 2.0]],
)
def test_frequencies_sum_to_their_unit(probabilities):
    frequencies = export.integer_frequencies(np.array(probabilities))
    assert frequencies.min() >= 1
    assert frequencies.astype(int).sum() == 1 << 16
    wanted = np.array(probabilities) / sum(probabilities) * (1 << 16)
    assert np.abs(frequencies - wanted).max() <= len(probabilities) + 1
