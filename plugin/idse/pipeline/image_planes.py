"""JPEGs as the planes of Y'CbCr that networks are shown."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from idse.picture import Picture, PictureFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.codecs.jpeg import JpegLayout
    from idse.pipeline.image_source import Pixels

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
    layout: JpegLayout, coefficients: Sequence[npt.NDArray[np.float32]], rotation: int
) -> Picture:
    """Return the samples that a JPEG codes: after colour conversion and downsampling.

    Parameters
    ----------
    layout
        Of the JPEG.
    coefficients
        Per component float32 ``(block rows, block columns, 8, 8)``, as
        `idse.codecs.jpeg.transform` returns them.
    rotation
        Degrees, counter-clockwise, that a viewer turns it by.
    """
    form = _format(layout.width, layout.height, _PIX_FMTS[layout.sampling], rotation)
    planes = [_samples(c)[:rows, :columns] for c, (rows, columns) in _shapes(layout, coefficients)]
    return Picture(planes=_three(planes, form), format=form)


def _shapes(
    layout: JpegLayout, coefficients: Sequence[npt.NDArray[np.float32]]
) -> list[tuple[npt.NDArray[np.float32], tuple[int, int]]]:
    return [(c, layout.sample_shape(index)) for index, c in enumerate(coefficients)]


def _samples(coefficients: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Invert the DCT: the samples are whole numbers, so that rounding restores them."""
    rows, columns = coefficients.shape[:2]
    # One product with all basis pictures: many small ones, block by block, take longer.
    samples = coefficients.reshape(-1, 64) @ _basis_pictures()
    samples += _NEUTRAL + 0.5
    np.clip(samples, 0, 255, out=samples)
    blocks = samples.astype(np.uint8).reshape(rows, columns, 8, 8)
    return blocks.swapaxes(1, 2).reshape(rows * 8, columns * 8)


@cache
def _basis_pictures() -> npt.NDArray[np.float32]:
    """Return the orthonormal 8x8 DCT-II; rows are basis pictures, coefficients in natural order."""
    k = np.arange(8)
    basis = np.cos(np.pi * (2 * k[None, :] + 1) * k[:, None] / 16) / 2
    basis[0] /= math.sqrt(2)
    return np.kron(basis, basis).astype(np.float32)


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
