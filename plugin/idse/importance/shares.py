"""Errors and shares of blocks, and weights from them: the half of true-error weights without torch.

See :mod:`idse.importance.true_error` for what a share is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse.errors import InputError
from idse.importance.smoothing import binomial
from idse.picture import MACROBLOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.picture import Picture, PictureFormat

FloatMap = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]


def check_same(source: PictureFormat, decoded: PictureFormat) -> None:
    """Refuse a decoded picture that is not of its source's size and sampling.

    Raises
    ------
    InputError
        It is not.
    """
    if (source.width, source.height, source.pix_fmt) != (
        decoded.width,
        decoded.height,
        decoded.pix_fmt,
    ):
        raise InputError(
            f"decoded picture is {decoded.pix_fmt} {decoded.width}x{decoded.height}, its source "
            f"{source.pix_fmt} {source.width}x{source.height}"
        )


def block_sums(planes: Sequence[npt.NDArray[Any]], form: PictureFormat, block: int) -> FloatArray:
    """Sum three planes over blocks of ``block`` luma samples (16, 8 or 4).

    Returns
    -------
    float64 ``(rows, cols)``: luma and the chroma that belongs to it.
    """
    sub_x, sub_y = form.subsampling
    total: FloatArray | None = None
    for index, plane in enumerate(planes):
        height, width = (block >> sub_y, block >> sub_x) if index else (block, block)
        rows = np.add.reduceat(plane, np.arange(0, plane.shape[0], height), axis=0)
        sums = np.add.reduceat(rows, np.arange(0, plane.shape[1], width), axis=1)
        total = sums.astype(np.float64) if total is None else total + sums
    assert total is not None
    return total


def squared_error(source: Picture, decoded: Picture, *, block: int = MACROBLOCK) -> FloatArray:
    """Return the squared error of blocks, luma and chroma, as :func:`block_sums` has them.

    Raises
    ------
    InputError
        The pictures do not fit each other.
    """
    check_same(source.format, decoded.format)
    errors = [
        d.astype(np.float32) - s.astype(np.float32)
        for s, d in zip(source.planes, decoded.planes, strict=True)
    ]
    return block_sums([error * error for error in errors], source.format, block)


def weights(share: FloatArray, squared_error: FloatArray, *, least: float = 0.02) -> FloatMap:
    """Return weights per squared error of macroblocks, shrunk towards their neighbours.

    A block's share and its squared error are each averaged over its 3x3 neighbours (binomial)
    before they are divided: blocks with little error, whose quotient says little, take over what
    their neighbours say.

    Parameters
    ----------
    share, squared_error
        float64 ``(..., rows, cols)``: a_b and ||e_b||^2, of one picture or of several.
    least
        Smallest weight, as a part of the mean one: an error that helped once is not worth having.

    Returns
    -------
    float32, shape of ``share``, above 0 (all 1 where nothing was lost).
    """
    # An error of half a code value per sample: what rounding leaves.
    floor = 0.25 * MACROBLOCK**2
    smooth_share, smooth_error = binomial(share), binomial(squared_error) + floor
    mean = float(np.maximum(smooth_share, 0).sum() / smooth_error.sum())
    if mean <= 0:
        return np.ones(share.shape, np.float32)
    found = np.maximum(smooth_share / smooth_error, least * mean)
    return np.asarray(found, np.float32)
