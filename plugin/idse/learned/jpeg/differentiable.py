"""JPEG, encoder and decoder, as a differentiable function of picture, tables, quality and colour.

After Reich, "Deep Image Codec Control" (2023), section 4.1, and libjpeg-turbo's default methods:
its downsampling and its filling of blocks beyond the edges, its triangle filter for chroma, and the
clipping of samples both before and after the colour conversion. Entropy coding loses nothing and is
left out.

kornia's ``jpeg_codec_differentiable``, by the same author, is not the base: it knows 4:2:0 only,
smooths chroma with a Gaussian where JPEG takes means, clips pixels of 0..1 to 0..255, and has no
straight-through variant.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn.functional import pad

from idse.codecs.jpeg import JpegLayout, standard_table
from idse.errors import InputError
from idse.learned.jpeg.discrete import SURROGATE

if TYPE_CHECKING:
    from torch import Tensor

    from idse.learned.jpeg.discrete import Surrogate

_CENTRE = 128.0
# Chroma of fewer columns is repeated instead of filtered, by libjpeg-turbo.
_FEWEST_COLUMNS = 3
# JFIF 1.02: R'G'B' of 0..255 to Y'CbCr around (0, 128, 128).
_JFIF = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)


class Coded(NamedTuple):
    """A picture that went through JPEG.

    Attributes
    ----------
    pixels
        ``(n, 3, height, width)`` R'G'B', 0 to 255 (surrogate: about).
    levels
        Per component ``(n, rows, columns, 8, 8)``: quantised coefficients, natural order.
    """

    pixels: Tensor
    levels: list[Tensor]


def jfif_matrix(*, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the matrix ``(3, 3)`` of JFIF: R'G'B' to Y'CbCr less (0, 128, 128)."""
    return torch.tensor(_JFIF, dtype=dtype)


