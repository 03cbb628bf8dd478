"""The filter of every resize in front of a network, as numbers: needs numpy only."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from idse.picture import PictureFormat
    from idse.vision.geometry import Geometry


class Resize(NamedTuple):
    """Resize of one axis: see :func:`triangle_weights` for the meaning of the fields."""

    n_in: int
    n_out: int
    extent: float
    phase: float = 0.5


def triangle_weights(
    n_in: int,
    n_out: int,
    extent: float | None = None,
    phase: float = 0.5,
    *,
    outputs: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the resize matrix of one axis, or some of its rows.

    Parameters
    ----------
    n_in, n_out
        Samples before and after.
    extent
        Length of the picture in units of input samples; ``n_in`` by default. For the chroma of a
        4:2:0 picture it is half the *luma* size, which for odd sizes is not ``n_in``.
    phase
        Where sample 0 lies in its cell: 0.5 is the centre, 0.25 is the horizontal position of
        chroma beside the left one of two luma samples (MPEG-2, H.264's default).
    outputs
        Rows that are wanted; all by default.

    Returns
    -------
    ndarray
        float64 ``(n_out, n_in)``; every row sums to 1. Where it enlarges, the triangle is one
        input sample wide to each side (plain bilinear).
    """
    scale = (n_in if extent is None else extent) / n_out
    support = max(scale, 1.0)
    rows = np.arange(n_out) if outputs is None else outputs
    centres = (rows[:, None] + 0.5) * scale
    distances = np.abs(np.arange(n_in)[None, :] + phase - centres)
    weights = np.maximum(1 - distances / support, 0)
    # A centre further than one sample outside the samples (chroma of tiny pictures) would weigh
    # nothing: the nearest sample stands in, as edge repetition would have it.
    empty = np.flatnonzero(weights.sum(1) <= 0)
    weights[empty, distances[empty].argmin(1)] = 1.0
    found: npt.NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return found


def plane_resizes(
    fmt: PictureFormat, geometry: Geometry
) -> tuple[tuple[Resize, Resize], tuple[Resize, Resize]]:
    """Return the (row, column) resizes of luma and of chroma, which lies where ``siting`` says."""
    rows, columns = geometry.resized
    sub_x, sub_y = fmt.subsampling
    luma = (Resize(fmt.height, rows, fmt.height), Resize(fmt.width, columns, fmt.width))
    chroma_rows, chroma_columns = fmt.chroma_shape
    phase = 0.25 if sub_x and fmt.siting == "left" else 0.5
    chroma = (
        Resize(chroma_rows, rows, fmt.height / 2**sub_y),
        Resize(chroma_columns, columns, fmt.width / 2**sub_x, phase),
    )
    return luma, chroma
