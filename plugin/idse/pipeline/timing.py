"""Timestamps between a source, libx264 and a container: exact, whatever x264's clock is."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idse.errors import CodecError

if TYPE_CHECKING:
    from fractions import Fraction


@dataclass(frozen=True, kw_only=True)
class FrameTime:
    """When a frame is shown, in the source's time base."""

    pts: int
    duration: int


class Timeline:
    """Gives x264 a clock that suits it, and every packet the source's own timestamps.

    At a constant frame rate x264 counts frames (time base 1 / rate), as under ffmpeg, so that the
    timing written into the stream, and with it the whole bitstream, is the same. At a variable
    one its clock is the source's. In both cases the container gets the source's timestamps
    unchanged.

    Parameters
    ----------
    time_base
        Of the source's video stream, seconds.
    rate
        Its frame rate, per second.
    constant
        Whether frames come at that rate, give or take the rounding to the time base.
    """

    def __init__(self, *, time_base: Fraction, rate: Fraction, constant: bool) -> None:
        self.encoder_time_base = 1 / rate if constant else time_base
        self._tick = self.encoder_time_base / time_base
        self._waiting: deque[tuple[int, FrameTime]] = deque()  # (encoder pts, source time)
        self._first: tuple[int, FrameTime] | None = None
        self._last = -1
        self._encoder_delay = 0
        self._source_delay = 0

    def push(self, time: FrameTime) -> int:
        """Take the time of the next frame to encode; return its pts for the encoder.

        Times must increase strictly. Encoder pts start at 0 and increase strictly.
        """
        start = time.pts if self._first is None else self._first[1].pts
        pts = max(self._last + 1, round((time.pts - start) / self._tick))
        self._waiting.append((pts, time))
        self._last = pts
        if self._first is None:
            self._first = (pts, time)
        return pts

    def pop(self, pts: int, dts: int) -> tuple[FrameTime, int]:
        """Translate an encoder packet's pts and dts.

        x264's dts is the pts of the frame that is as far back in presentation order as frames are
        reordered, and before that the first pts minus that delay: the same in source time.

        Returns
        -------
        The frame's time and its dts, in the source's time base.
        """
        if self._first is None:
            raise CodecError(f"libx264 returned a packet (pts {pts}) before any frame")
        if dts < 0 and not self._encoder_delay:
            self._encoder_delay = -dts
            self._source_delay = self._find(-dts).pts - self._first[1].pts
        if dts < 0:
            source_dts = self._find(dts + self._encoder_delay).pts - self._source_delay
        else:
            source_dts = self._find(dts).pts
        found = self._find(pts)
        # Later packets have a larger dts, and their pts is no smaller than that.
        while self._waiting and self._waiting[0][0] < min(dts, pts):
            self._waiting.popleft()
        return found, source_dts

    def _find(self, pts: int) -> FrameTime:
        for known, time in self._waiting:
            if known == pts:
                return time
        raise CodecError(f"libx264 returned a timestamp {pts} that no frame had")
