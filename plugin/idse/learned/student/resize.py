"""Area averages: how pictures become a student's input, and teachers' energies its targets.

Needs numpy only.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse.learned.student.spectrum import code_steps

if TYPE_CHECKING:
    from idse.picture import Picture, PictureFormat

FloatArray = npt.NDArray[np.float32]


@lru_cache(maxsize=256)
def box_matrix(n_in: int, n_out: int) -> FloatArray:
    """Return the matrix that averages ``n_in`` samples to ``n_out``.

    Output i covers the interval from ``i * n_in / n_out`` to ``(i + 1) * n_in / n_out`` of the
    input's samples, each of which counts by the part of it that lies inside.

    Returns
    -------
    ndarray
        float32 ``(n_out, n_in)``, read-only; every row sums to 1.
    """
    edges = np.arange(n_out + 1) * (n_in / n_out)
    samples = np.arange(n_in)
    inside = np.minimum(edges[1:, None], samples + 1) - np.maximum(edges[:-1, None], samples)
    matrix: FloatArray = (np.maximum(inside, 0) * (n_out / n_in)).astype(np.float32)
    matrix.flags.writeable = False
    return matrix


def box_resize(plane: npt.NDArray[Any], rows: int, columns: int) -> FloatArray:
    """Return the area averages of a plane, float32 ``(rows, columns)``."""
    down, across = box_matrix(plane.shape[0], rows), box_matrix(plane.shape[1], columns)
    return (down @ plane.astype(np.float32)) @ across.T


def input_size(width: int, height: int, *, area: int, multiple: int) -> tuple[int, int]:
    """Return rows and columns of a student's input for pictures of a size.

    Parameters
    ----------
    width, height
        Of the picture, luma samples.
    area
        Samples that the input has, about.
    multiple
        Of which both sides are multiples.
    """
    scale = math.sqrt(area / (width * height))
    rows, columns = (
        max(multiple, multiple * math.floor(n * scale / multiple + 0.5)) for n in (height, width)
    )
    return rows, columns


def limited_codes(form: PictureFormat) -> list[tuple[float, float]]:
    """Return what makes code values those of 8 bit and limited range, for Y, Cb and Cr.

    Returns
    -------
    list of tuple
        A factor and a summand each.
    """
    luma, chroma = code_steps(form)
    # Black and grey stay what they are: 16 and 128 in limited range of 8 bit, 0 and 128 in full.
    depth = 2.0 ** (form.bit_depth - 8)
    black = (0.0 if form.full_range else 16.0) * depth
    return [(1 / luma, 16 - black / luma), *[(1 / chroma, 128 - 128 * depth / chroma)] * 2]


def student_planes(picture: Picture, *, area: int, multiple: int) -> FloatArray:
    """Return Y, Cb and Cr as a student sees them: upright, in codes of 8 bit and limited range.

    Returns
    -------
    ndarray
        float32 ``(3, rows, columns)``.
    """
    form = picture.format
    turns = form.rotation // 90
    width, height = (form.width, form.height)[:: -1 if turns % 2 else 1]
    size = input_size(width, height, area=area, multiple=multiple)
    rows, columns = size[:: -1 if turns % 2 else 1]
    planes = np.stack([box_resize(plane, rows, columns) for plane in picture.planes])
    factor, summand = np.array(limited_codes(form)).T[:, :, None, None]
    seen = planes * factor + summand
    return np.ascontiguousarray(np.rot90(seen, turns, (1, 2)), np.float32)
