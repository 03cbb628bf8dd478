"""What JPEG control knows of a picture: statistics of its DCT coefficients, and where they lie.

All of it comes from the coefficients that a JPEG encoder computes anyway. How many coefficients of
a frequency exceed a value is kept for every quarter of an octave, so that what any table leaves of
them, and so about what a file takes, follows without looking at the picture again.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from idse.codecs.jpeg import JpegLayout

    Floats = npt.NDArray[np.float32]

# Edges are 2^e, 1.25 2^e, 1.5 2^e and 1.75 2^e: what the first bits of a float say.
_LEAST, _MOST, _PARTS = -3, 11, 4
EDGES: Final = (_MOST - _LEAST) * _PARTS
_SHIFT: Final = 21
_FIRST: Final = (127 + _LEAST) * _PARTS
CELLS: Final = 16
MAPS: Final = 6
# Coefficients of a larger picture are counted in some of its rows of blocks.
_BLOCKS = 6144
# Sums of vertical and horizontal frequency that bands end before.
_BANDS = (1, 3, 6, 15)


@dataclass(frozen=True, eq=False)
class Description:
    """What is known of a picture.

    Attributes
    ----------
    tails
        float32 ``(2, 64, 56)``: of luma, and of both chroma components, the share of coefficients
        of each frequency (natural order) at least as large as each edge. DC is taken less that of
        the block to the left.
    blocks
        Blocks of luma and of chroma.
    maps
        float32 ``(6, 16, 16)``: means of Y, Cb and Cr over the picture's cells, and the logarithm
        of luma's low, middle and high frequencies.
    pixels
        Of the picture.
    area
        Pixels of the picture that it is a part of: networks shrink large pictures to their input,
        and then see little of high frequencies. `pixels` where it is whole.
    sampling
        Of its colour, as `JpegLayout` names it.
    """

    tails: Floats
    blocks: tuple[int, int]
    maps: Floats
    pixels: int
    area: int
    sampling: str


def edges() -> npt.NDArray[np.float64]:
    """Return the values ``(57,)`` that coefficients are compared with, and where the last ends."""
    exponent, part = np.divmod(np.arange(EDGES + 1), _PARTS)
    found: npt.NDArray[np.float64] = np.exp2(exponent + _LEAST) * (1 + part / _PARTS)
    return found


def position(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return between which edges values above 0 lie: whole numbers at edges, inside their range."""
    mantissa, exponent = np.frexp(values)
    found = (exponent - 1 - _LEAST) * _PARTS + (2 * mantissa - 1) * _PARTS
    clipped: npt.NDArray[np.float64] = np.clip(found, 0, EDGES - 1)
    return clipped


def describe(coefficients: Sequence[Floats], layout: JpegLayout) -> Description:
    """Look at the coefficients of a picture.

    Parameters
    ----------
    coefficients
        Per component float32 ``(rows, columns, 8, 8)``, natural order: three components.
    layout
        Of the JPEG.

    Raises
    ------
    InputError
        The picture is grey.
    """
    if layout.components != 3:
        raise InputError("JPEG control needs a picture with colours: leave out --control for grey")
    luma, cb, cr = coefficients
    tails = np.stack([_tails([luma]), _tails([cb, cr])])
    blocks = (luma.shape[0] * luma.shape[1], 2 * cb.shape[0] * cb.shape[1])
    pixels = layout.width * layout.height
    return Description(tails, blocks, _maps(luma, cb, cr), pixels, pixels, layout.sampling)


def _tails(planes: Sequence[Floats]) -> Floats:
    """Return the share of coefficients that reach each edge, ``(64, edges)``."""
    counts = np.zeros((64, EDGES + 1), np.int64)
    total = 0
    for plane in planes:
        rows, columns = plane.shape[:2]
        step = max(1, rows * columns // _BLOCKS)
        chosen = plane[::step].reshape(-1, columns, 64)
        values = chosen.copy()
        if columns > 1:
            values[:, 1:, 0] -= chosen[:, :-1, 0]
            values[:, 0, 0] = values[:, 1, 0]
        # The sign goes with the shift to the left.
        bins = ((values.view(np.uint32) << 1) >> (_SHIFT + 1)).astype(np.int32) - (_FIRST - 1)
        bins = np.clip(bins, 0, EDGES) + np.arange(64, dtype=np.int32) * (EDGES + 1)
        counts += np.bincount(bins.ravel(), minlength=counts.size).reshape(counts.shape)
        total += values.shape[0] * columns
    reached = counts[:, ::-1].cumsum(1)[:, ::-1][:, 1:]
    return (reached / total).astype(np.float32)


def _maps(luma: Floats, cb: Floats, cr: Floats) -> Floats:
    frequency = np.add.outer(np.arange(8), np.arange(8)).ravel()
    bands = np.stack(
        [(frequency >= low) & (frequency < high) for low, high in itertools.pairwise(_BANDS)],
        1,
    ).astype(np.float32)
    energy = np.abs(luma).reshape(*luma.shape[:2], 64) @ (bands / bands.sum(0))
    planes = [plane[..., 0, 0] / 1024 for plane in (luma, cb, cr)]
    planes += [np.log2(1 + energy[..., band]) / 4 for band in range(len(_BANDS) - 1)]
    return np.stack([_cells(plane) for plane in planes])


def _cells(plane: npt.NDArray[np.floating]) -> Floats:
    """Return the means over 16x16 cells, which overlap where there are fewer samples."""
    for axis in (0, 1):
        size = plane.shape[axis]
        starts = np.arange(CELLS) * size // CELLS
        counts = np.maximum(np.diff(starts, append=size), 1).astype(np.float32)
        shape = [1, 1]
        shape[axis] = CELLS
        plane = np.add.reduceat(plane, starts, axis) / counts.reshape(shape)
    return plane.astype(np.float32)


def moments(tails: Floats) -> Floats:
    """Return, of each frequency, the mean logarithm and that of the mean square.

    Parameters
    ----------
    tails
        ``(2, 64, 56)``.

    Returns
    -------
    ndarray
        float32 ``(256,)``: base 2.
    """
    ends = edges()
    logarithm = (tails @ np.diff(np.log2(ends))).ravel()
    square = (tails @ np.diff(ends**2)).ravel() + ends[0] ** 2
    return np.concatenate([logarithm, np.log2(square) / 2]).astype(np.float32)
