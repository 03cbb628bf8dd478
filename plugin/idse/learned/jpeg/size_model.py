"""How many bytes a JPEG takes, as a differentiable function of its quantised coefficients.

Reich, "Deep Image Codec Control" (2023), section 4.2, regresses the size with a transformer. Here
symbols are counted as the coder counts them (`idse.learned.jpeg.symbols`), so that little is left
to learn: by how much Huffman codes are longer than ideal ones, and how many bytes are stuffed.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from idse.codecs.jpeg import JpegLayout
from idse.codecs.jpeg.sizes import frame_size
from idse.errors import ModelError, describe
from idse.learned.jpeg.symbols import statistics

if TYPE_CHECKING:
    from torch import Tensor

    from idse.learned.jpeg.symbols import Statistics

FORMAT = "idse-jpeg-size"
_SHIPPED = Path(__file__).parents[2] / "weights" / "jpeg-size.safetensors"
# DHT: marker, length, class, counts of 16 lengths. SOS: with three components.
_TABLE_BYTES, _SCAN_BYTES = 21, 14
_FEATURES = 4
_RANDOM_STUFFING = 1 / 256


class SizeModel(nn.Module):
    """Bytes of sequential JPEGs of three components with Huffman codes made for them.

    Attributes
    ----------
    redundancy
        ``(2, 2, 4)``: for luma and chroma, AC and DC, the bits that codes lose, over symbols, the
        same times the share of the most frequent one and its square, and over different symbols.
    stuffing
        Bytes of 0 behind each byte of 255, over all coded bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.redundancy = nn.Parameter(torch.zeros(2, 2, _FEATURES))
        self.stuffing = nn.Parameter(torch.tensor(_RANDOM_STUFFING))

    def forward(self, levels: list[Tensor], layout: JpegLayout) -> Tensor:
        """Return bytes, ``(n,)``.

        Parameters
        ----------
        levels, layout
            As `idse.learned.jpeg.symbols.statistics` takes them: best those that
            `idse.learned.jpeg.discrete.WHOLE_SAMPLES` makes with whole tables.
        """
        return self.of_statistics(statistics(levels, layout))

    def of_statistics(self, found: list[Statistics]) -> Tensor:
        """Return bytes, ``(n,)``, from the statistics of luma and chroma."""
        bits = torch.zeros_like(found[0].bits)
        codes = torch.zeros_like(bits)
        for group, redundancy in zip(found, self.redundancy, strict=True):
            bits = bits + group.bits
            for counts, weights in zip((group.ac, group.dc), redundancy, strict=True):
                features = _features(counts)
                bits = bits + features @ weights
                codes = codes + features[:, -1]
        return _fixed_bytes() + codes + bits / 8 * (1 + self.stuffing)


def _features(counts: Tensor) -> Tensor:
    """Return ``(n, 4)`` of ``(n, symbols)``; see `SizeModel`."""
    total = counts.sum(1)
    share = counts.max(1).values / total.clamp(min=1)
    return torch.stack([total, total * share, total * share**2, (counts > 0).sum(1)], 1)


@cache
def _fixed_bytes() -> int:
    """Return the bytes that do not depend on the picture."""
    tables = np.ones((3, 8, 8), np.uint16)
    tables[1:] = 2  # one for both chroma components
    return frame_size(JpegLayout(1, 1), tables) + _SCAN_BYTES + 4 * _TABLE_BYTES


def load_size_model(path: Path | None = None) -> SizeModel:
    """Return the model that is shipped, or another.

    Parameters
    ----------
    path
        A safetensors file whose ``format`` is ``"idse-jpeg-size"``.

    Raises
    ------
    ModelError
        The file is missing, damaged, or of another format.
    """
    source = _SHIPPED if path is None else path
    try:
        with safe_open(source, "pt") as file:
            told = (file.metadata() or {}).get("format")
        if told != FORMAT:
            raise ModelError(f"{source} is of format {told!r}, not {FORMAT!r}: name another file")
        model = SizeModel()
        model.load_state_dict(load_file(source))
    except ModelError:
        raise
    # safetensors and torch each have exceptions of their own for a damaged file.
    except Exception as error:
        raise ModelError(f"cannot read the size model {source}: {describe(error)}") from error
    return model.requires_grad_(requires_grad=False)


def card(model: SizeModel, facts: dict[str, object]) -> dict[str, str]:
    """Return the metadata that a file of the model has."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"format": FORMAT, "version": "1", "card": json.dumps(facts | {"weights": parameters})}


def relative_error(predicted: Tensor, actual: Tensor) -> Tensor:
    """Return the mean absolute relative error of sizes (equation 4.7)."""
    return ((predicted - actual).abs() / actual).mean()


def correlation(predicted: Tensor, actual: Tensor) -> Tensor:
    """Return the correlation coefficient of the logarithms of two or more sizes, at most 1.

    One minus it is the loss that makes gradients right beside values (section 4.2.2).
    """
    one, two = (torch.log10(sizes) for sizes in (predicted, actual))
    one, two = one - one.mean(), two - two.mean()
    found: Tensor = (one * two).sum() / (one.norm() * two.norm()).clamp(min=1e-12)
    return found
