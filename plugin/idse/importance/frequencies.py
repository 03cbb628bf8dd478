"""The spectrum of sketched gradients, without gradients at the picture's resolution.

With U an orthonormal block transform and B = J_s U, the squared column norms of B weigh the errors
of coefficients: ``||J_s e||^2 ~ sum_k w_k c_k^2`` where cross terms are left out (after
Fernandez-Menduina et al., "Image Coding for Machines via Feature-Preserving Rate-Distortion
Optimization").
H.264's 4x4 and 8x8 transforms span the DCT's basis up to 3 degrees, and their norms are folded into
its quantisers' scales, so the orthonormal DCT is the right U for its quantisation matrices.

A gradient reaches the picture through a resize: ``A_h^T G A_w``. Its transform over a block of
rows I and columns J is ``(C A_h[:, I]^T) G (A_w[:, J] C^T)``, and both factors are as wide as the
block's footprint in the network's input: the Jacobian never exists at the picture's resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from idse.importance.spectrum import SIZES, Spectrum
from idse.vision.preprocess import plane_axes
from idse.vision.resample import triangle_matrix

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from idse.picture import PictureFormat
    from idse.vision.geometry import Geometry
    from idse.vision.resample import Axis


def dct_matrix(size: int) -> Tensor:
    """Return the orthonormal DCT-II, float64 ``(size, size)``; rows are basis vectors."""
    k = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(torch.pi * (2 * k[None, :] + 1) * k[:, None] / (2 * size))
    basis *= (2 / size) ** 0.5
    basis[0] /= 2**0.5
    return basis


@dataclass(frozen=True)
class _Blocks:
    """Footprints of whole blocks: ``(blocks, r)`` indices, ``(blocks, size, r)`` factors."""

    index: Tensor
    factor: Tensor


@lru_cache(maxsize=64)
def _blocks(axis: Axis, size: int, dtype: torch.dtype, device: torch.device) -> _Blocks | None:
    matrix = triangle_matrix(axis.n_in, axis.n_out, extent=axis.extent, phase=axis.phase)
    starts = range(0, axis.n_in - size + 1, size)
    if not starts:
        return None
    footprints = []
    for start in starts:
        used = matrix[:, start : start + size].any(1).nonzero().flatten().tolist() or [0]
        footprints.append((used[0], used[-1] + 1))
    width = max(stop - start for start, stop in footprints)
    transform = dct_matrix(size)
    index, factor = [], []
    for start, (used_from, _) in zip(starts, footprints, strict=True):
        first = min(used_from, axis.n_out - width)
        index.append(torch.arange(first, first + width))
        factor.append(transform @ matrix[first : first + width, start : start + size].mT)
    return _Blocks(torch.stack(index).to(device), torch.stack(factor).to(device, dtype))


def _plane_spectrum(g: Tensor, rows: Axis, columns: Axis, size: int) -> Tensor:
    """Return the mean spectrum ``(size, size)`` of gradients (n, rows.n_out, columns.n_out)."""
    down = _blocks(rows, size, g.dtype, g.device)
    across = _blocks(columns, size, g.dtype, g.device)
    total = g.new_zeros(size, size, dtype=torch.float64)
    if down is None or across is None:
        return total
    n_down, n_across = len(down.index), len(across.index)
    for row in g:  # one at a time: what is held is as large as the plane
        part = (down.factor @ row[down.index]).reshape(n_down * size, -1)
        by_column = part.mT[across.index]
        part = (across.factor @ by_column).square_().view(n_across, size, n_down, size)
        total += part.double().sum((0, 2)).mT
    return total / (n_down * n_across)


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
