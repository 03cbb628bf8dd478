"""Networks for the tests of trial encodes, as ``--model half_blind:NAME`` finds them."""

from __future__ import annotations

import torch
from torch import nn

from idse.vision import FeatureExtractor


class LeftHalf(nn.Module):
    """Sees the left half of its input only."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 6, 5, stride=2, padding=2)

    def forward(self, x):
        return torch.tanh(self.convolution(x[..., : x.shape[-1] // 2]))


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("out of order")


def sees_left() -> FeatureExtractor:
    return FeatureExtractor(LeftHalf(), size=(64, 96), mean=(0.45,) * 3, std=(0.25,) * 3)


def fails() -> FeatureExtractor:
    return FeatureExtractor(Failing(), size=(64, 96), name="failing")
