"""Checks of what is handed in per picture, before C reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse.codecs.x264 import _raw
from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.codecs.x264.library import X264Library
    from idse.picture import PictureFormat, Plane

# QPs span 0 to 51 (63 at 10 bit): an offset of more than twice that can only be a mistake, and x264
# converts the sum to an integer without a check.
MAX_OFFSET = 128.0


def checked_planes(planes: Sequence[Plane], picture: PictureFormat) -> tuple[Plane, ...]:
    """Return ``planes``; raise InputError unless x264 can read them in place."""
    picture.check_planes(planes)
    for name, plane in zip(("Y", "Cb", "Cr"), planes, strict=True):
        rows, columns = plane.strides
        packed = columns == plane.itemsize or plane.shape[1] == 1
        # A single row has no stride worth the name: numpy may report anything.
        apart = abs(rows) >= plane.shape[1] * plane.itemsize or plane.shape[0] == 1
        if not packed or not apart or not plane.flags.aligned:
            raise InputError(
                f"plane {name} has strides {plane.strides} bytes: samples of a row must follow "
                "each other and rows must not overlap (numpy.ascontiguousarray copies it so)"
            )
        if picture.bit_depth > 8 and int(plane.max()) >> picture.bit_depth:
            raise InputError(
                f"plane {name} has the value {int(plane.max())}, more than "
                f"{(1 << picture.bit_depth) - 1} for {picture.pix_fmt}"
            )
    return tuple(planes)


def pad_plane(plane: Plane, shape: tuple[int, int], *, interlaced: bool) -> Plane:
    """Return ``plane`` grown to ``shape`` by repeating its edges, each field's own."""
    if plane.shape == shape:
        return plane
    rows, columns = np.arange(shape[0]), np.minimum(np.arange(shape[1]), plane.shape[1] - 1)
    step = 2 if interlaced and plane.shape[0] > 1 else 1
    beyond = np.maximum(rows - (plane.shape[0] - 1), 0)
    padded: npt.NDArray[Any] = plane[np.ix_(rows - -(-beyond // step) * step, columns)]
    return padded


def picture_of(library: X264Library, csp: int, planes: Sequence[Plane]) -> _raw.Picture:
    """Return x264's description of planes, which it points to and does not hold."""
    picture = _raw.Picture()
    library.functions.x264_picture_init(picture)
    picture.img.i_csp, picture.img.i_plane = csp, len(planes)
    for index, plane in enumerate(planes):
        picture.img.plane[index] = plane.ctypes.data
        picture.img.i_stride[index] = plane.strides[0]
    return picture


def checked_offsets(
    offsets: npt.NDArray[np.float32], shape: tuple[int, int]
) -> npt.NDArray[np.float32] | None:
    """Return contiguous offsets, None where all are zero; raise InputError for unusable ones."""
    if not isinstance(offsets, np.ndarray) or offsets.dtype != np.float32:
        found = getattr(offsets, "dtype", type(offsets).__name__)
        raise InputError(f"QP offsets are {found}, expected a numpy array of float32")
    if offsets.shape != shape:
        raise InputError(
            f"QP offsets have shape {offsets.shape}, expected {shape} (macroblock rows, columns)"
        )
    # One test for NaN, infinities and size: comparisons with NaN are false.
    usable = np.abs(offsets) <= MAX_OFFSET
    if not usable.all():
        row, column = np.argwhere(~usable)[0]
        raise InputError(
            f"QP offset {offsets[row, column]} of macroblock row {row}, column {column} is not a "
            f"finite number within +-{MAX_OFFSET:g}"
        )
    return np.ascontiguousarray(offsets) if offsets.any() else None
