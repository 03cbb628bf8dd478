"""Images and clips that somebody drops on the page: decoded in memory, from few formats."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING

import av
import numpy as np
from PIL import Image, ImageOps

from idse.errors import InputError
from idse.pipeline.frames import picture_format, resized

if TYPE_CHECKING:
    from collections.abc import Iterator

    from idse.picture import Picture

# Pictures are made this small before anything else: it is to be looked at, and soon.
_SIDE = 640
_MOST_FRAMES = 24
_MOST_PIXELS = 40_000_000
_IMAGES = ("JPEG", "PNG", "WEBP", "BMP")
# FFmpeg's demuxers by what files of theirs begin with, and where. No other is tried: some formats,
# such as playlists, name further files.
_CLIPS = ((4, b"ftyp", "mov"), (0, b"\x1aE\xdf\xa3", "matroska"))


def read_upload(data: bytes) -> tuple[list[Picture], Fraction]:
    """Decode an image, or the beginning of a clip.

    Parameters
    ----------
    data
        A JPEG, PNG, WebP or BMP file, or an mp4, mov, mkv or webm file.

    Returns
    -------
    Up to 24 pictures, 4:2:0 of 8 bit and at most 640 samples a side, and how many there are a
    second.

    Raises
    ------
    InputError
        It is something else, damaged, or too large.
    """
    for at, magic, form in _CLIPS:
        if data[at : at + len(magic)] == magic:
            return _clip(data, form)
    return [_small(av.VideoFrame.from_ndarray(_image(data), "rgb24"), 0)], Fraction(25)


def _image(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    try:
        with Image.open(io.BytesIO(data), formats=_IMAGES) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise InputError(
                    f"an image of {image.width}x{image.height} has more than {_MOST_PIXELS} pixels"
                )
            image.draft("RGB", (_SIDE, _SIDE))
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"this is no image ({', '.join(_IMAGES)}) and no mp4, mov, mkv or webm file: {error}"
        ) from error


def _clip(data: bytes, form: str) -> tuple[list[Picture], Fraction]:
    try:
        with av.open(io.BytesIO(data), "r", format=form) as container:
            if not container.streams.video:
                raise InputError("this file has no video")
            stream = container.streams.video[0]
            if stream.width * stream.height > _MOST_PIXELS:
                raise InputError(f"video of {stream.width}x{stream.height} is too large")
            frames: Iterator[av.VideoFrame] = container.decode(stream)
            pictures = [_small(f, n) for n, f in enumerate(islice(frames, _MOST_FRAMES))]
            rate = stream.guessed_rate or stream.average_rate
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"this clip cannot be decoded: {error}") from error
    if not pictures:
        raise InputError("this clip has no picture that can be decoded")
    size = pictures[0].format.plane_shapes
    same = [item for item in pictures if item.format.plane_shapes == size]
    usable = rate is not None and 1 <= rate <= 240
    return same, rate if usable and rate is not None else Fraction(25)


def _small(frame: av.VideoFrame, index: int) -> Picture:
    if frame.width * frame.height > _MOST_PIXELS:
        raise InputError(f"a picture of {frame.width}x{frame.height} is too large")
    scale = min(1.0, _SIDE / max(frame.width, frame.height))
    # 4:2:0 has even sides.
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    form = replace(picture_format(frame), width=width, height=height, pix_fmt="yuv420p", rotation=0)
    return resized(frame, form, index)[1]
