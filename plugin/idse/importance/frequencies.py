"""The spectrum of sketched gradients, without gradients at the picture's resolution.

With U an orthonormal block transform and B = J_s U, the squared column norms of B weigh the errors
of coefficients: ``||J_s e||^2 ~ sum_k w_k c_k^2`` where cross terms are left out (after
Fernandez-Menduina et al., "Image Coding for Machines via Feature-Preserving Rate-Distortion
Optimization").
H.264's 4x4 and 8x8 transforms span the DCT's basis up to 3 degrees, and their norms are folded into
its quantisers' scales, so the orthonormal DCT is the right U for its quantisation matrices.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from idse.importance.footprints import footprints, transformed
from idse.importance.spectrum import SIZES, Spectrum
from idse.vision.preprocess import plane_axes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from idse.picture import PictureFormat
    from idse.vision.geometry import Geometry
    from idse.vision.resample import Axis


def _plane_spectrum(g: Tensor, rows: Axis, columns: Axis, size: int) -> Tensor:
    """Return the mean spectrum ``(size, size)`` of gradients (n, rows.n_out, columns.n_out)."""
    total = g.new_zeros(size, size, dtype=torch.float64)
    if min(rows.n_in, columns.n_in) < size:
        return total
    down = footprints(rows, size, g.dtype, g.device, partial=False)
    across = footprints(columns, size, g.dtype, g.device, partial=False)
    for row in g:  # one at a time: what is held is as large as the plane
        total += transformed(row, down, across).square_().double().sum((0, 2)).mT
    return total / (len(down) * len(across))


def spectrum(g: Tensor, form: PictureFormat, geometry: Geometry) -> Spectrum:
    """Return the mean spectrum of full-resolution gradients.

    Parameters
    ----------
    g
        ``(n, 3, *geometry.resized)``, float32 or float64: gradients with respect to the planes as
        `idse.vision.FeatureExtractor.shrink` returns them.
    form, geometry
        The picture's format and its placement in the network's input.

    Returns
    -------
    Spectrum
        Over the blocks that lie wholly inside the picture; zeros where there is none.
    """
    luma, chroma = plane_axes(form, geometry)

    def of(plane: int, axes: tuple[Axis, Axis]) -> dict[int, npt.NDArray[np.float64]]:
        return {size: _plane_spectrum(g[:, plane], *axes, size).cpu().numpy() for size in SIZES}

    cb, cr = of(1, chroma), of(2, chroma)
    share = 2 * math.prod(form.chroma_shape) / (form.width * form.height)
    return Spectrum(of(0, luma), {size: (cb[size] + cr[size]) / 2 for size in SIZES}, share)
