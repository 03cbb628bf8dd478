"""Resizing of planes as two small matrix products, whose transpose is exact and cheap.

A resize is ``A_h X A_w^T`` with one matrix per axis. The filter is the antialiased triangle: the
one of ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)`` and of Pillow's
``BILINEAR``. Doing it with explicit matrices gives two things that a library call does not: the
phase of chroma samples, and the transpose (what carries gradients from the network's resolution
back to the picture's samples) as a function that can be called on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from idse.vision.triangle import triangle_weights

# Rows of one dense block of the banded matrix. Smaller blocks multiply fewer zeros, larger ones
# make fewer calls; 16 was fastest within 10 % for 576 to 2160 lines down to 224 to 416.
_BLOCK = 16

_Key = tuple[int, int, float, float]


def triangle_matrix(
    n_in: int, n_out: int, *, extent: float | None = None, phase: float = 0.5
) -> Tensor:
    """Return the resize matrix of one axis: `idse.vision.triangle.triangle_weights`."""
    return torch.from_numpy(triangle_weights(n_in, n_out, extent, phase))


@dataclass(frozen=True)
class _Band:
    """Rows ``first:first + len(block)`` of a matrix: dense over columns ``start:stop``."""

    first: int
    start: int
    stop: int
    block: Tensor


@lru_cache(maxsize=64)
def _bands(key: _Key, dtype: torch.dtype, device: torch.device) -> tuple[_Band, ...]:
    n_in, n_out, extent, phase = key
    bands = []
    # What is cached must also serve callers that need gradients, whoever asked first.
    with torch.inference_mode(mode=False), torch.no_grad():
        matrix = triangle_matrix(n_in, n_out, extent=extent, phase=phase)
        for first in range(0, n_out, _BLOCK):
            rows = matrix[first : first + _BLOCK]
            used = rows.any(0).nonzero()
            start, stop = int(used[0]), int(used[-1]) + 1
            block = rows[:, start:stop].to(device=device, dtype=dtype).contiguous()
            bands.append(_Band(first, start, stop, block))
    return tuple(bands)


@dataclass(frozen=True)
class Axis:
    """Resize of one axis: see `triangle_weights` for the meaning of the fields."""

    n_in: int
    n_out: int
    extent: float
    phase: float = 0.5

    def bands(self, like: Tensor) -> tuple[_Band, ...]:
        """Return the banded matrix in the dtype and on the device of ``like``."""
        return _bands((self.n_in, self.n_out, self.extent, self.phase), like.dtype, like.device)

    @property
    def is_identity(self) -> bool:
        """True where resizing changes nothing."""
        return self.n_in == self.n_out and self.extent == self.n_in and self.phase == 0.5


def _apply_rows(x: Tensor, axis: Axis) -> Tensor:
    """Resize the second last dimension."""
    if axis.is_identity:
        return x
    bands = axis.bands(x)
    return torch.cat([band.block @ x[..., band.start : band.stop, :] for band in bands], dim=-2)


def _apply_columns(x: Tensor, axis: Axis) -> Tensor:
    """Resize the last dimension."""
    if axis.is_identity:
        return x
    bands = axis.bands(x)
    return torch.cat([x[..., band.start : band.stop] @ band.block.mT for band in bands], dim=-1)


def _transpose_rows(g: Tensor, axis: Axis) -> Tensor:
    if axis.is_identity:
        return g
    out = g.new_zeros((*g.shape[:-2], axis.n_in, g.shape[-1]))
    for band in axis.bands(g):
        part = band.block.mT @ g.narrow(-2, band.first, len(band.block))
        out.narrow(-2, band.start, band.stop - band.start).add_(part)
    return out


def _transpose_columns(g: Tensor, axis: Axis) -> Tensor:
    if axis.is_identity:
        return g
    out = g.new_zeros((*g.shape[:-1], axis.n_in))
    for band in axis.bands(g):
        part = g.narrow(-1, band.first, len(band.block)) @ band.block
        out.narrow(-1, band.start, band.stop - band.start).add_(part)
    return out


class _Resize(torch.autograd.Function):
    """``A_h X A_w^T``, whose gradient is the explicit transpose."""

    @staticmethod
    def forward(x: Tensor, rows: Axis, columns: Axis) -> Tensor:
        return resize_matrix_product(x, rows, columns)

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx,
        inputs: tuple[Tensor, Axis, Axis],
        output: Tensor,  # noqa: ARG004 (torch's signature)
    ) -> None:
        _, ctx.rows, ctx.columns = inputs  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        return resize_transposed(g, ctx.rows, ctx.columns), None, None


def resize_matrix_product(x: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """Resize without autograd bookkeeping of its own: the axis that shrinks more goes first."""
    if rows.n_in * columns.n_out > rows.n_out * columns.n_in:
        return _apply_columns(_apply_rows(x, rows), columns)
    return _apply_rows(_apply_columns(x, columns), rows)


def resize(x: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """Resize the last two dimensions of ``x`` (..., rows.n_in, columns.n_in), differentiably."""
    result: Tensor = _Resize.apply(x, rows, columns)  # type: ignore[no-untyped-call]
    return result


def resize_transposed(g: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """Apply the transpose of :func:`resize`: (..., rows.n_out, columns.n_out) to the input's size.

    ``(resize(x) * g).sum() == (x * resize_transposed(g)).sum()`` for every ``x`` and ``g``.
    """
    if rows.n_in * columns.n_out > rows.n_out * columns.n_in:
        return _transpose_rows(_transpose_columns(g, columns), rows)
    return _transpose_columns(_transpose_rows(g, rows), columns)
