"""JPEG files to coefficients and to pixels."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from idse.codecs.jpeg import _raw
from idse.codecs.jpeg.layout import SAMPLINGS, JpegLayout
from idse.codecs.jpeg.markers import Marker, icc_profile, orientation
from idse.errors import CodecError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Colour = Literal["rgb", "grey", "ycc"]
Buffer = bytes | bytearray | memoryview

# Where Pillow calls a picture a decompression bomb.
MAX_PIXELS: Final = 178_956_970

_ACTION: Final = "cannot read this JPEG"

_COLOURS: Final[dict[Colour, int]] = {"grey": _raw.GREY, "rgb": _raw.RGB, "ycc": _raw.YCC}


@dataclass(frozen=True, kw_only=True, eq=False)
class JpegFile:
    """A JPEG file without its pixels.

    Attributes
    ----------
    layout
        Size and sampling.
    coefficients : list of int16 arrays
        Quantised DCT coefficients of each component, ``(rows, columns, 8, 8)`` in natural order;
        ``layout.block_shape`` says how many.
    tables : list of uint16 arrays
        Quantisation table of each component, ``(8, 8)`` in natural order.
    progressive
        Of several scans per component, rather than sequential.
    restart_interval
        MCUs between restart markers in the first scan; 0 without them.
    markers
        The COM and APPn segments before the first scan, in their order.
    """

    layout: JpegLayout
    coefficients: list[npt.NDArray[np.int16]]
    tables: list[npt.NDArray[np.uint16]]
    progressive: bool
    restart_interval: int
    markers: tuple[Marker, ...]

    @cached_property
    def orientation(self) -> int:
        """EXIF's orientation, 1 to 8: how to turn the pixels upright; 1 where nothing says so."""
        return orientation(self.markers)

    @cached_property
    def icc(self) -> bytes | None:
        """The ICC profile, None without one."""
        return icc_profile(self.markers)


def read(data: Buffer, *, max_pixels: int = MAX_PIXELS) -> JpegFile:
    """Read a JPEG's quantised coefficients, tables and markers, without decoding a pixel.

    Releases the GIL while libjpeg-turbo works, and may be called by many threads at once.

    Parameters
    ----------
    data
        The file.
    max_pixels
        Larger pictures are refused before memory is spent on them.

    Raises
    ------
    InputError
        Not a JPEG, cut short or corrupt (libjpeg's own words say how); a kind that is not read:
        CMYK, more than 8 bits, arithmetic-coded, lossless, hierarchical; coded as RGB; a chroma
        sampling other than 4:2:0, 4:2:2 and 4:4:4; too large, of more than 100 scans, or of more
        than 4096 COM and APPn segments.
    CodecError
        Out of memory.
    """
    with _opened(data, max_pixels) as (handle, header):
        layout, markers = _layout(header), _markers(handle, header.markers)
        shapes = [layout.block_shape(i) for i in range(layout.components)]
        coefficients = [np.empty((*shape, 8, 8), np.int16) for shape in shapes]
        tables = _raw.Tables()
        pointers = _raw.Pointers(*(array.ctypes.data for array in coefficients))
        _call(handle, _raw.library().idse_jpeg_read_coefficients, pointers, tables)
        return JpegFile(
            layout=layout,
            coefficients=coefficients,
            tables=[np.array(t, np.uint16).reshape(8, 8) for t in tables[: layout.components]],
            progressive=bool(header.progressive),
            restart_interval=header.restart_interval,
            markers=markers,
        )


