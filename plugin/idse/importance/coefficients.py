"""What an error in every coefficient of a JPEG counts: a weight per component, block and frequency.

With U the orthonormal 8x8 DCT and B = J_s U, ``||J_s e||^2 ~ sum over blocks b and frequencies k of
w_bk c_bk^2`` with ``w_bk = sum_s B_s,bk^2``, where cross terms are left out (after
Fernandez-Menduina et al., "Image Coding for Machines via Feature-Preserving Rate-Distortion
Optimization", section IV). Weights per luma *and* chroma come through the colour matrix, as the
gradients are those with respect to decoded Y'CbCr.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.importance.footprints import footprints, transformed
from idse.vision.preprocess import plane_axes

if TYPE_CHECKING:
    from torch import Tensor

    from idse.picture import PictureFormat
    from idse.vision.geometry import Geometry

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
    found = []
    for plane, (rows, columns) in enumerate((luma, chroma, chroma)):
        down = footprints(rows, BLOCK, g.dtype, g.device, partial=True)
        across = footprints(columns, BLOCK, g.dtype, g.device, partial=True)
        total = g.new_zeros(len(across), BLOCK, len(down), BLOCK)
        for row in g[:, plane]:
            part = transformed(row, down, across)
            total.addcmul_(part, part)
        ordered = total.permute(2, 0, 3, 1).contiguous()
        found.append(ordered.cpu().numpy().astype(np.float32, copy=False))
    y, cb, cr = found
    return y, cb, cr
