"""What an encoder's process and the sidecar say to each other, version 1.

``native/preload/protocol.h`` is where the protocol is described; this says the same in Python.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TypeAlias

from idse.errors import ProtocolError
from idse.picture import macroblocks

MAGIC = 0x45534449
VERSION = 1
MESSAGE_BYTES = 128
MAX_OPTIONS = 4096
MAX_SLOTS = 64
MAX_SIDE = 16384
# A ring of 64 slots of 4K in 10 bit has 1.6 GB.
MAX_RING = 2 << 30
REASON_BYTES = 112

_HEAD = struct.Struct("<IHH")
_HELLO = struct.Struct("<14If2If8I16x")
_WELCOME = struct.Struct(f"<II{REASON_BYTES}s")
_FRAME = struct.Struct("<qqIIQQQ72x")
_OFFSETS = struct.Struct("<qIIII96x")
_BYE = struct.Struct("<QQQQ88x")
_AREA_ALIGN, _SLOT_ALIGN = 64, 4096


class Kind(IntEnum):
    """Types of messages."""

    HELLO = 1
    WELCOME = 2
    FRAME = 3
    OFFSETS = 4
    END = 5
    BYE = 6
    WORKING = 7


class Chroma(IntEnum):
    """How much chroma there is."""

    GREY = 0
    YUV420 = 1
    YUV422 = 2
    YUV444 = 3


class Arrangement(IntEnum):
    """How chroma lies in memory: two planes, or one of pairs."""

    PLANAR = 0
    PAIRS_CB_CR = 1
    PAIRS_CR_CB = 2


class Interlacing(IntEnum):
    """Whether the encoder codes fields, and which is first."""

    PROGRESSIVE = 0
    TOP_FIRST = 1
    BOTTOM_FIRST = 2


class RateMethod(IntEnum):
    """x264's rate control."""

    CQP = 0
    CRF = 1
    ABR = 2


class SessionFlags(IntFlag):
    """Of HELLO: the encoder does not wait for maps; it can take weights inside macroblocks."""

    LIVE = 1
    WEIGHTS = 2


class Status(IntEnum):
    """Of WELCOME: go on; never; not now."""

    OK = 0
    NEVER = 1
    BUSY = 2


class Outcome(IntEnum):
    """Of OFFSETS: the slot holds them; x264 is to be left to itself; no answer in time."""

    STEERED = 0
    UNSTEERED = 1
    REFUSED = 2


class OffsetsFlags(IntFlag):
    """Of OFFSETS: the slot also holds weights; the picture has a map of its own."""

    HAS_WEIGHTS = 1
    ANALYSED = 2


