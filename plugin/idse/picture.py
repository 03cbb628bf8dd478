"""Pictures as decoded: planes of Y'CbCr code values and what is needed to read them.

This is the one description of a picture that every floor shares. It holds no pixels of its own:
planes are views of whoever decoded them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

Plane = npt.NDArray[Any]  # uint8 or uint16, (rows, columns); rows may be padded (strided)

# (horizontal, vertical) log2 chroma subsampling and bit depth of the formats that libx264 takes.
_FORMATS: dict[str, tuple[int, int, int]] = {
    "yuv420p": (1, 1, 8),
    "yuvj420p": (1, 1, 8),
    "yuv422p": (1, 0, 8),
    "yuvj422p": (1, 0, 8),
    "yuv444p": (0, 0, 8),
    "yuvj444p": (0, 0, 8),
    "yuv420p10le": (1, 1, 10),
    "yuv422p10le": (1, 0, 10),
    "yuv444p10le": (0, 0, 10),
}

MACROBLOCK = 16


def macroblocks(samples: int) -> int:
    """Return how many macroblocks cover a side of so many luma samples."""
    return -(-samples // MACROBLOCK)


@dataclass(frozen=True, kw_only=True)
class PictureFormat:
    """Size, sampling and colour description of decoded pictures.

    Attributes
    ----------
    width, height
        Luma samples, any positive size.
    pix_fmt
        FFmpeg's name of a planar Y'CbCr format, 8 or 10 bit (see ``PIX_FMTS``).
    matrix
        ``"bt709"``, ``"bt601"`` or ``"bt2020nc"``: the matrix of ITU-T H.273.
    full_range
        True where luma spans the whole code range, False for 16..235 (scaled to the depth).
    transfer
        ``"sdr"``, ``"pq"`` (SMPTE ST 2084) or ``"hlg"`` (ARIB STD-B67).
    rotation
        Degrees, counter-clockwise, that a player turns the decoded picture by: 0, 90, 180 or 270.
    siting
        Where chroma that has half of luma's columns lies: ``"left"``, beside the left one of two
        luma samples (H.264's chroma_sample_loc_type 0, also where a stream says nothing), or
        ``"center"``, between them (JFIF 1.02, section "Spatial relationship of components"). Lines
        of chroma lie between two of luma in both.
    """

    width: int
    height: int
    pix_fmt: str = "yuv420p"
    matrix: str = "bt601"
    full_range: bool = False
    transfer: str = "sdr"
    rotation: int = 0
    siting: str = "left"

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InputError(f"picture size {self.width}x{self.height} must be at least 1x1")
        if self.pix_fmt not in _FORMATS:
            raise InputError(
                f"pixel format {self.pix_fmt!r} is not one of {', '.join(sorted(_FORMATS))}"
            )
        if self.matrix not in {"bt709", "bt601", "bt2020nc"}:
            raise InputError(f"colour matrix {self.matrix!r} is not bt709, bt601 or bt2020nc")
        if self.transfer not in {"sdr", "pq", "hlg"}:
            raise InputError(f"transfer {self.transfer!r} is not sdr, pq or hlg")
        if self.rotation not in {0, 90, 180, 270}:
            raise InputError(f"rotation {self.rotation!r} is not 0, 90, 180 or 270 degrees")
        if self.siting not in {"left", "center"}:
            raise InputError(f"chroma siting {self.siting!r} is not left or center")

    @property
    def bit_depth(self) -> int:
        """Bits per sample: 8 or 10."""
        return _FORMATS[self.pix_fmt][2]

    @property
    def subsampling(self) -> tuple[int, int]:
        """Log2 of the horizontal and vertical chroma subsampling: (1, 1) for 4:2:0."""
        return _FORMATS[self.pix_fmt][:2]

    @property
    def chroma_shape(self) -> tuple[int, int]:
        """Rows and columns of each chroma plane."""
        sx, sy = self.subsampling
        return (self.height + sy) >> sy, (self.width + sx) >> sx

    @property
    def plane_shapes(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Rows and columns of Y, Cb and Cr."""
        return (self.height, self.width), self.chroma_shape, self.chroma_shape

    @property
    def mb_shape(self) -> tuple[int, int]:
        """Macroblock rows and columns of a progressive encode."""
        return macroblocks(self.height), macroblocks(self.width)

    def check_planes(self, planes: Sequence[Plane]) -> None:
        """Check that planes are what this format says.

        Raises
        ------
        InputError
            They are not three numpy arrays, or one has another shape or dtype.
        """
        if len(planes) != 3:
            raise InputError(f"{len(planes)} planes were given, expected 3 (Y, Cb, Cr)")
        dtype = np.dtype(np.uint8 if self.bit_depth == 8 else np.uint16)
        for name, plane, shape in zip(("Y", "Cb", "Cr"), planes, self.plane_shapes, strict=True):
            if not isinstance(plane, np.ndarray):
                raise InputError(
                    f"plane {name} is a {type(plane).__name__}, expected a numpy array"
                )
            if plane.shape != shape or plane.dtype != dtype:
                raise InputError(
                    f"plane {name} is {plane.dtype} {plane.shape}, expected {dtype} {shape} for "
                    f"{self.pix_fmt} {self.width}x{self.height}"
                )


PIX_FMTS: tuple[str, ...] = tuple(_FORMATS)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One decoded picture.

    Attributes
    ----------
    planes
        Y, Cb, Cr: uint8 for 8 bit, uint16 (native order) for 10 bit; shapes
        ``format.plane_shapes``. The last axis is contiguous, rows may
        be strided.
    format
        How to read them.
    index
        Number of the frame in decoding output order, from 0.
    pts
        Presentation time in units of the stream's time base; None when the container has none.
    """

    planes: tuple[Plane, Plane, Plane]
    format: PictureFormat
    index: int = 0
    pts: int | None = None

    def __post_init__(self) -> None:
        self.format.check_planes(self.planes)

    def luma_crc32(self) -> int:
        """CRC-32 of the luma samples, row by row: ties an importance map to its picture."""
        crc = 0
        for row in self.planes[0]:
            crc = zlib.crc32(np.ascontiguousarray(row).data, crc)
        return crc
