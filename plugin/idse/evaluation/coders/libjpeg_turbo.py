"""libjpeg-turbo as Pillow has it: standard tables, optimised Huffman codes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import PIL
from PIL import Image, features

from idse.evaluation.coders.base import parser
from idse.evaluation.coders.still_jpeg import SingleJpeg, add_sampling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from idse.evaluation.pixels import RGB


@dataclass(frozen=True, kw_only=True)
class LibjpegTurbo(SingleJpeg):
    """Options: ``--sampling 4:2:0``, ``--progressive``."""

    codec: ClassVar = "libjpeg-turbo"
    # No multiples of five but the least: sources that were saved so would come out without loss.
    rates: ClassVar = (10.0, 18.0, 31.0, 46.0, 61.0, 76.0, 88.0)

    sampling: str
    progressive: bool

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """Read the options."""
        known = parser(cls.codec)
        add_sampling(known)
        known.add_argument("--progressive", action="store_true")
        return cls(**vars(known.parse_args(words)))

    @classmethod
    def version(cls) -> str:
        """Return the versions of Pillow and of its libjpeg-turbo."""
        return pillow_version()

    def encode_one(self, rgb: RGB, number: int, analysis: Mapping[str, npt.NDArray[Any]]) -> bytes:
        """Encode by the standard tables."""
        del analysis
        return save(rgb, sampling=self.sampling, progressive=self.progressive, quality=number)


def pillow_version() -> str:
    """Return the versions of Pillow and of its libjpeg-turbo."""
    return f"libjpeg-turbo {features.version('libjpeg_turbo')} in Pillow {PIL.__version__}"


def save(
    rgb: RGB,
    *,
    sampling: str,
    progressive: bool = False,
    quality: int | None = None,
    tables: Sequence[npt.NDArray[np.uint8]] | None = None,
) -> bytes:
    """Encode by Pillow with optimised Huffman codes; by a quality or by tables, never both.

    Parameters
    ----------
    rgb
        The image.
    sampling
        One of ``SAMPLINGS``.
    progressive
        By libjpeg's own script of scans.
    quality
        1 to 100.
    tables
        For Y, Cb and Cr, ``(8, 8)`` in natural order.
    """
    how = (
        {"quality": quality}
        if tables is None
        else {"qtables": [table.ravel().tolist() for table in tables]}
    )
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(
        buffer, "JPEG", subsampling=sampling, optimize=True, progressive=progressive, **how
    )
    return buffer.getvalue()
