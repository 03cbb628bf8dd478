"""One line on the terminal that says how far a command is."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class StatusLine:
    """One line on standard error, rewritten now and then.

    Parameters
    ----------
    seconds
        Between two changes, at least.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._shown = time.monotonic()

    def due(self) -> bool:
        """Tell whether it is time for a change, and take it for done."""
        now = time.monotonic()
        if now - self._shown < self._seconds:
            return False
        self._shown = now
        return True

    def show(self, parts: Iterable[str]) -> None:
        """Write the line."""
        print("\r\x1b[K" + "  ".join(parts), end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class PhaseLine(StatusLine):
    """The line of a command whose work has phases, each of which is timed by itself.

    Parameters
    ----------
    seconds
        Between two changes, at least.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._begin = time.monotonic()
        self._phase = ""

    def elapsed(self, phase: str) -> float:
        """Return the seconds since a phase was first heard of, above 0."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._begin = phase, now
        return max(now - self._begin, 1e-3)


def clock(seconds: float) -> str:
    """Return a time as hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
