"""Views of pictures to learn from: whole ones, crops of many sizes and shapes, and mosaics."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from idse.errors import InputError
from idse.learned.student.resize import box_resize

if TYPE_CHECKING:
    from collections.abc import Sequence

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
# Width and height of mosaics, where they are cut, and down to what pictures in them are scaled.
_MOSAICS = ((640, 480), (640, 416), (480, 640), (496, 368), (480, 320))
_CUT = (0.35, 0.65)
_TILE_SHRINK = 0.25


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


def mosaic(pictures: Sequence[Picture], number: int, *, seed: int = 0) -> Picture:
    """Return a picture that shows parts of others side by side.

    Teachers say what they see in it as in any other picture, and the same things beside others and
    at other scales are worth something where there are few photographs.

    Parameters
    ----------
    pictures
        2 to 4, of one format but for their sizes, 8 bit or 10 and upright.
    number, seed
        All that the mosaic depends on beside the pictures.

    Returns
    -------
    Picture
        320 to 640 samples per side. Tiles meet at edges of macroblocks; half of them are mirrored.

    Raises
    ------
    InputError
        There are fewer or more pictures, or their formats differ.
    """
    if not 2 <= len(pictures) <= 4:
        raise InputError(f"a mosaic of {len(pictures)} pictures: expected 2 to 4")
    random = np.random.default_rng((seed, number))
    width, height = _MOSAICS[random.integers(len(_MOSAICS))]
    made = replace(pictures[0].format, width=width, height=height)
    y, cb, cr = (np.zeros(shape, pictures[0].planes[0].dtype) for shape in made.plane_shapes)
    for item, tile in zip(pictures, _tiles(random, len(pictures), width, height), strict=True):
        if replace(item.format, width=width, height=height) != made or made.rotation:
            raise InputError(f"a mosaic of {pictures[0].format} and {item.format}: expected one")
        left, top, across, down = tile
        part = _part(random, item, across, down)
        step = -1 if random.random() < 0.5 else 1
        for plane, samples, (rows, columns) in zip(
            (y, cb, cr), part.planes, part.format.plane_shapes, strict=True
        ):
            # Chroma's edges are where luma's are, in its own samples.
            first, begin = top * rows // down, left * columns // across
            plane[first : first + rows, begin : begin + columns] = samples[:, ::step]
    return replace(pictures[0], planes=(y, cb, cr), format=made)


def _tiles(
    random: np.random.Generator, count: int, width: int, height: int
) -> list[tuple[int, int, int, int]]:
    """Cut a plane into 2 to 4 parts: left, top, width and height of each."""
    x, y = (int(n * random.uniform(*_CUT)) // 16 * 16 for n in (width, height))
    columns = [(0, x), (x, width - x)]
    rows = [(0, y), (y, height - y)]
    if count == 2 and random.random() < 0.5:
        return [(0, top, width, down) for top, down in rows]
    if count == 2:
        return [(left, 0, across, height) for left, across in columns]
    found = [(left, top, across, down) for top, down in rows for left, across in columns]
    # Of three, the first is as wide as two.
    return found if count == 4 else [(0, 0, width, y), *found[2:]]


def _part(random: np.random.Generator, picture: Picture, width: int, height: int) -> Picture:
    """Return a part of a picture in the size of a tile."""
    form = picture.format
    # Luma samples per sample of the tile: as many as there are at most.
    most = min(form.width / width, form.height / height)
    scale = most if most < 1 else min(most, 1 / _TILE_SHRINK) ** random.uniform()
    across, down = (_aligned(n * scale) for n in (width, height))
    left = int(random.integers(0, max(0, form.width - across) // 2 + 1)) * 2
    top = int(random.integers(0, max(0, form.height - down) // 2 + 1)) * 2
    return _scaled(_cropped(picture, left, top, across, down), width, height)


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
