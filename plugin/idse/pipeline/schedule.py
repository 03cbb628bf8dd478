"""Which frames a network looks at: a function of the source alone, never of speed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from idse.errors import InputError

if TYPE_CHECKING:
    from fractions import Fraction

    from idse.picture import PictureFormat

# Seconds between analyses of one scene. On video the age of the map counts more than its noise: a
# map of 5 s ago does not know where people and cars are now, and costs 8 points of BD-rate or more.
# First halves, yolov4-tiny's output distance against the best of stock, every 1 s and every 0.5 s:
# vtest.avi -14 and -24 %, moving cars -19 and -27 %, a corridor -37 and -38 %, all +-4 or so. Every
# quarter of a second, with one row of the sketch instead of two: -26, -20 and -25 %.
ANALYSE_EVERY = 0.5

# Pictures that wait until the next analysis tells more of them: about as many as x264's own
# lookahead holds, and fewer of large ones.
_WAITING_PICTURES = 50
_WAITING_BYTES = 48 << 20


def waiting_pictures(every: float | None, *, rate: Fraction, form: PictureFormat) -> int:
    """Return how many pictures wait for what comes after them.

    Parameters
    ----------
    every
        Seconds between analyses: beyond the next one nothing more is learned. None: not known.
    rate
        Pictures per second.
    form
        Of one picture.
    """
    samples = sum(rows * columns for rows, columns in form.plane_shapes)
    size = samples * (1 if form.bit_depth == 8 else 2)
    most = min(_WAITING_PICTURES, _WAITING_BYTES // size)
    return most if every is None else min(most, math.ceil(every * rate))


def check_interval(every: float) -> None:
    """Check the time between analyses.

    Raises
    ------
    InputError
        It is no number of seconds, 0 or more.
    """
    if not 0 <= every < math.inf:
        raise InputError(f"analyse_every {every!r} must be a number of seconds, 0 or more")


class Schedule:
    """Analyse at the start, at scene cuts, and when the last analysis is old enough.

    Parameters
    ----------
    every
        Seconds of video between analyses of one scene; 0 analyses every frame.
    """

    def __init__(self, every: float) -> None:
        check_interval(every)
        self._every = every
        self._last: float | None = None

    def due(self, seconds: float, *, cut: bool) -> bool:
        """Tell whether the frame shown at ``seconds`` is to be analysed.

        A frame that is due stays due, for its successors, until :meth:`done` is called.
        """
        if cut:
            self._last = None
        # Half a microsecond: times are sums of rounded durations.
        return self._last is None or seconds - self._last >= self._every - 5e-7

    def done(self, seconds: float) -> None:
        """Note that the frame shown at ``seconds`` was analysed."""
        self._last = seconds
