"""Pictures and networks for the tests of JPEGs, as ``--model still_pictures:NAME`` finds them."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from idse.vision import Boxes, FeatureExtractor, Top1


def photo(width, height, *, seed=0):
    """Uint8 (height, width, 3): soft shapes, an edge, and texture on one side."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(0, 255, (max(2, height // 24), max(2, width // 24), 3)).astype(np.uint8)
    soft = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    noise = rng.normal(0, 14, (height, width, 1)) * (np.arange(width) > width / 2)[None, :, None]
    edge = 50.0 * (np.arange(height) > height * 0.6)[:, None, None]
    return np.clip(soft + noise + edge, 0, 255).astype(np.uint8)


def file_of(pixels, kind="PNG", **options):
    """Bytes of a file of Pillow's."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation):
    """EXIF data that says how to turn a picture."""
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


class _Shrunk(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        torch.manual_seed(1)
        self.see = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4), nn.Tanh(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
        )
        self.say = nn.Linear(128, outputs)

    def forward(self, x):
        return 4 * self.say(self.see(x))


class _Squares(nn.Module):
    """A detector of bright squares: one candidate box for every cell of a 4x4 grid."""

    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x.mean(1, keepdim=True), 4)


def _decode(output: Any, size: tuple[int, int]):
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    step_y, step_x = size[0] / 4, size[1] / 4
    boxes = torch.stack([columns * step_x, rows * step_y], -1).reshape(1, 16, 2)
    boxes = torch.cat([boxes, boxes + torch.tensor([step_x, step_y])], -1)
    return boxes.expand(len(output), -1, -1), output.flatten(1)[..., None].clamp(0, 1)


def classifier():
    return FeatureExtractor(
        _Shrunk(5), size=(64, 64), fit="stretch", features=lambda y: y.softmax(1), head=Top1()
    )


def detector():
    return FeatureExtractor(_Squares(), size=(64, 64), fit="stretch", head=Boxes(_decode))


class _Left(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 6, 5, stride=2, padding=2)

    def forward(self, x):
        return torch.tanh(self.convolution(x[..., : x.shape[-1] // 2]))


class _Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("out of order")


class _NotFinite(nn.Module):
    def forward(self, x):
        return x * float("nan")


class _Deadly(nn.Module):
    """Ends its process where it is shown something much wider than high."""

    def forward(self, x):
        if x[..., 0, x.shape[-1] // 2].sum() == 0:  # the letterbox is black above
            os._exit(9)
        return x.mean((2, 3))


def left():
    """Sees the left half of what it is shown."""
    return FeatureExtractor(_Left(), size=(64, 96), fit="stretch", name="left")


def fails():
    return FeatureExtractor(_Failing(), size=(64, 96), name="fails")


def not_finite():
    return FeatureExtractor(_NotFinite(), size=(64, 96), name="not_finite")


def kills_wide():
    return FeatureExtractor(_Deadly(), size=(64, 96), pad=0.0, name="kills_wide")
