"""Still pictures as they are handed in: pixels, and what a JPEG file keeps beside them."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from idse.codecs.jpeg import Marker, exif_marker, icc_markers
from idse.codecs.jpeg.markers import APP0, MAX_SEGMENT, orientation
from idse.errors import InputError, describe

if TYPE_CHECKING:
    from collections.abc import Callable

Pixels = npt.NDArray[np.uint8]
# What `idse.encode_jpeg` and everything behind it takes.
ImageLike = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]

# Counter-clockwise degrees that show each EXIF orientation upright (CIPA DC-008, 4.6.5). The
# mirrored ones (2, 4, 5, 7) come out upright but still mirrored: nothing that a network is shown
# has a right and a wrong side, and networks are trained on mirrored pictures anyway.
_ROTATION = {1: 0, 2: 0, 3: 180, 4: 180, 5: 270, 6: 270, 7: 90, 8: 90}
_EXIF_PREFIX = b"Exif\0\0"
_INCH = 1  # the JFIF segment's unit of density
_MOST_DPI = 0xFFFF
_OPAQUE = 255
# Modes of Pillow whose pixels are those of a JPEG, once they have been converted to a mode of its.
_CONVERSIONS = {
    "L": "L",
    "1": "L",
    "RGB": "RGB",
    "RGBX": "RGB",
    "YCbCr": "RGB",
    "P": "RGB",
    "LA": "L",
    "RGBA": "RGB",
    "PA": "RGB",
}
_REFUSED = {
    "CMYK": "is CMYK: convert it to RGB with its colour profile first",
    "I;16": "has 16 bits a sample, and what they mean only you know: scale it to 8 bits first",
    "I": "has 32 bits a sample, and what they mean only you know: scale it to 8 bits first",
    "F": "has floating-point samples: scale it to 8 bits first",
    "LAB": "is L*a*b*: convert it to RGB first",
    "HSV": "is HSV: convert it to RGB first",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceImage:
    """One still picture.

    Attributes
    ----------
    pixels
        uint8 ``(height, width, 3)`` R'G'B', or ``(height, width)`` grey; as stored, not turned.
    name
        For messages.
    exif
        EXIF data, with or without the ``Exif`` prefix; empty where there is none.
    icc
        ICC profile; empty where there is none.
    dpi
        Pixels per inch across and down; None where nothing is said.
    others
        Other segments that its JPEG gets.
    file_bytes
        Size of the file that it came from; None for pixels.
    """

    pixels: Pixels
    name: str = "image"
    exif: bytes = b""
    icc: bytes = b""
    dpi: tuple[int, int] | None = None
    others: tuple[Marker, ...] = ()
    file_bytes: int | None = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or not (
            len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
        ):
            raise InputError(
                f"pixels are {self.pixels.dtype} {shape}, expected uint8 (height, width, 3) or "
                "(height, width)"
            )
        if 0 in shape:
            raise InputError(f"pixels {shape} hold no picture: at least 1x1 is needed")

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.pixels.shape[0])

    @property
    def grey(self) -> bool:
        """Whether there is no colour."""
        return self.pixels.ndim == 2

    @property
    def orientation(self) -> int:
        """EXIF's orientation, 1 to 8."""
        return orientation(self._exif_markers)

    @property
    def rotation(self) -> int:
        """Degrees, counter-clockwise, that a viewer turns the pixels by: 0, 90, 180 or 270."""
        return _ROTATION[self.orientation]

    @property
    def _exif_markers(self) -> tuple[Marker, ...]:
        return (exif_marker(self.exif),) if self.exif and not self.exif_too_long else ()

    @property
    def exif_too_long(self) -> bool:
        """Whether the EXIF data does not fit a JPEG: other formats hold more of it."""
        return len(self.exif.removeprefix(_EXIF_PREFIX)) + len(_EXIF_PREFIX) > MAX_SEGMENT

    @property
    def markers(self) -> tuple[Marker, ...]:
        """Segments that a JPEG keeps beside the pixels: density, EXIF data, ICC profile, others."""
        found = list(self._exif_markers)
        if self.dpi is not None:
            found.insert(0, Marker(APP0, b"JFIF\0" + struct.pack(">BBBHH", 1, 1, _INCH, *self.dpi)))
        if self.icc:
            found += icc_markers(self.icc)
        return (*found, *self.others)


