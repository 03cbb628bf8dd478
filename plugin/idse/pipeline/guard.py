"""Steering that is measured to be worse than stock is left out, segment by segment (``--guard``).

Two stock encodes at different rates say what distance of the outputs stock reaches at the steered
encode's bytes: log-distance over log-bytes is nearly a straight line over so short a way.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from idse.pipeline.source import DecodedFrame
    from idse.pipeline.work import FrameSteering

T = TypeVar("T")
FloatArray = npt.NDArray[np.float64]

SEGMENT_SECONDS = 10.0
# Rates of the second stock encode: so many QP coarser.
STOCK_STEP = 4.0
# Measured slopes of log-distance over log-bytes are 0.5 to 1.6; noise may give anything.
_FLATTEST, _STEEPEST = 0.3, 2.0


def segment_of(seconds: float) -> int:
    """Return the number of the segment that a frame is in, by its time since the first one."""
    return int(seconds // SEGMENT_SECONDS)


class Tally:
    """Bytes and distances of one encode by segment.

    Attributes
    ----------
    bytes
        Of all frames of a segment.
    distance
        float64 ``(networks,)`` by number of the frame, of those that were judged.
    """

    def __init__(self) -> None:
        self.bytes: dict[int, float] = defaultdict(float)
        self.distance: dict[int, dict[int, FloatArray]] = defaultdict(dict)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What steering changes in one segment.

    Attributes
    ----------
    start
        Seconds since the first frame.
    change
        Distance of the outputs against stock's at equal bytes, as a part of it: -0.2 is a fifth
        less.
    steered
        Whether the segment stays steered.
    """

    start: float
    change: float
    steered: bool

    def facts(self) -> dict[str, float | bool | None]:
        """Return what the report says."""
        change = round(self.change, 4) if math.isfinite(self.change) else None
        return {"start": self.start, "change": change, "steered": self.steered}


def judge(
    steered: Tally, stock: Tally, coarser: Tally, *, importance: Sequence[float]
) -> dict[int, Verdict]:
    """Compare a steered encode with stock at its bytes, segment by segment.

    Parameters
    ----------
    steered, stock, coarser
        The steered encode, stock at the same settings, and stock at a lower rate.
    importance
        The networks' weights: a network's loss counts relative to stock's over the whole run.

    Returns
    -------
    By segment, over the frames that were judged in all three: a network may fail on one. Where
    stock loses nothing at all, steering has nothing to gain and is left out unless it loses nothing
    either.
    """
    weight = np.array(importance, np.float64)
    tallies = (steered, stock, coarser)
    sums = {segment: _sums(tallies, segment, weight.size) for segment in sorted(stock.bytes)}
    total = sum((distance[1] for distance in sums.values()), start=np.zeros(weight.size))
    scale = np.divide(weight, total, out=weight.copy(), where=total > 0)
    found = {}
    for segment, distances in sums.items():
        rates = [tally.bytes[segment] for tally in tallies]
        lost = [float(scale @ distance) for distance in distances]
        if min(lost) <= 0 or min(rates) <= 0:
            change = 0.0 if lost[0] <= 0 else math.inf if lost[1] <= 0 else lost[0] / lost[1] - 1
        else:
            slope = _STEEPEST
            if rates[1] != rates[2]:
                slope = -math.log(lost[1] / lost[2]) / math.log(rates[1] / rates[2])
            slope = min(max(slope, _FLATTEST), _STEEPEST)
            expected = lost[1] * (rates[0] / rates[1]) ** -slope
            change = lost[0] / expected - 1
        found[segment] = Verdict(
            start=segment * SEGMENT_SECONDS, change=change, steered=change <= 0
        )
    return found


def _sums(tallies: Sequence[Tally], segment: int, networks: int) -> list[FloatArray]:
    """Sum the distances of a segment over the frames that all have judged."""
    rows = [tally.distance[segment] for tally in tallies]
    judged = set(rows[0]).intersection(*rows[1:])
    return [sum((row[n] for n in sorted(judged)), start=np.zeros(networks)) for row in rows]


class Guarded(Generic[T]):
    """What a steering gives frames, left out in the segments that are better without.

    Parameters
    ----------
    run
        The steering's.
    verdicts
        By segment; segments that are not in it stay steered.
    seconds
        When a frame is shown.
    """

    def __init__(
        self,
        run: Callable[
            [Iterable[DecodedFrame | T]],
            Iterator[tuple[DecodedFrame | T, FrameSteering | None]],
        ],
        verdicts: Mapping[int, Verdict],
        seconds: Callable[[DecodedFrame], float],
    ) -> None:
        self._run = run
        self._verdicts = verdicts
        self._seconds = seconds
        self.frames_left_out = 0

    def run(
        self, items: Iterable[DecodedFrame | T]
    ) -> Iterator[tuple[DecodedFrame | T, FrameSteering | None]]:
        """Pair every frame with how it is steered, and everything else with None."""
        from idse.pipeline.source import DecodedFrame

        start: float | None = None
        for item, steering in self._run(items):
            if isinstance(item, DecodedFrame):
                now = self._seconds(item)
                start = now if start is None else start
                verdict = self._verdicts.get(segment_of(now - start))
                if verdict is not None and not verdict.steered:
                    self.frames_left_out += steering is not None
                    yield item, None
                    continue
            yield item, steering
