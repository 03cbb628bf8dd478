"""Hyper networks that are trained again."""

import numpy as np
import pytest
import torch

from idse.errors import InputError
from idse.learned.vae import hyper
from idse.learned.vae.hyper import HyperPlan, tune
from idse.learned.vae.networks import VaeConfig, build, pad
from idse.learned.vae.start import start_from

pytestmark = pytest.mark.fast


def photographs(count, size=(96, 160)):
    """Smooth ones with an edge."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[: size[0], : size[1]]
    made = []
    for _ in range(count):
        angle, place = random.uniform(0, 6), random.integers(40, 120)
        wave = 60 * np.sin(rows / 9 + angle) + 50 * (columns > place)
        noisy = 100 + wave[..., None] + random.normal(0, 6, (*size, 3))
        made.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return made


def planes(pictures):
    return pad(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255, 64)


@pytest.fixture
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build(VaeConfig(width=6, latents=8))
    start_from(network, planes(photographs(6))[:, :, :64, :64].repeat(4, 1, 1, 1))
    return network


def bits(network, pictures, step=4.0):
    with torch.no_grad():
        return float(network.rounded_bits(network.analyse(planes(pictures)), step).mean())


def test_whole_pictures_take_fewer_bits_and_transforms_stay(network):
    pictures, others = photographs(12)[:8], photographs(12)[8:]
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    first, seen = bits(network, others), []
    tune(network, pictures, HyperPlan(iterations=60), report=lambda _, loss: seen.append(loss))
    assert bits(network, others) < 0.9 * first
    assert len(seen) == 60
    assert np.mean(seen[-10:]) < np.mean(seen[:10])
    for name, weight in network.state_dict().items():
        trained = name.startswith(("hyper_", "prior."))
        assert trained or torch.equal(weight, before[name])


def test_the_same_arguments_give_the_same_weights(network):
    state, pictures = network.state_dict(), photographs(4)
    made = []
    for seed in (0, 0, 1):
        again = build(network.config)
        again.load_state_dict(state)
        tune(again, pictures, HyperPlan(iterations=2, seed=seed))
        made.append(torch.cat([weight.flatten() for weight in again.state_dict().values()]))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_errors_of_latents_are_those_of_samples(network):
    """But for one factor, which does not depend on the picture."""
    gains = [hyper._gain(network, [picture]) for picture in photographs(3)]
    assert max(gains) < 1.5 * min(gains)
    assert min(gains) > 0


@pytest.mark.parametrize(
    ("options", "word"),
    [({"iterations": 0}, "0 iterations"), ({"iterations": 1, "finest": 9, "coarsest": 8}, "9")],
)
def test_plans_that_make_no_sense(options, word):
    with pytest.raises(InputError, match=word):
        HyperPlan(**options)


def test_pictures_of_many_sizes_make_no_batch(network):
    few = [photographs(1, size)[0] for size in ((96, 160), (160, 96))]
    with pytest.raises(InputError, match="no 4 of 2 pictures"):
        tune(network, few, HyperPlan(iterations=1))