def standard_tables(*, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return ``(2, 8, 8)``: the standard's tables for luma and chroma, natural order."""
    # Quality 50 has a factor of 1.
    tables = [standard_table(50, chroma=chroma).astype("int64") for chroma in (False, True)]
    return torch.stack([torch.from_numpy(table) for table in tables]).to(dtype)


def quality_tables(
    quality: Tensor, *, base: Tensor | None = None, discrete: Surrogate = SURROGATE
) -> Tensor:
    """Return libjpeg's tables for qualities, differentiably (equation 2.3).

    Parameters
    ----------
    quality
        ``(n,)``, 1 to 100; need not be whole.
    base
        ``(2, 8, 8)`` or ``(n, 2, 8, 8)``: luma and chroma at quality 50; by default the standard's.
    discrete
        How tables become whole and stay within 1 to 255.

    Returns
    -------
    Tensor
        ``(n, 2, 8, 8)``.

    Raises
    ------
    InputError
        A quality is out of range.
    """
    low, high = (float(end) for end in quality.detach().aminmax())
    if not 1 <= low <= high <= 100:
        raise InputError(f"qualities are {low:g} to {high:g}: libjpeg takes 1 to 100")
    # Only below 50 libjpeg divides, and so floors.
    steep = discrete.floor(5000 / quality)
    scale = torch.where(quality < 50, steep, 200 - 2 * quality)
    tables = standard_tables(dtype=quality.dtype).to(quality.device) if base is None else base
    scaled = (tables * scale[:, None, None, None] + 50) / 100
    return discrete.clip(discrete.floor(scaled), 1, 255)


def whole_tables(steps: Tensor, *, discrete: Surrogate = SURROGATE) -> Tensor:
    """Return tables that a file can hold: steps rounded, within 1 to 255; any shape."""
    return discrete.clip(discrete.round(steps), 1, 255)


def code(
    pixels: Tensor,
    tables: Tensor,
    *,
    sampling: str = "4:2:0",
    matrix: Tensor | None = None,
    discrete: Surrogate = SURROGATE,
) -> Coded:
    """Return what a JPEG file makes of pictures.

    Parameters
    ----------
    pixels, tables, sampling, matrix, discrete
        As for :func:`encode`; the decoder takes the inverse of the matrix.

    Raises
    ------
    InputError
        As :func:`encode`.
    """
    levels = encode(pixels, tables, sampling=sampling, matrix=matrix, discrete=discrete)
    height, width = pixels.shape[-2:]
    layout = JpegLayout(width, height, sampling)
    return Coded(decode(levels, tables, layout, matrix=matrix, discrete=discrete), levels)


def encode(
    pixels: Tensor,
    tables: Tensor,
    *,
    sampling: str = "4:2:0",
    matrix: Tensor | None = None,
    discrete: Surrogate = SURROGATE,
) -> list[Tensor]:
    """Return quantised coefficients.

    Parameters
    ----------
    pixels
        ``(n, 3, height, width)`` R'G'B', 0 to 255, of any size.
    tables
        ``(2, 8, 8)`` for luma and chroma, or ``(3, 8, 8)``, natural order; with a first axis of n,
        each picture has its own. They are used as they are: see :func:`quality_tables` and
        :func:`whole_tables`.
    sampling
        ``"4:2:0"``, ``"4:2:2"`` or ``"4:4:4"``.
    matrix
        ``(3, 3)`` R'G'B' to Y'CbCr less (0, 128, 128); by default JFIF's.
    discrete
        `SURROGATE`, `STRAIGHT_THROUGH` or `WHOLE_SAMPLES`.

    Returns
    -------
    list of Tensor
        Per component ``(n, rows, columns, 8, 8)``.

    Raises
    ------
    InputError
        A shape or the sampling is none of these.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise InputError(f"pixels are {tuple(pixels.shape)}: expected (n, 3, height, width)")
    layout = _layout(pixels.shape[3], pixels.shape[2], sampling)
    steps = _steps(tables)
    matrix = jfif_matrix(dtype=pixels.dtype).to(pixels.device) if matrix is None else matrix
    ycc = torch.einsum("ij,njhw->nihw", matrix, pixels)
    ycc = discrete.sample(ycc + ycc.new_tensor([0.0, _CENTRE, _CENTRE])[:, None, None])
    planes = [ycc[:, :1], _downsample(ycc[:, 1:], layout, discrete)]
    basis = _basis(pixels.dtype).to(pixels.device)
    levels = []
    for component in range(3):
        plane = planes[component > 0][:, max(component - 1, 0)]
        blocks = _blocks(plane - _CENTRE, layout.block_shape(component))
        coefficients = (blocks @ basis).reshape(*blocks.shape[:3], 8, 8)
        levels.append(discrete.round(coefficients / steps[component]))
    return levels


def decode(
    levels: list[Tensor],
    tables: Tensor,
    layout: JpegLayout,
    *,
    matrix: Tensor | None = None,
    discrete: Surrogate = SURROGATE,
) -> Tensor:
    """Return the pictures that a decoder makes of quantised coefficients.

    Parameters
    ----------
    levels
        Per component ``(n, rows, columns, 8, 8)``, in the shapes of the layout.
    tables, discrete
        As for :func:`encode`.
    layout
        Size and sampling.
    matrix
        That the encoder had, whose inverse is taken; by default JFIF's.

    Returns
    -------
    Tensor
        ``(n, 3, height, width)`` R'G'B', 0 to 255 (surrogate: about).
    """
    steps = _steps(tables)
    basis = _basis(levels[0].dtype).to(levels[0].device)
    planes = []
    for component, (level, step) in enumerate(zip(levels, steps, strict=True)):
        blocks = (level * step).flatten(-2) @ basis.T
        plane = _plane(blocks, layout.sample_shape(component))
        planes.append(discrete.clip(discrete.sample(plane + _CENTRE), 0, 255))
    luma = planes[0][:, None]
    chroma = _upsample(torch.stack(planes[1:], 1), layout, discrete)
    matrix = jfif_matrix(dtype=luma.dtype).to(luma.device) if matrix is None else matrix
    rgb = torch.einsum(
        "ij,njhw->nihw", torch.linalg.inv(matrix), torch.cat([luma, chroma - _CENTRE], 1)
    )
    return discrete.clip(discrete.sample(rgb), 0, 255)


def _layout(width: int, height: int, sampling: str) -> JpegLayout:
    layout = JpegLayout(width, height, sampling)
    if layout.components != 3:
        raise InputError(f"sampling {sampling!r} has no colour: use 4:2:0, 4:2:2 or 4:4:4")
    return layout


def _steps(tables: Tensor) -> list[Tensor]:
    """Return each component's table, ``(1 or n, 1, 1, 8, 8)``."""
    if tables.ndim not in {3, 4} or tables.shape[-3] not in {2, 3} or tables.shape[-2:] != (8, 8):
        raise InputError(
            f"tables are {tuple(tables.shape)}: expected (2 or 3, 8, 8) or (n, 2 or 3, 8, 8)"
        )
    stacked = tables if tables.ndim == 4 else tables[None]
    count = stacked.shape[1]
    return [stacked[:, min(component, count - 1), None, None] for component in range(3)]


@lru_cache(maxsize=8)
def _basis(dtype: torch.dtype) -> Tensor:
    """Return ``(64, 64)``: samples of a block to its coefficients, orthonormal."""
    k, x = torch.arange(8, dtype=torch.float64)[:, None], torch.arange(8, dtype=torch.float64)
    cosines = torch.cos((2 * x + 1) * k * math.pi / 16) / 2
    cosines[0] /= math.sqrt(2)
    return torch.kron(cosines, cosines).T.to(dtype).contiguous()


def _blocks(plane: Tensor, shape: tuple[int, int]) -> Tensor:
    """Cut ``(n, height, width)`` into ``(n, rows, columns, 64)``, edges repeated."""
    rows, columns = shape
    filled = _fill(plane[:, None], 8 * columns, 8 * rows)
    return filled.reshape(-1, rows, 8, columns, 8).transpose(2, 3).flatten(3)


def _plane(blocks: Tensor, shape: tuple[int, int]) -> Tensor:
    """Join ``(n, rows, columns, 64)`` to ``(n, height, width)``."""
    n, rows, columns = blocks.shape[:3]
    joined = blocks.reshape(n, rows, columns, 8, 8).transpose(2, 3)
    return joined.reshape(n, 8 * rows, 8 * columns)[:, : shape[0], : shape[1]]


def _fill(planes: Tensor, width: int, height: int) -> Tensor:
    """Repeat the last column and row of ``(n, c, h, w)`` up to a size."""
    right, below = width - planes.shape[3], height - planes.shape[2]
    return pad(planes, (0, right, 0, below), "replicate") if right or below else planes


def _downsample(chroma: Tensor, layout: JpegLayout, discrete: Surrogate) -> Tensor:
    """Average chroma as libjpeg's h2v1 and h2v2 do: what falls midway goes down, then up."""
    across, down = layout.factors[0]
    if across == 1:
        return chroma
    # Columns are repeated before averaging, rows (but for an odd one) behind it.
    columns = 8 * layout.block_shape(1)[1]
    chroma = _fill(chroma, across * columns, down * layout.sample_shape(1)[0])
    rows = chroma.shape[2] // down
    means = chroma.reshape(-1, 2, rows, down, columns, across).mean((3, 5))
    odd = torch.arange(columns, device=chroma.device) % 2
    return discrete.sample(means, (odd + (down - 1)) / (across * down))


def _upsample(chroma: Tensor, layout: JpegLayout, discrete: Surrogate) -> Tensor:
    """Bring chroma to luma's size by libjpeg's triangle filter."""
    across, down = layout.factors[0]
    if across == 1:
        return chroma
    if chroma.shape[3] < _FEWEST_COLUMNS:
        chroma = chroma.repeat_interleave(across, 3).repeat_interleave(down, 2)
        return chroma[..., : layout.height, : layout.width]
    if down == 2:
        chroma = torch.stack(_thirds(chroma, 2), 3).flatten(2, 3)
    left, right = _thirds(chroma, 3)
    # What falls midway goes up on one side and down on the other.
    biases = (8 / 16, 7 / 16) if down == 2 else (1 / 4, 2 / 4)
    sides = [discrete.sample(x, bias) for x, bias in zip((left, right), biases, strict=True)]
    return torch.stack(sides, 4).flatten(3, 4)[..., : layout.height, : layout.width]


def _thirds(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return 3/4 of each sample and 1/4 of the one before, and of the one behind."""
    count = x.shape[axis]
    before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, count - 1)], axis)
    behind = torch.cat([x.narrow(axis, 1, count - 1), x.narrow(axis, count - 1, 1)], axis)
    return (3 * x + before) / 4, (3 * x + behind) / 4
