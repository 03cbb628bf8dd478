"""Where a picture lands in a network's input, and the way back for boxes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from idse.errors import InputError

FITS = ("letterbox", "stretch")


@dataclass(frozen=True)
class Geometry:
    """Placement of one size of picture in a network's input.

    Attributes
    ----------
    width, height
        The picture as decoded, luma samples.
    rotation
        Degrees counter-clockwise by which it is turned so that the network sees it upright.
    resized
        Rows and columns it is resized to, *before* the turn.
    size
        Rows and columns of the network's input.
    pad
        Rows above and columns to the left of the upright resized picture; what remains of ``size``
        is padding below and to the right.
    """

    width: int
    height: int
    rotation: int
    resized: tuple[int, int]
    size: tuple[int, int]
    pad: tuple[int, int]

    @property
    def upright(self) -> tuple[int, int]:
        """Rows and columns of the resized picture after the turn."""
        rows, columns = self.resized
        return (columns, rows) if self.rotation in {90, 270} else (rows, columns)

    def boxes_to_picture(self, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Map boxes from the network's input back to the picture as decoded.

        Parameters
        ----------
        boxes
            float32 ``(n, 4)``: x0, y0, x1, y1 in pixels of the network's input (edges, so that
            the whole input is 0, 0, width, height).

        Returns
        -------
        float32 ``(n, 4)`` in luma samples of the decoded picture, clipped to it.
        """
        rows, columns = self.upright
        x0, x1 = ((boxes[:, i] - self.pad[1]) / columns for i in (0, 2))
        y0, y1 = ((boxes[:, i] - self.pad[0]) / rows for i in (1, 3))
        # Undo a counter-clockwise turn: the upright right edge came from the decoded bottom, etc.
        if self.rotation == 90:
            x0, y0, x1, y1 = 1 - y1, x0, 1 - y0, x1
        elif self.rotation == 180:
            x0, y0, x1, y1 = 1 - x1, 1 - y1, 1 - x0, 1 - y0
        elif self.rotation == 270:
            x0, y0, x1, y1 = y0, 1 - x1, y1, 1 - x0
        scale = np.array([self.width, self.height] * 2, np.float32)
        mapped = np.stack([x0, y0, x1, y1], axis=1) * scale
        return np.clip(mapped, 0, scale).astype(np.float32)


@lru_cache(maxsize=256)
def place(
    width: int,
    height: int,
    *,
    rotation: int,
    size: tuple[int, int],
    fit: str,
    stride: int | None,
) -> Geometry:
    """Place a picture in a network's input.

    Parameters
    ----------
    width, height, rotation
        The picture as decoded, see :class:`Geometry`.
    size
        Rows and columns of the network's input, or their upper bounds where ``stride`` is given.
    fit
        ``"letterbox"`` keeps the aspect ratio and pads in equal parts on both sides;
        ``"stretch"`` fills the input.
    stride
        None for a network with a fixed input. Otherwise it takes every multiple of ``stride``,
        and a letterbox pads only up to the next one: less to compute, nothing lost.
    """
    if fit not in FITS:
        raise InputError(f"fit {fit!r} is not one of {', '.join(FITS)}")
    up_w, up_h = (height, width) if rotation in {90, 270} else (width, height)
    rows, columns = size
    if fit == "letterbox":
        scale = min(rows / up_h, columns / up_w)
        rows, columns = (max(1, round(n * scale)) for n in (up_h, up_w))
        if stride is not None:
            size = (-(-rows // stride) * stride, -(-columns // stride) * stride)
    resized = (columns, rows) if rotation in {90, 270} else (rows, columns)
    pad = ((size[0] - rows) // 2, (size[1] - columns) // 2)
    return Geometry(width, height, rotation, resized, size, pad)
