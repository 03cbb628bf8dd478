"""The control network as it is trained; `idse.learned.jpeg.control` runs what it becomes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import relu

from idse.learned.jpeg import control_rate
from idse.learned.jpeg.condition import AREAS, CONDITIONS, PLACES, condition, place
from idse.learned.jpeg.control import FORMAT, VERSION
from idse.learned.jpeg.description import MAPS, moments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from idse.learned.jpeg.description import Description

PATTERNS: Final = 12
_STATISTICS, _STEM, _HIDDEN = 256, 32, 48
_CHANNELS = (16, 24)
_BLOCKS = 2
# More than a file can have, in log2 of bits per pixel.
_NEVER = 16.0


class ControlNetwork(nn.Module):
    """Descriptions and sizes to log2 of steps.

    Steps are ``base + patterns @ basis``: the best that all pictures of about a size, an area and
    a sampling can share, for each head, and how a picture differs from that, of low rank.

    Parameters
    ----------
    heads
        Names of the networks that tables are for.
    """

    mean: Tensor
    deviation: Tensor
    rate: Tensor
    finer: Tensor

    def __init__(self, heads: Sequence[str]) -> None:
        super().__init__()
        self.heads = tuple(heads)
        self.register_buffer("mean", torch.zeros(_STATISTICS))
        self.register_buffer("deviation", torch.ones(_STATISTICS))
        self.register_buffer("rate", torch.zeros(control_rate.FEATURES, dtype=torch.float64))
        # log2 of the bits per pixel from which on 4:4:4 is better than 4:2:0.
        self.register_buffer("finer", torch.full((len(heads), AREAS), _NEVER))
        self.base = nn.Parameter(torch.zeros(len(heads), PLACES, 128))
        self.basis = nn.Parameter(torch.zeros(PATTERNS, 128))
        self.conv0 = nn.Conv2d(MAPS, _CHANNELS[0], 3, 2, 1)
        self.conv1 = nn.Conv2d(_CHANNELS[0], _CHANNELS[1], 3, 2, 1)
        self.stem = nn.Linear(_STATISTICS, _STEM)
        self.join = nn.Linear(_STEM + _CHANNELS[1], _HIDDEN)
        for block in range(_BLOCKS):
            self.add_module(f"inner{block}", nn.Linear(_HIDDEN, _HIDDEN))
            self.add_module(f"condition{block}", nn.Linear(CONDITIONS, 2 * _HIDDEN))
            self.add_module(f"outer{block}", nn.Linear(_HIDDEN, _HIDDEN))
        self.head = nn.Linear(_HIDDEN, len(heads) * PATTERNS)
        # So that it starts with what all pictures share.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, descriptions: Sequence[Description], sizes: Sequence[float]) -> Tensor:
        """Return log2 of steps but for a common factor, ``(n, heads, 128)``."""
        seen = torch.from_numpy(np.stack([moments(d.tails) for d in descriptions]))
        seen = (seen - self.mean) / self.deviation
        asked = list(zip(descriptions, sizes, strict=True))
        told = torch.from_numpy(np.stack([condition(*pair) for pair in asked]))
        maps = torch.from_numpy(np.stack([d.maps for d in descriptions]))
        maps = relu(self.conv1(relu(self.conv0(maps)))).mean((2, 3))
        hidden = relu(self.join(torch.cat([self.stem(seen), maps], 1)))
        for block in range(_BLOCKS):
            inner = self.get_submodule(f"inner{block}")(hidden)
            gain, bias = self.get_submodule(f"condition{block}")(told).chunk(2, 1)
            inner = relu(inner * (1 + gain) + bias)
            hidden = hidden + self.get_submodule(f"outer{block}")(inner)
        patterns = self.head(hidden).reshape(len(hidden), len(self.heads), PATTERNS)
        found: Tensor = self.shared(descriptions, sizes) + patterns @ self.basis
        return found

    def shared(self, descriptions: Sequence[Description], sizes: Sequence[float]) -> Tensor:
        """Return what `forward` does, but for what is the picture's own."""
        asked = zip(descriptions, sizes, strict=True)
        places = torch.from_numpy(np.stack([place(*pair) for pair in asked]))
        found: Tensor = torch.einsum("np,hpk->nhk", places, self.base)
        return found

    def standardise(self, descriptions: Sequence[Description]) -> None:
        """Take the mean and the deviation of what it sees from pictures."""
        seen = np.stack([moments(d.tails) for d in descriptions])
        self.mean.copy_(torch.from_numpy(seen.mean(0)))
        self.deviation.copy_(torch.from_numpy(seen.std(0) + 0.1))


def save_control(path: Path, network: ControlNetwork, card: dict[str, object]) -> None:
    """Write a network as `idse.learned.jpeg.control.Control` reads it."""
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    count = sum(value.numel() for value in tensors.values())
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "heads": json.dumps(network.heads),
        "card": json.dumps(card | {"weights": count}),
    }
    save_file(tensors, path, metadata)
