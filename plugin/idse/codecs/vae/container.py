"""The file around a stream: what a decoder must know before it starts.

Version 1, all numbers big-endian::

    offset  bytes
         0      4  magic "IVAE"
         4      1  version: 1
         5      8  identity of the model: the first bytes of its SHA-256
        13      2  width, in samples
        15      2  height
        17      2  step, signed: 1024 times the binary logarithm of the quantisation step
        19      4  length of the payload
        23      4  CRC-32 of the 23 bytes above and the payload
        27      .  payload: range-coded hyper latents (where the model has any), then latents, band
                   after band

Nothing may follow the payload. Bands are as many rows of the model's coarsest latents as have 4096
latents per feature map between them (at least one row).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from idse.errors import InputError

MAGIC: Final = b"IVAE"
VERSION: Final = 1
IDENTITY_BYTES: Final = 8
MAX_SIDE: Final = (1 << 16) - 1

# So many pixels take 600 MB to decode with 192 feature maps at 1/16, besides a tile's share.
MAX_PIXELS: Final = 100_000_000
MAX_BYTES: Final = 1 << 28

_FIELDS: Final = struct.Struct(">4sB8sHHhI")
_CHECKSUM: Final = struct.Struct(">I")
HEADER_BYTES: Final = _FIELDS.size + _CHECKSUM.size

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a stream says about itself.

    Attributes
    ----------
    identity
        First 8 bytes of the model's SHA-256.
    width, height
        Of the picture, 1 to 65535.
    step
        1024 times the binary logarithm of the quantisation step.
    payload_bytes
        Of the entropy-coded part.
    """

    identity: bytes
    width: int
    height: int
    step: int
    payload_bytes: int

    @property
    def bytes(self) -> int:
        """Size of the whole file."""
        return HEADER_BYTES + self.payload_bytes

    @property
    def bpp(self) -> float:
        """Bits of the whole file per pixel."""
        return 8 * self.bytes / (self.width * self.height)


def pack(header: Header, payload: bytes) -> bytes:
    """Return a file; ``header.payload_bytes`` is the payload's."""
    fields = _FIELDS.pack(
        MAGIC,
        VERSION,
        header.identity,
        header.width,
        header.height,
        header.step,
        header.payload_bytes,
    )
    checksum = zlib.crc32(payload, zlib.crc32(fields))
    return fields + _CHECKSUM.pack(checksum) + payload


def read_header(data: Buffer, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Read what a file says about itself, and check that it is whole.

    Parameters
    ----------
    data
        The file, at most 256 MiB.
    max_pixels
        Larger pictures are refused.

    Raises
    ------
    InputError
        Not a VAE stream, of a later version, cut short, damaged, or too large.
    """
    size = memoryview(data).nbytes
    if size > MAX_BYTES:
        raise InputError(f"this file has {size} bytes; a VAE stream has at most {MAX_BYTES}")
    if bytes(data[:4]) != MAGIC:
        raise InputError(f"not a VAE stream: it starts with {bytes(data[:4])!r}, not {MAGIC!r}")
    if size < HEADER_BYTES:
        raise InputError(f"this VAE stream is cut short: {size} bytes of its header")
    if data[4] != VERSION:
        raise InputError(
            f"this VAE stream is of version {data[4]}; this idse reads version {VERSION}"
        )
    _, _, identity, width, height, step, payload = _FIELDS.unpack_from(data)
    if size != HEADER_BYTES + payload:
        raise InputError(
            f"this VAE stream is damaged: it has {size} bytes and says {HEADER_BYTES + payload}"
        )
    (checksum,) = _CHECKSUM.unpack_from(data, _FIELDS.size)
    view = memoryview(data)
    if zlib.crc32(view[HEADER_BYTES:], zlib.crc32(view[: _FIELDS.size])) != checksum:
        raise InputError("this VAE stream is damaged: its checksum is wrong")
    if not (width and height):
        raise InputError(f"this VAE stream is damaged: its picture has {width}x{height} pixels")
    if width * height > max_pixels:
        raise InputError(f"this picture has {width}x{height} pixels; the limit is {max_pixels}")
    return Header(
        identity=identity,
        width=width,
        height=height,
        step=step,
        payload_bytes=payload,
    )
