"""Where a falling function crosses a level, in as few evaluations as can be."""

from __future__ import annotations

_LEAST_STEP, _LARGEST_STEP = 0.25, 3.0
# Interpolation stays off the ends of a bracket by this share of it, so that both of them move.
_MARGIN = 0.05
_NARROW = 1e-3


class Descent:
    """Proposes arguments one after another: the secant, kept inside what is known.

    Parameters
    ----------
    level
        That is to be crossed.
    start
        The first argument.
    slope
        A guess of the function's slope, below 0.
    bounds
        Least and largest argument.

    Attributes
    ----------
    above, below
        The nearest argument and value at which the function is above the level, and at which it is
        not; None where there is none yet.
    """

    def __init__(
        self, level: float, *, start: float, slope: float, bounds: tuple[float, float]
    ) -> None:
        self._level = level
        self._slope = slope
        self._bounds = bounds
        self._next: float | None = min(max(start, bounds[0]), bounds[1])
        self._last: tuple[float, float] | None = None
        self._step = _LEAST_STEP
        self.above: tuple[float, float] | None = None
        self.below: tuple[float, float] | None = None

    @property
    def next(self) -> float | None:
        """The argument to try next; None where there is nothing left to try."""
        return self._next

    def add(self, x: float, y: float) -> None:
        """Take in the function's value at an argument."""
        if y > self._level:
            self.above = (x, y)
        else:
            self.below = (x, y)
        if self.above is not None and self.below is not None:
            self._next = self._between(self.above, self.below)
        else:
            self._next = self._beyond(x, y)
        self._last = (x, y)

    def _between(self, above: tuple[float, float], below: tuple[float, float]) -> float | None:
        (x0, y0), (x1, y1) = above, below
        if abs(x1 - x0) < _NARROW:
            return None
        share = (y0 - self._level) / (y0 - y1)
        return x0 + (x1 - x0) * min(max(share, _MARGIN), 1 - _MARGIN)

    def _beyond(self, x: float, y: float) -> float | None:
        """Go on towards the level; each time at least twice as far, for slopes may deceive."""
        slope = self._slope
        if self._last is not None and self._last[0] != x:
            slope = min((y - self._last[1]) / (x - self._last[0]), self._slope / 4)
        step = (self._level - y) / slope
        forward = y > self._level
        size = min(max(abs(step) * 1.1, self._step), _LARGEST_STEP)
        self._step = min(2 * self._step, _LARGEST_STEP)
        reached = x + size if forward else x - size
        clipped = min(max(reached, self._bounds[0]), self._bounds[1])
        return None if clipped == x else clipped
