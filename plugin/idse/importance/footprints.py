"""Transform coefficients of full-resolution gradients, without gradients at that resolution.

A gradient reaches the picture through a resize: ``A_h^T G A_w``. Its transform over a block of
rows I and columns J is ``(C A_h[:, I]^T) G (A_w[:, J] C^T)``, and both factors are as wide as the
block's footprint in the network's input: the Jacobian never exists at the picture's resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from idse.vision.resample import triangle_matrix

if TYPE_CHECKING:
    from idse.vision.resample import Axis


def dct_matrix(size: int) -> Tensor:
    """Return the orthonormal DCT-II, float64 ``(size, size)``; rows are basis vectors."""
    k = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(torch.pi * (2 * k[None, :] + 1) * k[:, None] / (2 * size))
    basis *= (2 / size) ** 0.5
    basis[0] /= 2**0.5
    return basis


@dataclass(frozen=True)
class Footprints:
    """Those of an axis' blocks: ``(blocks, r)`` indices and ``(blocks, size, r)`` factors."""

    index: Tensor
    factor: Tensor

    def __len__(self) -> int:
        return len(self.index)


@lru_cache(maxsize=64)
def footprints(
    axis: Axis, size: int, dtype: torch.dtype, device: torch.device, *, partial: bool
) -> Footprints:
    """Return the footprints of the blocks of ``size`` samples along an axis.

    Parameters
    ----------
    axis
        From the picture's samples to the network's.
    size
        Samples of a block, no more than the axis has where ``partial`` is not set.
    dtype, device
        Of the factors.
    partial
        Whether a last block that reaches beyond the picture counts: what lies outside has no
        gradient.
    """
    matrix = triangle_matrix(axis.n_in, axis.n_out, extent=axis.extent, phase=axis.phase)
    starts = range(0, axis.n_in if partial else axis.n_in - size + 1, size)
    used = []
    for start in starts:
        reached = matrix[:, start : start + size].any(1).nonzero().flatten().tolist() or [0]
        used.append((reached[0], reached[-1] + 1))
    width = max(stop - start for start, stop in used)
    transform = dct_matrix(size)
    index, factor = [], []
    for start, (used_from, _) in zip(starts, used, strict=True):
        first = min(used_from, axis.n_out - width)
        seen = matrix[first : first + width, start : start + size].mT
        index.append(torch.arange(first, first + width))
        factor.append(transform[:, : len(seen)] @ seen)
    return Footprints(torch.stack(index).to(device), torch.stack(factor).to(device, dtype))


def transformed(g: Tensor, down: Footprints, across: Footprints) -> Tensor:
    """Return the coefficients of one gradient in every block.

    Parameters
    ----------
    g
        ``(rows.n_out, columns.n_out)``, at the network's resolution.
    down, across
        Footprints of the blocks' rows and columns, of one size.

    Returns
    -------
    Tensor
        ``(block columns, size, block rows, size)``: horizontal, then vertical frequencies.
    """
    n_down, size, _ = down.factor.shape
    part = (down.factor @ g[down.index]).reshape(n_down * size, -1)
    by_column = part.mT[across.index]
    return (across.factor @ by_column).view(len(across), size, n_down, size)
