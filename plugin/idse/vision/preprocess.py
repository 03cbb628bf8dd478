"""From decoded planes to a network's input, differentiably and in two halves.

The first half, :func:`shrink`, resizes each plane straight to the network's resolution. Resizing
is linear and commutes with the (affine) colour matrix, so full-resolution RGB never exists. The
second half, :func:`finish`, works on few samples: colour, turn, padding, normalisation. Whoever
needs many gradients of one picture runs them at the network's resolution and carries them to the
picture's samples with :func:`shrink_transposed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from idse.errors import InputError
from idse.vision.colour import planes_to_rgb
from idse.vision.resample import Axis, resize, resize_transposed
from idse.vision.triangle import plane_resizes

if TYPE_CHECKING:
    from idse.picture import Picture, PictureFormat
    from idse.vision.geometry import Geometry


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """What a network wants of its R'G'B' input.

    Attributes
    ----------
    mean, std
        Per channel, in the order of ``channels``, on the scale 0..1: input = (rgb - mean) / std.
    channels
        ``"rgb"`` or ``"bgr"``.
    pad
        Grey level of letterbox padding, 0..1, before normalisation.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channels: str = "rgb"
    pad: float = 0.5

    def __post_init__(self) -> None:
        if self.channels not in {"rgb", "bgr"}:
            raise InputError(f"channel order {self.channels!r} is not rgb or bgr")
        if len(self.mean) != 3 or len(self.std) != 3:
            raise InputError(f"mean {self.mean} and std {self.std} must have 3 values each")
        if not all(np.isfinite(self.mean)) or not all(np.isfinite(s) and s > 0 for s in self.std):
            raise InputError(f"mean {self.mean} must be finite and std {self.std} above 0")


def planes_to_tensors(
    picture: Picture, *, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Return Y, Cb, Cr as ``(1, 1, rows, columns)`` tensors of code values."""
    y, cb, cr = (_tensor(plane, dtype)[None, None] for plane in picture.planes)
    return y, cb, cr


def _tensor(plane: npt.NDArray[Any], dtype: torch.dtype) -> Tensor:
    # torch knows few operations on uint16 and warns about read-only arrays: copy where needed.
    array = np.ascontiguousarray(plane, np.int16 if plane.dtype == np.uint16 else plane.dtype)
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(dtype)


def plane_axes(
    fmt: PictureFormat, geometry: Geometry
) -> tuple[tuple[Axis, Axis], tuple[Axis, Axis]]:
    """Return the (row, column) axes of luma and of chroma, which lies where ``fmt.siting`` says."""
    luma, chroma = ((Axis(*rows), Axis(*columns)) for rows, columns in plane_resizes(fmt, geometry))
    return luma, chroma


def shrink(y: Tensor, cb: Tensor, cr: Tensor, fmt: PictureFormat, geometry: Geometry) -> Tensor:
    """Resize code values to the network's resolution.

    Parameters
    ----------
    y, cb, cr
        ``(n, 1, height, width)`` and twice ``(n, 1, *fmt.chroma_shape)``, floating point.
    fmt, geometry
        The picture's format and its placement.

    Returns
    -------
    ``(n, 3, *geometry.resized)``: Y, Cb, Cr code values, not yet turned or padded.
    """
    for name, plane, shape in zip(("Y", "Cb", "Cr"), (y, cb, cr), fmt.plane_shapes, strict=True):
        if plane.shape[1:] != (1, *shape):
            raise InputError(f"plane {name} is {tuple(plane.shape)}, expected (n, 1, {shape})")
    luma, chroma = plane_axes(fmt, geometry)
    return torch.cat([resize(y, *luma), resize(cb, *chroma), resize(cr, *chroma)], dim=1)


def shrink_transposed(
    g: Tensor, fmt: PictureFormat, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor]:
    """Apply the transpose of :func:`shrink`, which is linear and so has the same one everywhere.

    Parameters
    ----------
    g
        ``(n, 3, *geometry.resized)``: gradients with respect to the resized Y, Cb, Cr.

    Returns
    -------
    Gradients with respect to Y, Cb, Cr: ``(n, 1, height, width)`` and twice
    ``(n, 1, *fmt.chroma_shape)``.
    """
    luma, chroma = plane_axes(fmt, geometry)
    return (
        resize_transposed(g[:, 0:1], *luma),
        resize_transposed(g[:, 1:2], *chroma),
        resize_transposed(g[:, 2:3], *chroma),
    )


def finish(
    ycbcr: Tensor, fmt: PictureFormat, geometry: Geometry, normalisation: Normalisation
) -> Tensor:
    """Turn what :func:`shrink` returned into the network's input ``(n, 3, *geometry.size)``."""
    return finish_rgb(planes_to_rgb(ycbcr, fmt), geometry, normalisation)


def finish_rgb(rgb: Tensor, geometry: Geometry, normalisation: Normalisation) -> Tensor:
    """Turn, pad and normalise resized R'G'B' ``(n, 3, *geometry.resized)``, about 0..1."""
    if geometry.rotation:
        rgb = torch.rot90(rgb, geometry.rotation // 90, (-2, -1))
    top, left = geometry.pad
    rows, columns = geometry.upright
    below, right = geometry.size[0] - rows - top, geometry.size[1] - columns - left
    if top or left or below or right:
        rgb = torch.nn.functional.pad(rgb, (left, right, top, below), value=normalisation.pad)
    if normalisation.channels == "bgr":
        rgb = rgb.flip(1)
    mean = rgb.new_tensor(normalisation.mean)[:, None, None]
    std = rgb.new_tensor(normalisation.std)[:, None, None]
    return (rgb - mean) / std


def rgb_to_input(
    rgb: npt.NDArray[np.uint8], geometry: Geometry, normalisation: Normalisation
) -> Tensor:
    """Turn a still image, uint8 ``(height, width, 3)``, into ``(1, 3, *geometry.size)``."""
    x = _tensor(rgb, torch.float32).permute(2, 0, 1)[None] / 255
    rows = Axis(geometry.height, geometry.resized[0], geometry.height)
    columns = Axis(geometry.width, geometry.resized[1], geometry.width)
    return finish_rgb(resize(x, rows, columns), geometry, normalisation)
