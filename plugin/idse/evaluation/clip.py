"""A clip of a moving camera, made from photographs: real texture, known motion, no video needed."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
from PIL import Image

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# The camera sees at most this share of what fits, so that it can move at the widest view.
_WIDEST, _CLOSEST = 0.96, 0.72


def camera_path(
    photo: Image.Image, size: tuple[int, int], frames: int
) -> Iterator[tuple[float, float, float, float]]:
    """Yield the box (left, top, right, bottom) in a photo that the camera sees, per frame.

    The camera moves from one corner of the photo to the other and closes in, starting and stopping
    smoothly; positions are fractions of a pixel, so that no two frames are copies.
    """
    width, height = size
    scale = min(photo.width / width, photo.height / height)
    for n in range(frames):
        t = (1 - math.cos(math.pi * n / max(1, frames - 1))) / 2
        zoom = scale * (_WIDEST + (_CLOSEST - _WIDEST) * t)
        w, h = width * zoom, height * zoom
        # The long way round where the photo is of another shape than the view.
        left = (photo.width - w) * (0.1 + 0.6 * t)
        top = (photo.height - h) * (0.9 - 0.6 * t)
        yield left, top, left + w, top + h


def moving_camera_clip(
    photos: Sequence[Path],
    path: Path,
    *,
    size: tuple[int, int] = (640, 480),
    frames_per_photo: int = 48,
    fps: int = 24,
) -> int:
    """Write a clip that pans and zooms over photographs, one after the other, without loss.

    Parameters
    ----------
    photos
        Files that Pillow reads, each at least 64 pixels on a side.
    path
        Matroska file to write: FFV1, 4:2:0, 8 bit, BT.601.
    size
        Width and height of the clip, both even.
    frames_per_photo, fps
        Length and rate.

    Returns
    -------
    Number of frames.

    Raises
    ------
    InputError
        A photo cannot be read or is too small.
    """
    count = 0
    with av.open(path, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=Fraction(fps))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for name in photos:
            photo = _open(name)
            for box in camera_path(photo, size, frames_per_photo):
                view = photo.resize(size, Image.Resampling.BICUBIC, box=box)
                frame = av.VideoFrame.from_ndarray(np.asarray(view), format="rgb24")
                frame.pts = count
                container.mux(stream.encode(frame))
                count += 1
        container.mux(stream.encode(None))
    return count


def _open(name: Path) -> Image.Image:
    try:
        with Image.open(name) as image:
            photo = image.convert("RGB")
    except OSError as error:
        raise InputError(f"photograph {name} cannot be read: {error}") from error
    if min(photo.size) < 64:
        raise InputError(f"photograph {name} is {photo.width}x{photo.height}, at least 64 needed")
    return photo
