"""Sampling and tables of a JPEG from the picture and a size, by one pass of a small network.

Reich, "Deep Image Codec Control" (2023), section 4.3, with three changes. The network says how
steps relate to each other, within a few patterns that tables vary by; how coarse they all are
follows from the picture's statistics (`idse.learned.jpeg.control_rate`), which tell sizes better
than a network could. Its backbone looks at 16x16 cells of what a JPEG encoder has anyway, its
coefficients. And it says from which rate on colour is coded as finely as luma: there, whatever the
tables, what 4:2:0 leaves out of colour is most of what is lost. Needs no torch.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors import safe_open

from idse.errors import InputError, ModelError, describe
from idse.learned.jpeg.condition import beyond, condition, of_areas, place
from idse.learned.jpeg.control_rate import scale_for
from idse.learned.jpeg.description import moments

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.learned.jpeg.description import Description

    Floats = npt.NDArray[np.float32]

FORMAT: Final = "idse-jpeg-control"
# 2: knows samplings.
VERSION: Final = "2"
_SHIPPED = Path(__file__).parents[2] / "weights" / "jpeg-control.safetensors"
BLEND: Final = "blend"
_BLOCKS = 2
# Bytes below which a file is so much headers and tables that bits per pixel say nothing of colour.
_MOSTLY_HEADERS = 2000


class Control:
    """A trained control network.

    Parameters
    ----------
    path
        A safetensors file whose ``format`` is ``"idse-jpeg-control"`` and whose ``version`` is
        ``"2"``; by default the one that is shipped.

    Attributes
    ----------
    heads
        Networks that tables can be made for.
    card
        What it was trained with.

    Raises
    ------
    ModelError
        The file is missing, damaged, or of another format or version.
    """

    def __init__(self, path: Path | None = None) -> None:
        source = _SHIPPED if path is None else path
        try:
            with safe_open(source, "np") as file:
                told = file.metadata() or {}
                self._weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if told.get("format") != FORMAT:
                raise ModelError(
                    f"{source} is of format {told.get('format')!r}, not {FORMAT!r}: name another"
                )
            if told.get("version") != VERSION:
                raise ModelError(
                    f"{source} is of version {told.get('version')!r} of its format, and this idse "
                    f"reads {VERSION!r}: train it again with this version's tools/train/control.py"
                )
            self.heads: tuple[str, ...] = tuple(json.loads(told["heads"]))
            self.card: dict[str, Any] = json.loads(told["card"])
        except ModelError:
            raise
        # safetensors has exceptions of its own for a damaged file.
        except Exception as error:
            raise ModelError(f"cannot read the control network {source}: {describe(error)}") from (
                error
            )

    def sampling(self, pixels: int, size: float, *, head: str = BLEND) -> str:
        """Return the sampling at which a picture's file of a size is best.

        It depends on the bits per pixel and the number of pixels alone: of the statistics of
        pictures none told more, where it was looked for. Pictures of more than twice 640x480 stay
        4:2:0: a network that shrinks them sees no more of colour, and where it was looked for, at
        0.8 to 2 megapixels and one bit per pixel or more, neither sampling was better. So do files
        of less than 2000 bytes, a fifth of which or more are headers.

        Parameters
        ----------
        pixels
            Of the picture, at least 1.
        size, head
            As for :meth:`tables`.

        Returns
        -------
        str
            ``"4:2:0"`` or ``"4:4:4"``.

        Raises
        ------
        InputError
            As for :meth:`tables`.
        """
        self._check(size, head)
        if beyond(pixels) or size < _MOSTLY_HEADERS:
            return "4:2:0"
        begins = self._of_head(self._weights["finer"] @ of_areas(pixels), head)
        return "4:4:4" if math.log2(8 * size / pixels) >= begins else "4:2:0"

    def tables(
        self, description: Description, size: float, *, head: str = BLEND
    ) -> npt.NDArray[np.uint8]:
        """Return the tables of luma and chroma with which a file has about a size.

        Parameters
        ----------
        description
            Of the picture, in the sampling that the file is to have.
        size
            Bytes of the file, without metadata; at least 1.
        head
            One of ``heads``, or ``"blend"`` for the mean of all.

        Returns
        -------
        ndarray
            uint8 ``(2, 8, 8)``, natural order, 1 to 255.

        Raises
        ------
        InputError
            The size is below 1, or there is no such head.
        """
        shape = self.shape(description, size, head=head)
        steps = np.exp2(shape + self.scale_for(description, shape, size))
        found: npt.NDArray[np.uint8] = np.clip(np.rint(steps), 1, 255).astype(np.uint8)
        return found.reshape(2, 8, 8)

    def shape(
        self, description: Description, size: float, *, head: str = BLEND
    ) -> npt.NDArray[np.float64]:
        """Return log2 of steps, ``(2, 64)``, but for what is the same for all; see `tables`."""
        shared = self.shared(description, size, head=head)
        own = self._patterns(description, size) @ self._weights["basis"]
        found: npt.NDArray[np.float64] = shared + self._of_head(own, head).reshape(2, 64)
        return found

    def shared(
        self, description: Description, size: float, *, head: str = BLEND
    ) -> npt.NDArray[np.float64]:
        """Return what `shape` does where all pictures of an area have the same tables at a size."""
        self._check(size, head)
        base = self._of_head(place(description, size) @ self._weights["base"], head)
        return base.reshape(2, 64)

    def _check(self, size: float, head: str) -> None:
        if not (math.isfinite(size) and size >= 1):
            raise InputError(f"a file of {size!r} bytes cannot be asked for: give 1 or more")
        if head != BLEND and head not in self.heads:
            raise InputError(
                f"control has no head {head!r}: use {BLEND!r}, {', '.join(map(repr, self.heads))}"
            )

    def _of_head(self, found: npt.NDArray[Any], head: str) -> npt.NDArray[np.float64]:
        """Return what is said of one head, of ``(heads, ...)``."""
        chosen = found.mean(0) if head == BLEND else found[self.heads.index(head)]
        return np.asarray(chosen, np.float64)

    def scale_for(
        self, description: Description, shape: npt.NDArray[np.float64], size: float
    ) -> float:
        """Return log2 of the factor on steps of a shape at which a file has about a size."""
        weights = self._weights["rate"].astype(np.float64)
        return scale_for(description, shape, size, weights)

    def _patterns(self, description: Description, size: float) -> Floats:
        """Return how much of each pattern the tables of each head have, ``(heads, patterns)``."""
        w = self._weights
        seen = (moments(description.tails) - w["mean"]) / w["deviation"]
        told = condition(description, size)
        maps = _convolved(description.maps, w["conv0.weight"], w["conv0.bias"])
        maps = _convolved(maps, w["conv1.weight"], w["conv1.bias"])
        joined = np.concatenate([_linear(seen, w, "stem"), maps.mean((1, 2))])
        hidden = np.maximum(_linear(joined, w, "join"), 0)
        for block in range(_BLOCKS):
            inner = _linear(hidden, w, f"inner{block}")
            gain, bias = np.split(_linear(told, w, f"condition{block}"), 2)
            inner = np.maximum(inner * (1 + gain) + bias, 0)
            hidden = hidden + _linear(inner, w, f"outer{block}")
        found: Floats = _linear(hidden, w, "head").reshape(len(self.heads), -1)
        return found


def _linear(x: Floats, weights: dict[str, Floats], name: str) -> Floats:
    found: Floats = weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]
    return found


def _convolved(maps: Floats, weight: Floats, bias: Floats) -> Floats:
    """Return a 3x3 convolution with a stride of 2, zeros around, and its positive part."""
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
    found = np.tensordot(weight, windows, ((1, 2, 3), (0, 3, 4)))
    kept: Floats = np.maximum(found + bias[:, None, None], 0)
    return kept


@cache
def shipped() -> Control:
    """Return the control network that is shipped, read once."""
    return Control()
