"""JPEGs as the planes of Y'CbCr that networks are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from idse.picture import Picture, PictureFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.codecs.jpeg import JpegLayout
    from idse.pipeline.images.source import Pixels

_PIX_FMTS = {"4:2:0": "yuvj420p", "4:2:2": "yuvj422p", "4:4:4": "yuvj444p", "grey": "yuvj420p"}
_NEUTRAL = 128


def _format(width: int, height: int, pix_fmt: str, rotation: int) -> PictureFormat:
    """Return how JFIF's samples are read (JFIF 1.02: BT.601, full range, centred chroma)."""
    return PictureFormat(
        width=width,
        height=height,
        pix_fmt=pix_fmt,
        matrix="bt601",
        full_range=True,
        rotation=rotation,
        siting="center",
    )


def coded_picture(
    layout: JpegLayout, samples: Sequence[npt.NDArray[np.uint8]], rotation: int
) -> Picture:
    """Return the samples that a JPEG codes as networks take them.

    Parameters
    ----------
    layout
        Of the JPEG.
    samples
        After colour conversion and downsampling, as `idse.codecs.jpeg.transform_with_samples`
        returns them.
    rotation
        Degrees, counter-clockwise, that a viewer turns it by.
    """
    form = _format(layout.width, layout.height, _PIX_FMTS[layout.sampling], rotation)
    return Picture(planes=_three(list(samples), form), format=form)


def decoded_picture(ycc: Pixels, rotation: int) -> Picture:
    """Return a decoded JPEG as it is displayed, chroma as fine as luma.

    Parameters
    ----------
    ycc
        uint8 ``(height, width, 3)`` Y'CbCr, or ``(height, width)`` grey.
    rotation
        Degrees, counter-clockwise, that a viewer turns it by.
    """
    height, width = ycc.shape[:2]
    form = _format(width, height, "yuvj444p", rotation)
    parts = [ycc] if ycc.ndim == 2 else [ycc[..., c] for c in range(3)]
    return Picture(planes=_three(parts, form), format=form)


def source_picture(pixels: Pixels, rotation: int) -> Picture:
    """Return pixels, uint8 ``(height, width, 3)`` R'G'B' or grey, as `decoded_picture` does."""
    if pixels.ndim == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("YCbCr"))
    return decoded_picture(pixels, rotation)


def _three(planes: list[npt.NDArray[Any]], form: PictureFormat) -> tuple[Any, Any, Any]:
    """Return contiguous planes; grey pictures get neutral chroma."""
    if len(planes) == 1:
        neutral = np.full(form.chroma_shape, _NEUTRAL, np.uint8)
        planes = [planes[0], neutral, neutral]
    y, cb, cr = (np.ascontiguousarray(plane) for plane in planes)
    return y, cb, cr
