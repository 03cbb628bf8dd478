"""Views of pictures to learn from: whole ones, and crops of many sizes and shapes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from idse.learned.student.resize import box_resize

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.picture import Picture

# Sides of views are multiples of this, so that targets have whole blocks only.
_ALIGN = 8
# Views have at least so many luma samples per side (or the picture's), and at most so many.
_LEAST, _MOST = 160, 1280
# A crop's longer and shorter side are at least these shares of the picture's.
_SHARE = (0.45, 0.9)
# Crops are scaled down by up to this.
_SHRINK = 0.6


def view(picture: Picture, number: int, *, seed: int = 0) -> Picture:
    """Return one of any number of views of a picture.

    Parameters
    ----------
    picture
        8 or 10 bit, of at least 16 samples per side.
    number
        0 is the whole picture, others are crops, some of them scaled down.
    seed
        With ``number`` and the picture's content all that a view depends on.

    Returns
    -------
    Picture
        Sides are multiples of 8 where the picture's are 8 or more, and 1280 at most.
    """
    form = picture.format
    width, height = form.width, form.height
    left = top = 0
    shrink = 1.0
    if number:
        random = np.random.default_rng((seed, number, picture.luma_crc32()))
        long, short = random.uniform(_SHARE[0], 1.0), random.uniform(_SHARE[0], _SHARE[1])
        across, down = (long, short) if random.random() < 0.5 else (short, long)
        width = max(min(_LEAST, width), round(width * across))
        height = max(min(_LEAST, height), round(height * down))
        left = int(random.integers(0, (form.width - width) // 2 + 1)) * 2
        top = int(random.integers(0, (form.height - height) // 2 + 1)) * 2
        if random.random() < 0.5:
            shrink = random.uniform(_SHRINK, 1.0)
    cut = _cropped(picture, left, top, _aligned(width), _aligned(height))
    shrink = max(shrink, min(1.0, _LEAST / min(width, height)))
    shrink = min(shrink, _MOST / max(width, height))
    return _scaled(cut, _aligned(width * shrink), _aligned(height * shrink))


def content_key(picture: Picture) -> str:
    """Return what tells a picture and how it is read apart from all others."""
    found = hashlib.sha256(repr(picture.format).encode())
    for plane in picture.planes:
        found.update(np.ascontiguousarray(plane).data)
    return found.hexdigest()[:32]


def _aligned(side: float) -> int:
    return max(_ALIGN, int(side) // _ALIGN * _ALIGN)


def _cropped(picture: Picture, left: int, top: int, width: int, height: int) -> Picture:
    form = picture.format
    width, height = min(width, form.width - left), min(height, form.height - top)
    sub_x, sub_y = form.subsampling
    y, cb, cr = picture.planes
    made = replace(form, width=width, height=height)
    rows, columns = made.chroma_shape
    chroma = (
        slice(top >> sub_y, (top >> sub_y) + rows),
        slice(left >> sub_x, (left >> sub_x) + columns),
    )
    planes = (y[top : top + height, left : left + width], cb[chroma], cr[chroma])
    return replace(picture, planes=planes, format=made)


def _scaled(picture: Picture, width: int, height: int) -> Picture:
    form = picture.format
    if (width, height) == (form.width, form.height):
        return picture
    made = replace(form, width=width, height=height)

    def scaled(plane: npt.NDArray[np.uint8], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        return np.rint(box_resize(plane, *shape)).astype(plane.dtype)

    y, cb, cr = map(scaled, picture.planes, made.plane_shapes)
    return replace(picture, planes=(y, cb, cr), format=made)
