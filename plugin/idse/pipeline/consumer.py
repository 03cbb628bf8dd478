"""Which frames whoever watches the video looks at."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from idse.errors import InputError

if TYPE_CHECKING:
    from idse.pipeline.timing import FrameTime


def check_fps(fps: float) -> None:
    """Check a rate at which frames are looked at.

    Raises
    ------
    InputError
        It is no number above 0.
    """
    if not 0 < fps < math.inf:
        raise InputError(f"consumer_fps {fps!r} must be a number of frames per second above 0")


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
        check_fps(fps)
        # 29.97 stands for 30000/1001, and 0.3333 for a third.
        self._ticks = Fraction(fps).limit_denominator(1001) or Fraction(fps)
        self._time_base = time_base
        self._first: int | None = None
        self._before = 0

    def looks(self, time: FrameTime) -> float:
        """Tell how much the next frame counts: 0 where it is not read, 1 on average over all.

        Call it for every frame, in order. A frame takes the instants from the middle between it and
        the frame before to the middle between it and the next one, which its duration tells.
        """
        rate = self._ticks * self._time_base
        if self._first is None:
            self._first = time.pts
            instants = 1
        else:
            begin = Fraction(self._before + time.pts, 2) - self._first
            end = time.pts + Fraction(time.duration, 2) - self._first
            instants = math.floor(end * rate) - math.floor(begin * rate)
        self._before = time.pts
        if instants < 1:
            return 0.0
        # A frame that is read stands for those around it that are not.
        return max(1.0, float(1 / (rate * time.duration)) if time.duration > 0 else 1.0)
