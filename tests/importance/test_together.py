"""Several clients' pictures through a network at once: the same maps, each client's own signs."""

import numpy as np
import pytest
import torch
from torch import nn

from idse.errors import ModelError
from idse.importance import Analyser
from idse.importance.analyser import prepare_together
from idse.picture import Picture, PictureFormat
from idse.vision import FeatureExtractor

pytestmark = pytest.mark.fast
FORM = PictureFormat(width=96, height=64)


class Counted(nn.Module):
    def __init__(self, weight):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 6, 5, stride=2)
        self.weight = weight
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        return self.weight * torch.tanh(self.convolution(x))


def picture(index):
    rng = np.random.default_rng(index)
    y, cb, cr = (rng.integers(0, 256, s, np.uint8) for s in FORM.plane_shapes)
    return Picture(planes=(y, cb, cr), format=FORM, index=index)


@pytest.fixture
def networks():
    return [(FeatureExtractor(Counted(w), size=(64, 96)), 1.0) for w in (1.0, 3.0)]


def test_maps_are_those_of_each_picture_alone(networks):
    pictures = [picture(n) for n in (0, 7, 2)]
    alone = [Analyser(networks, n_s=4).analyse(item).energy for item in pictures]
    for network, _ in networks:
        network.module.passes = 0
    analysers = [Analyser(networks, n_s=4) for _ in pictures]
    assert len({analyser.likeness for analyser in analysers}) == 1
    prepare_together(list(zip(analysers, pictures, strict=True)))
    for analyser, item, expected in zip(analysers, pictures, alone, strict=True):
        np.testing.assert_allclose(analyser.analyse(item).energy, expected, rtol=1e-4, atol=1e-9)
    assert [network.module.passes for network, _ in networks] == [1, 1]


def test_only_equal_settings_are_alike(networks):
    usual = Analyser(networks, n_s=4)
    assert usual.likeness != Analyser(networks, n_s=5).likeness
    assert usual.likeness != Analyser(networks, n_s=4, seed=1).likeness
    assert usual.likeness != Analyser(networks[:1], n_s=4).likeness


def test_a_network_that_takes_one_picture_at_a_time_says_so():
    class Single(Counted):
        def forward(self, x):
            return super().forward(x)[:1]

    analysers = [Analyser([(FeatureExtractor(Single(1.0), size=(64, 96)), 1.0)]) for _ in "ab"]
    pairs = list(zip(analysers, (picture(0), picture(1)), strict=True))
    with pytest.raises(ModelError, match=r"expected \(2, n_f\)"):
        prepare_together(pairs)
    assert analysers[0].analyse(pairs[0][1]).energy.any()  # alone it does
