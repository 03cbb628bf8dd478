"""What the parts of jpeg_control.py share: pictures, judges, and a store of what is measured."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from bench_common import CACHE, data
from PIL import Image

from idse.vision import load_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from idse.vision import FeatureExtractor

SIDE = 224
_SHORT_SIDE = 256


def odd(relative: str, count: int | None = None) -> list[Path]:
    """Return the odd-numbered pictures of a set, spread evenly where not all are wanted."""
    found = [p for p in sorted(data(relative).iterdir()) if p.suffix.lower() in {".jpg", ".jpeg"}]
    return spread(found[1::2], count)


def spread(paths: list[Path], count: int | None) -> list[Path]:
    if count is None or count >= len(paths):
        return paths
    return [paths[i * len(paths) // count] for i in range(count)]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def crop(path: Path) -> np.ndarray:
    """Return the 224x224 centre of a picture whose short side was made 256."""
    picture = Image.open(path).convert("RGB")
    factor = _SHORT_SIDE / min(picture.size)
    width, height = (max(SIDE, round(side * factor)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    return np.asarray(picture.crop((left, top, left + SIDE, top + SIDE)))


def tensor(picture: np.ndarray) -> torch.Tensor:
    """Return ``(1, 3, height, width)``, 0 to 255."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()


def array(batch: torch.Tensor) -> np.ndarray:
    """Return the first picture as float ``(height, width, 3)``."""
    return batch[0].detach().permute(1, 2, 0).double().numpy()


@cache
def network(name: str) -> FeatureExtractor:
    return load_model(name)


@cache
def labels() -> dict[str, int]:
    rows = (data("imagenet") / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]
    return {name: int(index) for name, index in (row.rsplit(",", 1) for row in rows)}


def normalised(extractor: FeatureExtractor, batch: torch.Tensor) -> torch.Tensor:
    """Return the input of a network for pictures of its own size, differentiably."""
    found = extractor.normalisation
    mean, std = (torch.tensor(v)[:, None, None] for v in (found.mean, found.std))
    return (batch / 255 - mean) / std


class Store:
    """Results by key, one line of JSON each, so that an interrupted run goes on."""

    def __init__(self, name: str) -> None:
        self._path = CACHE / f"{name}.jsonl"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._found: dict[str, object] = {}
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                key, value = json.loads(line)
                self._found[key] = value

    def get(self, key: str, make: Callable[[], object]) -> object:
        if key not in self._found:
            value = make()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, value]) + "\n")
            self._found[key] = value
        return self._found[key]
