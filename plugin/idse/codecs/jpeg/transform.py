"""Pixels to the coefficients that a JPEG quantises."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.codecs.jpeg import _trellis_raw
from idse.errors import InputError

if TYPE_CHECKING:
    from idse.codecs.jpeg.layout import JpegLayout


def transform(pixels: npt.NDArray[np.uint8], layout: JpegLayout) -> list[npt.NDArray[np.float32]]:
    """Return the DCT coefficients of a picture before quantisation.

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

    Returns
    -------
    list of numpy.ndarray
        float32 ``(rows, columns, 8, 8)`` for each component, natural order: what is divided by the
        quantisation table. DC is -1024 to 1016.

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
    samples = np.ascontiguousarray(pixels)
    out = [np.empty((*layout.block_shape(i), 8, 8), np.float32) for i in range(layout.components)]
    status = _trellis_raw.library().idse_trellis_transform(
        samples.ctypes.data,
        samples.strides[0],
        layout.width,
        layout.height,
        1 if grey else 3,
        ctypes.byref(_trellis_raw.grid(layout)),
        _trellis_raw.pointers(out),
    )
    _trellis_raw.check(status)
    return out
