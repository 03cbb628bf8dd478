"""What an encoder gives out: packets and headers, from x264's NAL units."""

from __future__ import annotations

import ctypes
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from idse.codecs.x264 import _raw

if TYPE_CHECKING:
    from idse.picture import PictureFormat

# Profiles whose decoder configuration record tells chroma format and bit depths (ISO/IEC 14496-15,
# 5.3.3.1.2).
_HIGH_PROFILES = {100, 110, 122, 144, 244}
_CHROMA_FORMAT_IDC = {(1, 1): 1, (1, 0): 2, (0, 0): 3}
START_CODE = b"\0\0\0\1"
_VERSION_MARK = b"x264 - core "


@dataclass(frozen=True, slots=True)
class Packet:
    """One coded picture.

    Attributes
    ----------
    data
        One access unit. With global headers NAL units are preceded by their length in four bytes
        (big endian), else by start codes (Annex B).
    pts, dts
        In units of the encoder's time base. The first dts are negative when B-frames are reordered.
    keyframe
        Decoding can start here.
    frame_type
        ``"idr"``, ``"i"``, ``"p"``, ``"bref"`` (a B-frame that others refer to) or ``"b"``.
    """

    data: bytes
    pts: int
    dts: int
    keyframe: bool
    frame_type: str


@dataclass(frozen=True, slots=True)
class Headers:
    """Parameter sets, and x264's own message (SEI): whole NAL units without start codes."""

    sps: bytes
    pps: bytes
    sei: bytes

    @property
    def options(self) -> str:
        """x264's one-line summary of its settings (``"cabac=1 ref=3 ..."``)."""
        match = re.search(rb"options: ([^\0\x80]*)", self.sei)
        return match.group(1).decode("ascii", "replace") if match else ""

    def extradata(self, picture: PictureFormat) -> bytes:
        """Return the AVC decoder configuration record ("avcC", ISO/IEC 14496-15, 5.3.3.1.2)."""
        sps, pps = self.sps, self.pps
        record = bytes([1, sps[1], sps[2], sps[3], 0xFF, 0xE1])  # 4-byte lengths, one SPS
        record += struct.pack(">H", len(sps)) + sps
        record += b"\x01" + struct.pack(">H", len(pps)) + pps
        if sps[1] in _HIGH_PROFILES:
            depth = picture.bit_depth - 8
            chroma = _CHROMA_FORMAT_IDC[picture.subsampling]
            record += bytes([0xFC | chroma, 0xF8 | depth, 0xF8 | depth, 0])
        return record


class NalUnit(NamedTuple):
    """Type and bytes of a NAL unit, without start code."""

    kind: int
    body: bytes

    @property
    def is_version_message(self) -> bool:
        """Whether this is the message in which x264 names itself and its settings."""
        return self.kind == _raw.NAL_SEI and _VERSION_MARK in self.body


def nal_units(nals: Any, count: int, size: int) -> list[NalUnit]:  # noqa: ANN401 (ctypes pointer)
    """Copy ``count`` NAL units out of x264's memory, where they follow each other."""
    if count == 0:
        return []
    memory, start, units = ctypes.string_at(nals[0].p_payload, size), 0, []
    for nal in nals[:count]:
        code = 4 if nal.b_long_startcode else 3
        units.append(NalUnit(nal.i_type, memory[start + code : start + nal.i_payload]))
        start += nal.i_payload
    return units


def headers_from(units: list[NalUnit]) -> Headers:
    """Return what ``x264_encoder_headers`` gave."""
    bodies = {unit.kind: unit.body for unit in units}
    return Headers(bodies[_raw.NAL_SPS], bodies[_raw.NAL_PPS], bodies.get(_raw.NAL_SEI, b""))


def with_lengths(units: list[NalUnit]) -> bytes:
    """Join NAL units, each behind its length in four bytes."""
    return b"".join(struct.pack(">I", len(unit.body)) + unit.body for unit in units)


def with_start_codes(units: list[NalUnit]) -> bytes:
    """Join NAL units behind start codes, four bytes long where x264 makes them so."""
    long = {_raw.NAL_SPS, _raw.NAL_PPS}
    return b"".join(
        START_CODE[0 if index == 0 or unit.kind in long else 1 :] + unit.body
        for index, unit in enumerate(units)
    )


def annex_b(data: bytes) -> bytes:
    """Return what :func:`with_lengths` made, with start codes in place of the lengths."""
    parts: list[bytes] = []
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        parts += [START_CODE, data[position + 4 : position + 4 + size]]
        position += 4 + size
    return b"".join(parts)