@dataclass(frozen=True, kw_only=True)
class Hello:
    """What the encoder encodes, and how its ring is laid out; fields as in ``idse_hello``."""

    width: int
    height: int
    chroma: int = Chroma.YUV420
    bit_depth: int = 8
    arrangement: int = Arrangement.PLANAR
    matrix: int = 2
    transfer: int = 2
    full_range: int = 0
    interlaced: int = Interlacing.PROGRESSIVE
    fps_num: int = 25
    fps_den: int = 1
    timebase_num: int = 1
    timebase_den: int = 25
    rate_method: int = RateMethod.CRF
    crf: float = 23.0
    passes: int = 0
    aq_mode: int = 1
    aq_strength: float = 1.0
    mb_tree: int = 1
    mb_cols: int = 0
    mb_rows: int = 0
    slots: int = 1
    flags: int = 0
    options_length: int = 0
    build: int = 0
    pid: int = 0

    def pack(self) -> bytes:
        """Return the message."""
        return _message(Kind.HELLO, _HELLO.pack(*(getattr(self, n) for n in _HELLO_FIELDS)))

    def check(self) -> None:
        """Check that the fields make sense, and that the ring is not too large.

        Raises
        ------
        ProtocolError
            One does not; it is quoted.
        """
        bounds = {
            "width": (1, MAX_SIDE),
            "height": (1, MAX_SIDE),
            "chroma": (0, max(Chroma)),
            "arrangement": (0, max(Arrangement)),
            "full_range": (0, 1),
            "interlaced": (0, max(Interlacing)),
            "fps_num": (1, 2**32),
            "fps_den": (1, 2**32),
            "timebase_num": (1, 2**32),
            "timebase_den": (1, 2**32),
            "rate_method": (0, max(RateMethod)),
            "slots": (1, MAX_SLOTS),
            "flags": (0, SessionFlags.LIVE | SessionFlags.WEIGHTS),
            "options_length": (0, MAX_OPTIONS),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ProtocolError(f"{name} {value} of HELLO is not within {low} to {high}")
        if self.bit_depth not in (8, 10):
            raise ProtocolError(f"bit depth {self.bit_depth} of HELLO is not 8 or 10")
        if not math.isfinite(self.crf):
            raise ProtocolError(f"crf {self.crf} of HELLO is not finite")
        if (self.mb_rows, self.mb_cols) != self.mb_shape:
            raise ProtocolError(
                f"{self.mb_rows}x{self.mb_cols} macroblocks of HELLO are not the {self.mb_shape} of"
                f" {self.width}x{self.height}"
            )
        if self.ring_bytes > MAX_RING:
            raise ProtocolError(
                f"a ring of {self.ring_bytes} bytes is above {MAX_RING}: use less than "
                f"{self.slots} slots"
            )

    @property
    def mb_shape(self) -> tuple[int, int]:
        """Macroblock rows and columns of the size."""
        rows = macroblocks(self.height)
        return rows + (rows % 2 if self.interlaced else 0), macroblocks(self.width)

    @property
    def plane_shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns of luma, and of Cb or Cr."""
        rows, columns = self.height, self.width
        if self.chroma == Chroma.GREY:
            return (rows, columns), (0, 0)
        halved = self.chroma in (Chroma.YUV420, Chroma.YUV422)
        chroma = (rows + 1) // 2 if self.chroma == Chroma.YUV420 else rows
        return (rows, columns), (chroma, (columns + 1) // 2 if halved else columns)

    @property
    def sample_bytes(self) -> int:
        """Bytes of a sample."""
        return 1 if self.bit_depth == 8 else 2

    @property
    def offsets_at(self) -> int:
        """Where offsets begin in a slot."""
        (rows, columns), (chroma_rows, chroma_columns) = self.plane_shapes
        samples = rows * columns + 2 * chroma_rows * chroma_columns
        return _align(samples * self.sample_bytes, _AREA_ALIGN)

    @property
    def weights_at(self) -> int:
        """Where weights begin in a slot."""
        return _align(self.offsets_at + 4 * self.mb_rows * self.mb_cols, _AREA_ALIGN)

    @property
    def slot_bytes(self) -> int:
        """Bytes of a slot."""
        weights = 32 * self.mb_rows * self.mb_cols if self.flags & SessionFlags.WEIGHTS else 0
        return _align(self.weights_at + weights, _SLOT_ALIGN)

    @property
    def ring_bytes(self) -> int:
        """Bytes of the ring."""
        return self.slot_bytes * self.slots


_HELLO_FIELDS = tuple(Hello.__dataclass_fields__)


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """Whether the server takes the session, and how long pictures wait."""

    status: int = Status.OK
    lookahead: int = 0
    reason: str = ""

    def pack(self) -> bytes:
        """Return the message; a reason that is too long is cut."""
        text = " ".join(self.reason.split()).encode()[: REASON_BYTES - 1]
        text = text.decode(errors="ignore").encode()
        return _message(Kind.WELCOME, _WELCOME.pack(self.status, self.lookahead, text))


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A slot holds the next picture; ``deadline`` in microseconds of CLOCK_MONOTONIC, or 0."""

    index: int
    pts: int
    slot: int
    flags: int = 0
    deadline: int = 0
    frames: int = 0
    steered: int = 0

    def pack(self) -> bytes:
        """Return the message."""
        return _message(
            Kind.FRAME,
            _FRAME.pack(
                self.index,
                self.pts,
                self.slot,
                self.flags,
                self.deadline,
                self.frames,
                self.steered,
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Offsets:
    """The answer to a FRAME; ``latency`` in microseconds."""

    index: int
    slot: int
    status: int
    flags: int = 0
    latency: int = 0

    def pack(self) -> bytes:
        """Return the message."""
        return _message(
            Kind.OFFSETS,
            _OFFSETS.pack(self.index, self.slot, self.status, self.flags, self.latency),
        )


@dataclass(frozen=True)
class End:
    """No more frames."""

    def pack(self) -> bytes:
        """Return the message."""
        return _message(Kind.END, bytes(MESSAGE_BYTES - _HEAD.size))


@dataclass(frozen=True)
class Working:
    """The server has got on with a session since it last said something."""

    def pack(self) -> bytes:
        """Return the message."""
        return _message(Kind.WORKING, bytes(MESSAGE_BYTES - _HEAD.size))


@dataclass(frozen=True, kw_only=True)
class Bye:
    """The encoder is closed; what became of its pictures."""

    frames: int = 0
    steered: int = 0
    late: int = 0
    lost: int = 0

    def pack(self) -> bytes:
        """Return the message."""
        return _message(Kind.BYE, _BYE.pack(self.frames, self.steered, self.late, self.lost))


Message: TypeAlias = Hello | Welcome | Frame | Offsets | End | Bye | Working


def unpack(data: bytes) -> Message:
    """Read a message of 128 bytes.

    Raises
    ------
    ProtocolError
        It is none, or of another version.
    """
    magic, version, kind = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise ProtocolError(f"message begins with {magic:#010x}, expected {MAGIC:#010x}")
    if version != VERSION:
        raise ProtocolError(f"message is of protocol version {version}, this is {VERSION}")
    if kind == Kind.HELLO:
        values = _HELLO.unpack_from(data, _HEAD.size)
        return Hello(**dict(zip(_HELLO_FIELDS, values, strict=True)))
    if kind == Kind.WELCOME:
        status, lookahead, reason = _WELCOME.unpack_from(data, _HEAD.size)
        text = reason.split(b"\0")[0].decode(errors="replace")
        return Welcome(status=status, lookahead=lookahead, reason=text)
    for number, message, layout in (
        (Kind.FRAME, Frame, _FRAME),
        (Kind.OFFSETS, Offsets, _OFFSETS),
        (Kind.BYE, Bye, _BYE),
    ):
        if kind == number:
            names = tuple(message.__dataclass_fields__)
            found = dict(zip(names, layout.unpack_from(data, _HEAD.size), strict=True))
            return message(**found)
    if kind == Kind.END:
        return End()
    if kind == Kind.WORKING:
        return Working()
    raise ProtocolError(f"message has the unknown type {kind}")


def _message(kind: Kind, body: bytes) -> bytes:
    return _HEAD.pack(MAGIC, VERSION, kind) + body


def _align(size: int, to: int) -> int:
    return -(-size // to) * to
