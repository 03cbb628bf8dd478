"""Transforms of planes too large to go through a network at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from fractions import Fraction
    from typing import Any

    import numpy.typing as npt


def round_up(n: int, unit: int) -> int:
    """Return the least multiple of ``unit`` that is not below ``n``."""
    return -(-n // unit) * unit


def _spans(length: int, core: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """Yield the cores that make up a side, each also with what it needs around it."""
    for start in range(0, length, core):
        end = min(start + core, length)
        yield slice(start, end), slice(max(start - halo, 0), min(end + halo, length))


def _cut(plane: npt.NDArray[Any], rows: slice, columns: slice) -> npt.NDArray[Any]:
    """Copy a part of a plane whose last row and column go on for ever."""
    part = plane[:, rows, columns]
    below = rows.stop - rows.start - part.shape[1]
    right = columns.stop - columns.start - part.shape[2]
    return np.pad(part, [(0, 0), (0, below), (0, right)], mode="edge")


def tiled(
    function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    plane: npt.NDArray[Any],
    out: npt.NDArray[Any],
    *,
    ratio: Fraction,
    unit: int,
    core: int,
    halo: int,
) -> None:
    """Apply a transform tile by tile.

    The transform sees with each tile all that its result depends on, so that what comes out is
    that of the whole plane, but for the order of floating-point sums.

    Parameters
    ----------
    function
        ``(channels, h, w)`` to ``(channels', h ratio, w ratio)``.
    plane : array ``(channels, H, W)``
        Its last row and column are repeated until its sides are multiples of ``unit``.
    out : array ``(channels', h, w)``
        Is filled; what the result has beyond its sides is dropped.
    ratio
        Of sizes behind and before the transform.
    unit, core, halo
        In samples of the plane: what its sides are rounded up to; the side of a tile, a multiple
        of ``unit``; how far around a tile its result reaches, a multiple of 1/ratio.
    """

    def scaled(n: int) -> int:
        return int(n * ratio)

    height, width = (round_up(n, unit) for n in plane.shape[1:])
    for rows, wider_rows in _spans(height, core, halo):
        for columns, wider_columns in _spans(width, core, halo):
            part = function(_cut(plane, wider_rows, wider_columns))
            top = scaled(rows.start - wider_rows.start)
            left = scaled(columns.start - wider_columns.start)
            target = out[
                :,
                scaled(rows.start) : scaled(rows.stop),
                scaled(columns.start) : scaled(columns.stop),
            ]
            target[...] = part[:, top : top + target.shape[1], left : left + target.shape[2]]
