"""What a JPEG says beside its picture: ICC profile, EXIF, comments, and other APPn segments."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

APP0, APP1, APP2, APP14, APP15, COM = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE

MAX_SEGMENT: Final = 65533

_JFIF: Final = b"JFIF\0"
_ADOBE: Final = b"Adobe"
_EXIF: Final = b"Exif\0\0"
_MULTI_PICTURE: Final = b"MPF\0"
_ICC: Final = b"ICC_PROFILE\0"
_ICC_CHUNK: Final = MAX_SEGMENT - len(_ICC) - 2

_ORIENTATION: Final = 0x0112
_SHORT: Final = 3


@dataclass(frozen=True)
class Marker:
    """One COM or APPn segment.

    Attributes
    ----------
    code
        0xE0 to 0xEF (APP0 to APP15) or 0xFE (COM).
    data
        The payload without marker and length: at most 65533 bytes.

    Raises
    ------
    InputError
        The code is another, or the payload is too long.
    """

    code: int
    data: bytes

    def __post_init__(self) -> None:
        if not (APP0 <= self.code <= APP15 or self.code == COM):
            raise InputError(
                f"marker 0x{self.code:X} cannot be kept: only APPn (0xE0 to 0xEF) and COM (0xFE)"
            )
        if len(self.data) > MAX_SEGMENT:
            raise InputError(
                f"a segment of {len(self.data)} bytes does not fit a JPEG: at most {MAX_SEGMENT}"
            )


@dataclass(frozen=True)
class Density:
    """What the JFIF segment says; the defaults are libjpeg's: square pixels, no size.

    Attributes
    ----------
    minor
        Version 1.``minor`` of JFIF.
    unit
        0: only the ratio of ``x`` and ``y`` counts; 1: pixels per inch; 2: per cm.
    x, y
        0 to 65535.
    """

    minor: int = 1
    unit: int = 0
    x: int = 1
    y: int = 1


def icc_markers(profile: bytes) -> tuple[Marker, ...]:
    """Return the APP2 segments that hold an ICC profile (ICC.1:2010, B.4).

    Raises
    ------
    InputError
        The profile is empty, or needs more than 255 segments.
    """
    chunks = [profile[i : i + _ICC_CHUNK] for i in range(0, len(profile), _ICC_CHUNK)]
    if not 1 <= len(chunks) <= 255:
        raise InputError(
            f"an ICC profile of {len(profile)} bytes does not fit a JPEG: 1 to {255 * _ICC_CHUNK}"
        )
    return tuple(
        Marker(APP2, _ICC + bytes((number, len(chunks))) + chunk)
        for number, chunk in enumerate(chunks, 1)
    )


def icc_profile(markers: Iterable[Marker]) -> bytes | None:
    """Return the ICC profile that APP2 segments hold, None without one or with a broken one."""
    found: dict[int, bytes] = {}
    count = 0
    for marker in markers:
        if marker.code != APP2 or not marker.data.startswith(_ICC):
            continue
        head, chunk = marker.data[len(_ICC) : len(_ICC) + 2], marker.data[len(_ICC) + 2 :]
        if len(head) < 2 or head[0] in found or count not in {0, head[1]}:
            return None
        found[head[0]], count = chunk, head[1]
    if not found or sorted(found) != list(range(1, count + 1)):
        return None
    return b"".join(found[number] for number in sorted(found))


def exif_marker(exif: bytes) -> Marker:
    """Return the APP1 segment of EXIF data, with or without its ``Exif`` header.

    Raises
    ------
    InputError
        The data does not fit a segment.
    """
    return Marker(APP1, exif if exif.startswith(_EXIF) else _EXIF + exif)


def orientation(markers: Iterable[Marker]) -> int:
    """Return EXIF's orientation, 1 to 8; 1 (upright) where there is none or it is damaged.

    Of EXIF's structure nothing is followed but one offset to one table of 12-byte entries, so that
    a hostile one can neither fail nor cost time.
    """
    for marker in markers:
        if marker.code == APP1 and marker.data.startswith(_EXIF):
            return _tiff_orientation(marker.data[len(_EXIF) :])
    return 1


def _tiff_orientation(data: bytes) -> int:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        return 1
    (start,) = struct.unpack_from(order + "I", data, 4)
    if start + 2 > len(data):
        return 1
    (count,) = struct.unpack_from(order + "H", data, start)
    table = data[start + 2 : start + 2 + 12 * count]
    for entry in range(0, len(table) - 11, 12):
        tag, kind, values, value = struct.unpack_from(order + "HHIH", table, entry)
        if tag == _ORIENTATION:
            return value if kind == _SHORT and values == 1 and 1 <= value <= 8 else 1
    return 1


def density(markers: Iterable[Marker]) -> Density:
    """Return what a JFIF segment among the markers says, libjpeg's defaults without one."""
    for marker in markers:
        if marker.code == APP0 and marker.data.startswith(_JFIF) and len(marker.data) >= 12:
            major, minor, unit, x, y = struct.unpack_from(">BBBHH", marker.data, len(_JFIF))
            if major == 1:
                return Density(minor, unit, x, y)
    return Density()


def written_as_they_are(markers: Sequence[Marker]) -> list[Marker]:
    """Return the markers that go into a new file unchanged, in their order.

    libjpeg writes the JFIF segment itself. Adobe's says which colour transform was used, which JFIF
    does for what is written here. A multi-picture index (MPF) holds offsets to pictures behind the
    one that was read, which the new file does not have.
    """
    replaced = ((APP0, _JFIF), (APP14, _ADOBE), (APP2, _MULTI_PICTURE))
    return [
        marker
        for marker in markers
        if not any(marker.code == code and marker.data.startswith(tag) for code, tag in replaced)
    ]
