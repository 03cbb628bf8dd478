"""Images as R'G'B', which is what JPEG encoders are given and their decoders give out."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from idse.errors import InputError
from idse.evaluation.filtering import filter_frames
from idse.picture import Picture, PictureFormat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from idse.evaluation.sources import Images

RGB = npt.NDArray[np.uint8]  # (rows, columns, 3)
# What `Images.pix_fmt` says of such pictures.
RGB24 = "rgb24"
# libswscale filters it plane by plane; packed R'G'B' would lose half of the colour's resolution.
_PLANAR = "gbrp"
# JFIF 1.02, "Conversion to and from RGB". Pillow's own conversion rounds down.
_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_OFFSET = np.array([[0], [128], [128]], np.float32)


def read_pixels(path: Path) -> RGB:
    """Read an image file.

    Raises
    ------
    InputError
        Pillow cannot read it.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise InputError(f"image {path} cannot be read: {error}") from error


def filter_pixels(images: Iterable[RGB], chain: str) -> Iterator[RGB]:
    """Run an FFmpeg filter over every image by itself.

    Parameters
    ----------
    images
        Of any sizes.
    chain
        As for ``ffmpeg -vf``.

    Raises
    ------
    InputError
        FFmpeg does not take the filter, or it gives out no picture.
    """
    frames = (av.VideoFrame.from_ndarray(rgb, format=RGB24) for rgb in images)
    planar = (frame.reformat(format=_PLANAR) for frame in frames)
    for frame in filter_frames(planar, chain):
        yield np.asarray(frame.to_ndarray(format=RGB24), np.uint8)


def jfif_picture(rgb: RGB, index: int) -> Picture:
    """Return an image as the Y'CbCr that judges take: JFIF's, 4:4:4, rounded to 8 bits.

    Sources and what was decoded go the same way, so what rounding changes is the same in both up to
    half a code value.
    """
    rows, columns, _ = rgb.shape
    exact = _YCBCR @ rgb.reshape(-1, 3).T.astype(np.float32) + _OFFSET
    codes = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
    y, cb, cr = codes.reshape(3, rows, columns)
    form = PictureFormat(width=columns, height=rows, pix_fmt="yuvj444p", full_range=True)
    return Picture(planes=(y, cb, cr), format=form, index=index)


def decode_jpegs(files: Sequence[bytes], source: Images) -> Iterator[Picture]:
    """Decode JPEG files by Pillow's libjpeg-turbo, as what trains and runs on images does.

    Parameters
    ----------
    files
        One of every picture of ``source``.
    source
        What was encoded.

    Raises
    ------
    InputError
        A file cannot be decoded, or into an image of another size.
    """
    for index, (data, rgb) in enumerate(zip(files, source.pixels(), strict=True)):
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                decoded = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise InputError(f"{source.paths[index]}: its JPEG is damaged: {error}") from error
        if decoded.shape != rgb.shape:
            raise InputError(
                f"{source.paths[index]}: its JPEG is {decoded.shape}, expected {rgb.shape}"
            )
        yield jfif_picture(decoded, index)
