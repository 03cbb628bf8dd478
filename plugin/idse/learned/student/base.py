"""What a student begins with: MobileNetV2 up to a 16th, or less, as it came from ImageNet."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import torch

from idse.learned.student.network import MEAN, STD
from idse.picture import PictureFormat
from idse.vision import load_model
from idse.vision.classifiers import IMAGENET_MEAN, IMAGENET_STD, InvertedResidualClassifier
from idse.vision.colour import planes_to_rgb

if TYPE_CHECKING:
    from torch import Tensor

    from idse.learned.student.network import StudentNetwork

_FORM = PictureFormat(width=64, height=64)


def load_base(network: StudentNetwork) -> None:
    """Fill the way down with MobileNetV2's weights, downloaded on first use.

    Raises
    ------
    ModelError
        They cannot be had.
    """
    source = load_model("mobilenet_v2").module
    assert isinstance(source, InvertedResidualClassifier)
    own = network.pretrained
    with torch.no_grad():
        for conv, given in zip(own, islice(source.convolutions(), len(own)), strict=True):
            assert conv.bias is not None
            assert given.bias is not None
            conv.weight.copy_(given.weight)
            conv.bias.copy_(given.bias)
        matrix, offset = _colours()
        stem = own[0]
        assert stem.bias is not None
        stem.bias += torch.einsum("oikl,i->o", stem.weight, offset)
        stem.weight.copy_(torch.einsum("oikl,ij->ojkl", stem.weight, matrix))


def _colours() -> tuple[Tensor, Tensor]:
    """Return matrix and offset from a student's input to MobileNetV2's."""
    # Columns: nothing, and one standard deviation of Y, of Cb and of Cr.
    shown = torch.tensor(MEAN)[:, None] + torch.tensor(STD)[:, None] * torch.eye(4)[1:]
    rgb = planes_to_rgb(shown[None, :, None, :], _FORM)[0, :, 0, :]
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None], torch.tensor(IMAGENET_STD)[:, None]
    seen = (rgb - mean) / std
    return seen[:, 1:] - seen[:, :1], seen[:, 0]
