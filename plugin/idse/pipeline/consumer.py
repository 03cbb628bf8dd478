"""Which frames whoever watches the video looks at."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from idse.errors import InputError

if TYPE_CHECKING:
    from idse.pipeline.timing import FrameTime


class Consumer:
    """Reads a video at a constant rate: the frames nearest to multiples of ``1 / fps`` seconds.

    Time counts from the first frame, which is read. At a rate above the video's all frames are.

    Parameters
    ----------
    fps
        Frames per second that are read, above 0.
    time_base
        Of the frames' times, seconds.

    Raises
    ------
    InputError
        The rate is no number above 0.
    """

    def __init__(self, fps: float, time_base: Fraction) -> None:
        if not 0 < fps < math.inf:
            raise InputError(f"consumer_fps {fps!r} must be a number of frames per second above 0")
        # 29.97 stands for 30000/1001, and 0.3333 for a third.
        self._ticks = Fraction(fps).limit_denominator(1001) or Fraction(fps)
        self._time_base = time_base
        self._first: int | None = None
        self._before = 0

    def reads(self, time: FrameTime) -> bool:
        """Tell whether the next frame is read.

        Call it for every frame, in order. A frame takes the instants from the middle between it and
        the frame before to the middle between it and the next one, which its duration tells.
        """
        if self._first is None:
            self._first = self._before = time.pts
            return True
        begin = Fraction(self._before + time.pts, 2) - self._first
        end = time.pts + Fraction(time.duration, 2) - self._first
        self._before = time.pts
        scale = self._ticks * self._time_base
        return math.floor(end * scale) > math.floor(begin * scale)
