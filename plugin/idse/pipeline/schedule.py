"""Which frames a network looks at: a function of the source alone, never of speed."""

from __future__ import annotations

from idse.errors import InputError

# Seconds between analyses of one scene. Every second gains 6 points of BD-rate more and costs twice
# as much, which two processors cannot pay within 1.5 times the time of x264 alone
# (tools/bench/results/defaults.md).
ANALYSE_EVERY = 5.0


class Schedule:
    """Analyse at the start, at scene cuts, and when the last analysis is old enough.

    Parameters
    ----------
    every
        Seconds of video between analyses of one scene; 0 analyses every frame.
    """

    def __init__(self, every: float) -> None:
        if not 0 <= every < float("inf"):
            raise InputError(f"analyse_every {every!r} must be a number of seconds, 0 or more")
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
