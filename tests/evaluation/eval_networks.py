"""Networks so small that an evaluation by them takes no time; named as users name their own."""

import torch
from torch import nn

from idse import FeatureExtractor
from idse.vision import Top1


def _network(seed, channels):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, channels, 5, stride=4),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(6),
        nn.Flatten(),
        nn.Linear(36 * channels, 7),
    )


def judge():
    return FeatureExtractor(_network(3, 6), size=(64, 96), fit="stretch", head=Top1(), name="judge")


def other():
    return FeatureExtractor(_network(4, 4), size=(48, 48), fit="stretch", head=Top1())


def local():
    """Features of one sample each: what is block by block is the same as the whole."""
    net = nn.Conv2d(3, 2, 4, stride=4)
    return FeatureExtractor(net, size=(32, 48), fit="stretch", name="local")
