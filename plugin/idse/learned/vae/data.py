"""Random crops of photographs, the same for the same seed whenever and wherever they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from idse.errors import InputError
from idse.picture import MACROBLOCK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LOSSY = {".jpg", ".jpeg"}
_LOSSLESS = {".png", ".webp"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Crops:
    """A batch of crops.

    Attributes
    ----------
    pictures
        float32 ``(B, 3, side, side)`` R'G'B' in [0, 1].
    weights
        float32 ``(B, 3, side, side)`` for errors in Y', Cb, Cr, or None for plain SSE.
    """

    pictures: Tensor
    weights: Tensor | None


class Photographs:
    """Photographs in memory, decoded once.

    JPEG sources are halved with a box filter, so that their block edges are not learned; other
    formats are taken as they are. A picture is drawn with a probability that grows with the square
    root of its area: few large pictures neither rule nor vanish.

    Parameters
    ----------
    folder
        Searched recursively, in the order of names.
    side
        Of the crops, in samples. Pictures that are smaller, after halving, are left out.
    weights
        By the picture's path relative to the folder: what an error in Y', Cb, Cr costs in each
        block of 16x16 samples, ``(3, rows, columns)`` (see `idse.learned.vae.importance`).

    Raises
    ------
    InputError
        There is no picture that is large enough.
    """

    def __init__(
        self,
        folder: Path,
        *,
        side: int,
        weights: dict[str, npt.NDArray[np.float32]] | None = None,
    ) -> None:
        self.side = side
        self._pictures: list[npt.NDArray[np.uint8]] = []
        self._maps: list[npt.NDArray[np.float32]] | None = None if weights is None else []
        for path in picture_files(folder):
            picture = load_photograph(path)
            if min(picture.shape[:2]) < side:
                continue
            self._pictures.append(picture)
            if self._maps is not None and weights is not None:
                self._maps.append(weights[str(path.relative_to(folder))])
        if not self._pictures:
            raise InputError(f"{folder} has no picture of at least {side} x {side} samples")
        areas = np.sqrt([picture.shape[0] * picture.shape[1] for picture in self._pictures])
        self._chances = areas / areas.sum()

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._pictures)

    def draw(self, count: int, *, seed: Sequence[int]) -> Crops:
        """Draw ``count`` crops, half of them mirrored; they depend on ``seed`` only."""
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(seed))))
        chosen = random.choice(len(self._pictures), size=count, p=self._chances)
        pictures, maps = [], []
        for index in chosen:
            picture = self._pictures[index]
            top, left = (int(random.integers(n - self.side + 1)) for n in picture.shape[:2])
            mirrored = bool(random.integers(2))
            window = (slice(top, top + self.side), slice(left, left + self.side))
            pictures.append(_mirror(picture[window], mirrored))
            if self._maps is not None:
                maps.append(_mirror(_cut(self._maps[index], window), mirrored))
        return Crops(
            pictures=_planes(pictures).float() / 255, weights=_planes(maps) if maps else None
        )


def picture_files(folder: Path) -> list[Path]:
    """Return the pictures in a folder and those below it, by name."""
    kinds = _LOSSY | _LOSSLESS
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)


def load_photograph(path: Path) -> npt.NDArray[np.uint8]:
    """Decode a photograph to uint8 ``(height, width, 3)``; JPEG at half its size."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    if path.suffix.lower() in _LOSSY:
        picture = picture.reduce(2)
    return np.asarray(picture)


def _cut(weights: npt.NDArray[np.float32], window: tuple[slice, slice]) -> npt.NDArray[np.float32]:
    """Return what the blocks of a window's samples have, channels last."""
    rows, columns = (np.arange(part.start, part.stop) // MACROBLOCK for part in window)
    return weights[:, rows][:, :, columns].transpose(1, 2, 0)


def _mirror(picture: npt.NDArray[Any], mirrored: bool) -> npt.NDArray[Any]:  # noqa: FBT001
    return picture[:, ::-1] if mirrored else picture


def _planes(pictures: list[npt.NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)))
