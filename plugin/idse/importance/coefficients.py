"""What an error in every coefficient of a JPEG counts: a weight per component, block and frequency.

With U the orthonormal 8x8 DCT and B = J_s U, ``||J_s e||^2 ~ sum over blocks b and frequencies k of
w_bk c_bk^2`` with ``w_bk = sum_s B_s,bk^2``, where cross terms are left out (after
Fernandez-Menduina et al., "Image Coding for Machines via Feature-Preserving Rate-Distortion
Optimization", section IV). Weights per luma *and* chroma come through the colour matrix, as the
gradients are those with respect to decoded Y'CbCr.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from idse import weight_kernels
from idse.importance.footprints import footprints, transformed
from idse.vision.preprocess import plane_axes

if TYPE_CHECKING:
    from torch import Tensor

    from idse.picture import PictureFormat
    from idse.vision.geometry import Geometry
    from idse.vision.resample import Axis

BLOCK = 8

FloatBlocks = npt.NDArray[np.float32]


def coefficient_weights(
    g: Tensor, form: PictureFormat, geometry: Geometry
) -> tuple[FloatBlocks, FloatBlocks, FloatBlocks]:
    """Return the weights of the coefficients of Y, Cb and Cr.

    Parameters
    ----------
    g
        ``(n, 3, *geometry.resized)``, float32 or float64: gradients with respect to the planes as
        `idse.vision.FeatureExtractor.shrink` returns them.
    form, geometry
        The picture's format, with its chroma siting, and its placement in the network's input.

    Returns
    -------
    tuple of ndarray
        float32 ``(block rows, block columns, 8, 8)`` each, >= 0: squared feature distance per
        squared error of an orthonormal coefficient in code values; rows of a block are vertical
        frequencies. Blocks cover the plane, the last ones reach beyond it: errors there are not
        seen, and do not count.
    """
    luma, chroma = plane_axes(form, geometry)
    weigh = _native if g.device.type == "cpu" and g.dtype == torch.float32 else _by_torch
    y, cb, cr = (weigh(g[:, plane], *axes) for plane, axes in enumerate((luma, chroma, chroma)))
    return y, cb, cr


def _by_torch(g: Tensor, rows: Axis, columns: Axis) -> FloatBlocks:
    """Return the weights of one plane, from gradients on any device and of any precision."""
    down = footprints(rows, BLOCK, g.dtype, g.device, partial=True)
    across = footprints(columns, BLOCK, g.dtype, g.device, partial=True)
    total = g.new_zeros(len(across), BLOCK, len(down), BLOCK)
    for row in g:
        part = transformed(row, down, across)
        total.addcmul_(part, part)
    ordered = total.permute(2, 0, 3, 1).contiguous()
    return ordered.cpu().numpy().astype(np.float32, copy=False)


def _native(g: Tensor, rows: Axis, columns: Axis) -> FloatBlocks:
    """Return the same from float32 on the CPU, in a third of the time."""
    return weight_kernels.coefficient_weights(g.numpy(), _taps(rows), _taps(columns))


@lru_cache(maxsize=64)
def _taps(axis: Axis) -> weight_kernels.Taps:
    seen = footprints(axis, BLOCK, torch.float32, torch.device("cpu"), partial=True)
    return weight_kernels.Taps(
        seen.index[:, 0].numpy().astype(np.int32), seen.factor.mT.contiguous().numpy()
    )
