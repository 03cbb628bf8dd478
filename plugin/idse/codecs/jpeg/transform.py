"""Pixels to the coefficients that a JPEG quantises."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from idse.codecs.jpeg import _trellis_raw
from idse.errors import InputError

if TYPE_CHECKING:
    from idse.codecs.jpeg.layout import JpegLayout


class Transformed(NamedTuple):
    """A picture before quantisation.

    Attributes
    ----------
    coefficients
        float32 ``(rows, columns, 8, 8)`` for each component, natural order: what is divided by the
        quantisation table. DC is -1024 to 1016.
    samples
        uint8 ``(height, width)`` for each component: what was transformed, without the samples that
        only fill blocks.
    """

    coefficients: list[npt.NDArray[np.float32]]
    samples: list[npt.NDArray[np.uint8]]


def transform(pixels: npt.NDArray[np.uint8], layout: JpegLayout) -> list[npt.NDArray[np.float32]]:
    """Return the coefficients that :func:`transform_with_samples` does."""
    return transform_with_samples(pixels, layout).coefficients


def transform_with_samples(pixels: npt.NDArray[np.uint8], layout: JpegLayout) -> Transformed:
    """Return the DCT coefficients of a picture before quantisation, and its samples.

    Colour conversion, downsampling and the filling of blocks beyond the edges are those of
    libjpeg-turbo's encoder, to the bit; the DCT is more accurate than its integers.

    Releases the GIL, and may be called by many threads at once.

    Parameters
    ----------
    pixels
        uint8 ``(height, width, 3)`` RGB, or ``(height, width)`` grey for a grey layout. Of RGB
        pixels a grey layout takes the luma.
    layout
        Of the file; its size is the pixels'.

    Raises
    ------
    InputError
        The pixels do not fit the layout.
    """
    grey = pixels.ndim == 2
    expected = (layout.height, layout.width) if grey else (layout.height, layout.width, 3)
    if pixels.dtype != np.uint8 or pixels.shape != expected or (grey and layout.components != 1):
        raise InputError(
            f"pixels are {pixels.dtype} {pixels.shape}, which does not fit {layout}: uint8 "
            "(height, width, 3), or (height, width) where the sampling is 'grey'"
        )
    pixels = np.ascontiguousarray(pixels)
    made = Transformed(
        [np.empty((*layout.block_shape(i), 8, 8), np.float32) for i in range(layout.components)],
        [np.empty(layout.sample_shape(i), np.uint8) for i in range(layout.components)],
    )
    status = _trellis_raw.library().idse_trellis_transform(
        pixels.ctypes.data,
        pixels.strides[0],
        layout.width,
        layout.height,
        1 if grey else 3,
        ctypes.byref(_trellis_raw.grid(layout)),
        _trellis_raw.pointers(made.coefficients),
        _trellis_raw.pointers(made.samples),
    )
    _trellis_raw.check(status)
    return made
