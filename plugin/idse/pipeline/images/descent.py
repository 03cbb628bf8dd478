"""Where a falling function crosses a level, in as few evaluations as can be."""

from __future__ import annotations

_LEAST_STEP, _LARGEST_STEP = 1 / 32, 3.0
# Proposals stay off the ends of a bracket by this share of it, so that both of them move.
_MARGIN = 0.05
_NARROW = 1e-3


class Descent:
    """Proposes arguments one after another: the secant of the last two, kept inside what is known.

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
    next
        The argument to try next; None where there is nothing left to try.
    above, below
        The nearest arguments at which the function is above the level, and at which it is not;
        None where there is none yet.
    """

    def __init__(
        self, level: float, *, start: float, slope: float, bounds: tuple[float, float]
    ) -> None:
        self._level = level
        self._slope = slope
        self._bounds = bounds
        self._last: tuple[float, float] | None = None
        self._step = _LEAST_STEP
        self.next: float | None = min(max(start, bounds[0]), bounds[1])
        self.above: float | None = None
        self.below: float | None = None

    def add(self, x: float, y: float) -> None:
        """Take in the function's value at an argument."""
        if y > self._level:
            self.above = x
        else:
            self.below = x
        wanted = x + (self._level - y) / self._secant(x, y)
        self._last = (x, y)
        if self.above is not None and self.below is not None:
            width = self.below - self.above
            low, high = self.above + _MARGIN * width, self.below - _MARGIN * width
            self.next = min(max(wanted, low), high) if width > _NARROW else None
            return
        # Towards the level, and each time at least twice as far, for slopes may deceive.
        size = min(max(abs(wanted - x) * 1.1, self._step), _LARGEST_STEP)
        self._step = 2 * size
        reached = x + size if self.above is not None else x - size
        reached = min(max(reached, self._bounds[0]), self._bounds[1])
        self.next = None if reached == x else reached

    def inside(self, x: float) -> float | None:
        """Return an argument that was guessed otherwise, moved to where the level is crossed.

        Where nothing is left to try, None.
        """
        if self.next is None or self._last is None:
            return x if self._last is None else None
        low = self._bounds[0] if self.above is None else self.above
        high = self._bounds[1] if self.below is None else self.below
        margin = _MARGIN * min(high - low, 1.0)
        return min(max(x, low + margin), high - margin)

    def _secant(self, x: float, y: float) -> float:
        if self._last is None or self._last[0] == x:
            return self._slope
        slope = (y - self._last[1]) / (x - self._last[0])
        # Noise may turn it around, or flatten it.
        return min(slope, self._slope / 4)
