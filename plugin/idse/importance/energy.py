"""Energy of full-resolution gradients per macroblock, without full-resolution gradients.

A plane reaches the network through a resize ``A_h X A_w^T``, so its gradient is ``A_h^T G A_w`` for
a gradient ``G`` at the network's resolution. Over the block of rows I and columns J its energy is
``||A_h[:, I]^T G A_w[:, J]||_F^2``, and a norm does not change when ``A_h[:, I]^T = Q R`` (Q with
orthonormal columns) loses its Q. R is as wide as the block's footprint in the network's input,
which for pictures larger than that input is a few samples instead of 16: the same number, exactly,
for a fraction of the memory and work.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from idse.picture import MACROBLOCK
from idse.vision.preprocess import plane_axes
from idse.vision.resample import triangle_matrix

if TYPE_CHECKING:
    from idse.picture import PictureFormat
    from idse.vision.geometry import Geometry
    from idse.vision.resample import Axis

# Gradients are taken in groups of rows of about so many samples: bounds the memory of the gathered
# copies (each sample is gathered about twice per axis) where the network sees the full picture.
_GROUP = 1 << 20


@dataclass(frozen=True)
class _Blocks:
    """Footprints of an axis' blocks: ``(blocks, r)`` indices and factors ``(blocks, q, r)``."""

    index: Tensor
    factor: Tensor


@lru_cache(maxsize=64)
def _blocks(axis: Axis, size: int, dtype: torch.dtype, device: torch.device) -> _Blocks:
    matrix = triangle_matrix(axis.n_in, axis.n_out, extent=axis.extent, phase=axis.phase)
    parts = [matrix[:, start : start + size] for start in range(0, axis.n_in, size)]
    footprints = []
    for part in parts:
        used = part.any(1).nonzero().flatten().tolist() or [0]
        footprints.append((used[0], used[-1] + 1))
    width = max(stop - start for start, stop in footprints)
    height = min(width, size)
    index = torch.empty(len(parts), width, dtype=torch.int64)
    factor = torch.zeros(len(parts), height, width, dtype=torch.float64)
    for i, (part, (start, _)) in enumerate(zip(parts, footprints, strict=True)):
        first = min(start, axis.n_out - width)
        index[i] = torch.arange(first, first + width)
        seen = part[first : first + width].mT
        # Q has orthonormal columns only where the block is taller than its footprint is wide.
        reduced = torch.linalg.qr(seen).R if len(seen) > width else seen
        factor[i, : len(reduced)] = reduced
    return _Blocks(index.to(device), factor.to(device=device, dtype=dtype))


def _plane_energy(g: Tensor, rows: Axis, columns: Axis, size: tuple[int, int]) -> Tensor:
    """Return the energy ``(blocks, blocks)`` of gradients ``g`` (n, rows.n_out, columns.n_out)."""
    down = _blocks(rows, size[0], g.dtype, g.device)
    across = _blocks(columns, size[1], g.dtype, g.device)
    n, _, w = g.shape
    n_down, q, _ = down.factor.shape
    n_across, p, _ = across.factor.shape
    # Gathering along the first dimension copies whole rows.
    by_row = g.transpose(0, 1).reshape(-1, n * w)
    part = (down.factor @ by_row[down.index]).view(n_down, q, n, w)
    by_column = part.permute(3, 0, 1, 2).reshape(w, -1)
    part = across.factor @ by_column[across.index]
    return part.square_().view(n_across, p, n_down, q * n).sum((1, 3)).mT


def luma_block_energy(g: Tensor, form: PictureFormat, geometry: Geometry, size: int) -> Tensor:
    """Sum the squared full-resolution gradients over blocks of ``size`` x ``size`` luma samples.

    Parameters are those of `macroblock_energy`.

    Returns
    -------
    Tensor
        ``(ceil(height / size), ceil(width / size))``, of luma alone.
    """
    axes, _ = plane_axes(form, geometry)
    energy = g.new_zeros(-(-form.height // size), -(-form.width // size))
    for group in torch.split(g, max(1, _GROUP // (g.shape[2] * g.shape[3]))):
        energy += _plane_energy(group[:, 0], *axes, (size, size))
    return energy


def macroblock_energy(
    g: Tensor, form: PictureFormat, geometry: Geometry, *, size: int = MACROBLOCK
) -> Tensor:
    """Sum the squared full-resolution gradients over macroblocks, or over smaller blocks.

    Parameters
    ----------
    g
        ``(n, 3, *geometry.resized)``, float32 or float64: gradients with respect to the planes as
        `idse.vision.FeatureExtractor.shrink` returns them.
    form, geometry
        The picture's format and its placement in the network's input.
    size
        Luma samples of a block's side; even.

    Returns
    -------
    Tensor
        ``(3, mb_rows, mb_cols)``: for Y, Cb, Cr the sum, over the n gradients and the
        macroblock's samples, of the squared gradient with respect to each decoded sample.
    """
    luma, chroma = plane_axes(form, geometry)
    sub_x, sub_y = form.subsampling
    sizes = [(size, size), *[(size >> sub_y, size >> sub_x)] * 2]
    energy = g.new_zeros(3, -(-form.height // size), -(-form.width // size))
    count = max(1, _GROUP // (g.shape[2] * g.shape[3]))
    for group in torch.split(g, count):
        for plane, (axes, block) in enumerate(zip((luma, chroma, chroma), sizes, strict=True)):
            energy[plane] += _plane_energy(group[:, plane], *axes, block)
    return energy