def read_image(source: ImageLike, *, name: str = "image") -> SourceImage:
    """Read a picture.

    Parameters
    ----------
    source
        A path, the bytes of a file of any format that Pillow opens, a Pillow image, or uint8 pixels
        ``(height, width, 3)`` or ``(height, width)``.
    name
        What messages call a picture that has no path.

    Raises
    ------
    InputError
        It cannot be read, has several frames, or has pixels that a JPEG cannot hold: transparent
        ones, CMYK, more than 8 bits.
    """
    if isinstance(source, np.ndarray):
        return SourceImage(pixels=source, name=name)
    if isinstance(source, Image.Image):
        return of_pillow(source, name=name)
    if isinstance(source, bytes):
        return _open(lambda: Image.open(io.BytesIO(source)), name, len(source))
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        if path.is_dir():
            raise InputError(f"cannot read {path}: it is a folder")
        return _open(lambda: Image.open(path), str(path), size)
    raise InputError(
        f"a {type(source).__name__} is no image: give a path, bytes, a Pillow image or uint8 pixels"
    )


def _open(opener: Callable[[], Image.Image], name: str, size: int) -> SourceImage:
    try:
        with opener() as image:
            # Animations have no single picture; the others of an MPO are views of its first.
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":
                raise InputError(f"{name} has {frames} pictures: give one at a time")
            return of_pillow(image, name=name, file_bytes=size)
    except InputError:
        raise
    # Decoders of hostile files raise whatever they like: every kind is the same bad input.
    except Exception as error:
        raise InputError(f"cannot read {name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is no picture of a known format"
    if isinstance(error, OSError):
        return error.strerror or str(error) or describe(error)
    return describe(error)


def of_pillow(image: Image.Image, *, name: str, file_bytes: int | None = None) -> SourceImage:
    """Take the pixels and the metadata of a Pillow image.

    Raises
    ------
    InputError
        A JPEG cannot hold its pixels.
    """
    image.load()
    mode = image.mode
    reason = _REFUSED.get("I;16" if mode.startswith("I;16") else mode)
    if reason is not None or mode not in _CONVERSIONS:
        raise InputError(f"{name} {reason or f'has the unknown mode {mode}: convert it to RGB'}")
    _check_opaque(image, name)
    pixels = np.asarray(image.convert(_CONVERSIONS[mode]))
    return SourceImage(
        pixels=pixels,
        name=name,
        exif=exif_bytes(image.info.get("exif")),
        icc=_bytes(image.info.get("icc_profile")),
        dpi=whole_dpi(image.info.get("dpi")),
        file_bytes=file_bytes,
    )


def _check_opaque(image: Image.Image, name: str) -> None:
    """Refuse pictures that are transparent somewhere: what lies behind them is not ours to say."""
    if "transparency" in image.info and image.mode in {"P", "L", "RGB", "1"}:
        alpha = image.convert("RGBA").getchannel("A")
    elif image.mode in {"LA", "RGBA", "PA"}:
        alpha = image.getchannel("A")
    else:
        return
    least, _ = alpha.getextrema()
    if least != _OPAQUE:
        raise InputError(
            f"{name} has transparent pixels, which a JPEG cannot hold: lay it over a background "
            "first (Image.alpha_composite)"
        )


def exif_bytes(data: Any) -> bytes:  # noqa: ANN401 - Pillow leaves anything in Image.info
    """Return EXIF data as bytes; ``data`` is bytes, `PIL.Image.Exif` or anything else for none."""
    return _bytes(data.tobytes() if isinstance(data, Image.Exif) else data)


def whole_dpi(data: Any) -> tuple[int, int] | None:  # noqa: ANN401
    """Return a density that a JPEG can hold; ``data`` is two numbers, or anything else for none."""
    try:
        across, down = (round(float(value)) for value in data)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
    known = 0 < across <= _MOST_DPI and 0 < down <= _MOST_DPI
    return (across, down) if known else None


def _bytes(data: Any) -> bytes:  # noqa: ANN401
    return bytes(data) if isinstance(data, bytes | bytearray) else b""