def decode(
    data: Buffer, *, colour: Colour = "rgb", max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Decode a JPEG to pixels, as libjpeg-turbo does by default.

    Any chroma sampling is read. EXIF's orientation is not applied. Releases the GIL while
    libjpeg-turbo works, and may be called by many threads at once.

    Parameters
    ----------
    data
        The file.
    colour
        ``"rgb"``, ``"grey"`` (Y alone), or ``"ycc"`` (full-range BT.601 Y, Cb, Cr, chroma
        upsampled).
    max_pixels
        Larger pictures are refused before memory is spent on them.

    Returns
    -------
    numpy.ndarray
        uint8 ``(height, width, 3)``, for ``"grey"`` ``(height, width)``.

    Raises
    ------
    InputError
        As ``read`` raises it, but for samplings; RGB files cannot be had as ``"ycc"``.
    CodecError
        Out of memory.
    """
    if colour not in _COLOURS:
        raise InputError(f"colour {colour!r} is unknown: use one of {', '.join(_COLOURS)}")
    with _opened(data, max_pixels) as (handle, header):
        # libjpeg makes no Y'CbCr of grey.
        neutral = colour == "ycc" and header.colour == _raw.GREY
        wanted = "grey" if neutral else colour
        shape = (header.height, header.width) + (() if wanted == "grey" else (3,))
        pixels = np.empty(shape, np.uint8)
        read_pixels = _raw.library().idse_jpeg_read_pixels
        _call(handle, read_pixels, _COLOURS[wanted], pixels.ctypes.data)
        if neutral:
            grey = np.full_like(pixels, 128)
            return np.stack((pixels, grey, grey), axis=-1)
        return pixels


def library_version() -> str:
    """Return the version of the libjpeg-turbo that reads and writes, like ``"2.1.5"``.

    Raises
    ------
    LibraryLoadError
        It cannot be loaded.
    """
    return _raw.version(_raw.library())


@contextmanager
def _opened(data: Buffer, max_pixels: int) -> Iterator[tuple[int, _raw.Header]]:
    """Yield a reader's handle and header; both end with the context."""
    lib = _raw.library()
    source = np.frombuffer(data, np.uint8)  # keeps the buffer in place while it is read
    header, status = _raw.Header(), ctypes.c_int()
    handle = lib.idse_jpeg_open(
        source.ctypes.data, source.size, max_pixels, ctypes.byref(header), ctypes.byref(status)
    )
    if not handle:
        raise CodecError(f"{_ACTION}: out of memory")
    try:
        if status.value != _raw.OK:
            raise _raw.error(status.value, _ACTION, lib.idse_jpeg_problem(handle))
        yield handle, header
    finally:
        lib.idse_jpeg_close(handle)


def _call(handle: int, function: ctypes._NamedFuncPointer, *arguments: object) -> None:
    status = function(handle, *arguments)
    if status != _raw.OK:
        raise _raw.error(status, _ACTION, _raw.library().idse_jpeg_problem(handle))


def _layout(header: _raw.Header) -> JpegLayout:
    count = header.components
    factors = list(zip(header.horizontal[:count], header.vertical[:count], strict=True))
    if header.colour == _raw.RGB:
        raise InputError(
            "cannot read this JPEG's coefficients: it is coded as RGB, not as Y'CbCr; decode() "
            "reads its pixels"
        )
    if count == 1:
        return JpegLayout(header.width, header.height, "grey")
    # Only the ratios to the largest factor count: 2x2, 2x2, 2x2 is 4:4:4, too.
    for name, known in SAMPLINGS.items():
        if len(known) == count and _ratios(known) == _ratios(factors):
            return JpegLayout(header.width, header.height, name)
    told = ", ".join(f"{h}x{v}" for h, v in factors)
    raise InputError(
        f"cannot read this JPEG's coefficients: its sampling (factors {told}) is none of "
        f"{', '.join(SAMPLINGS)}; decode() reads its pixels"
    )


def _ratios(factors: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    widest, tallest = map(max, zip(*factors, strict=True))
    return [(horizontal / widest, vertical / tallest) for horizontal, vertical in factors]


def _markers(handle: int, count: int) -> tuple[Marker, ...]:
    lib = _raw.library()
    found = []
    marker = _raw.Marker()
    for index in range(count):
        lib.idse_jpeg_get_marker(handle, index, ctypes.byref(marker))
        found.append(Marker(marker.code, ctypes.string_at(marker.data, marker.size)))
    return tuple(found)
