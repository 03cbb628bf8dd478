"""Importance with sight of what comes: between two analyses, and along what later pictures copy.

A picture waits until so many later ones are known. Until the next analysis arrives, all that is
known of it was carried forward from the last one; when it arrives, its map is carried back along
the motion to every waiting picture, and each takes from both sides by their distance in time.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from idse import kernels
from idse.importance.carry import ImportanceTrack
from idse.importance.reuse import copied_share, inherited, mean_log_weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from idse.importance.motion import FloatMap, MotionField

T = TypeVar("T")

# Evidence below this is none: the remainders of bilinear interpolation.
_LEAST = np.float32(1e-3)


@dataclass(slots=True, eq=False)
class _Waiting(Generic[T]):
    """A picture in the window.

    ``before`` and ``after`` are log-weights times their confidence, and the confidence in [0, 1],
    float32 ``(2, rows, cols)``; None where nothing is known from that side, ``after`` also where
    ``before`` is. ``begin`` and ``end``: seconds at which the analyses that they come from were
    shown. ``looks``: how often it is looked at. ``share``: see `reuse.copied_share`.
    """

    item: T
    seconds: float
    field: MotionField | None
    analysed: bool
    before: FloatMap | None
    begin: float
    looks: float
    share: FloatMap | None
    after: FloatMap | None = None
    end: float = 0.0
    log_weight: FloatMap | None = None  # of both sides, as long as neither changes

    def known(self) -> FloatMap | None:
        """Return the log-weights by what is known from both sides."""
        if self.log_weight is None:
            self.log_weight = _blend(self)
        return self.log_weight

    def weight(self, shape: tuple[int, ...]) -> FloatMap:
        """Return the weights, those of the mean where nothing is known, by the looks."""
        known = self.known() if self.looks else None
        if known is None:
            return np.full(shape, self.looks, np.float32)
        return np.float32(self.looks) * np.exp2(known)


class Lookahead(Generic[T]):
    """The importance of successive pictures, each told ``length`` pictures late.

    Between two analyses of a scene a picture's log-weights are those carried forward from the
    first one and those carried back from the second one, weighted by their closeness in time and
    by how reliable the motion in between was. Where the second one lies beyond the window, the
    first one counts alone. Nothing is carried across a scene cut, and pictures of which nothing
    was known when they came stay that way.

    With ``qp``, there may be pictures that nobody looks at. Then a picture's log-weights are those
    of the mean of what is copied from it within the window (:mod:`idse.importance.reuse`), and
    where nobody looks, nothing counts but that.

    Parameters
    ----------
    length
        How many pictures after it are known when a picture leaves, at least 0.
    qp
        About the QP of the encode, or None where everybody looks at every picture.
    """

    def __init__(self, length: int, *, qp: float | None = None) -> None:
        self._length = length
        self._qp = qp
        self._waiting: deque[_Waiting[T]] = deque()
        self._track = ImportanceTrack()
        self._begin = 0.0

    def push(
        self,
        item: T,
        field: MotionField | None,
        fresh: FloatMap | None,
        *,
        seconds: float,
        looks: float = 1.0,
    ) -> FloatMap | None:
        """Take in the next picture.

        Parameters
        ----------
        item
            Handed back by :meth:`ready` or :meth:`rest`.
        field
            Its motion; None where there is no previous picture.
        fresh
            float32 ``(rows, cols)``: its log-weights where it was analysed.
        seconds
            When it is shown.
        looks
            How often it is looked at, 0 for never; 1 on average over all pictures.

        Returns
        -------
        What is known of it now: float32 ``(rows, cols)``, or None.

        Raises
        ------
        InputError
            Shapes differ.

        Whatever is raised, the picture is not taken in.
        """
        known = self._track.advance(field, fresh)
        if fresh is not None:
            self._begin = seconds
        before = None
        if known is not None and self._track.evidence is not None:
            before = np.stack([known, np.minimum(self._track.evidence, 1)])
        share = None
        if self._qp is not None and field is not None:
            share = copied_share(field, self._qp)
        self._waiting.append(
            _Waiting(item, seconds, field, fresh is not None, before, self._begin, looks, share)
        )
        if fresh is not None:
            try:
                self._carry_back(fresh)
            except BaseException:
                self._waiting.pop()
                raise
        return known

    def _carry_back(self, fresh: FloatMap) -> None:
        """Tell the waiting pictures of this scene, back to the last analysis, what came after."""
        last = self._waiting[-1]
        state = np.stack([fresh, np.ones_like(fresh)])
        for index in range(len(self._waiting) - 1, 0, -1):
            field, entry = self._waiting[index].field, self._waiting[index - 1]
            if field is None or field.scene_cut or entry.analysed or entry.before is None:
                return
            # What nothing moved to gets nothing; where several meet, their mean.
            parts = np.concatenate([state, np.ones_like(state[:1])])
            arrived = kernels.flow_back(parts, field.vectors, field.reliability)
            state = arrived[:2] / np.maximum(arrived[2], 1)
            entry.after, entry.end, entry.log_weight = state, last.seconds, None

    def ready(self) -> Iterator[tuple[T, FloatMap | None]]:
        """Yield the pictures of which enough is known, with their log-weights or None."""
        while len(self._waiting) > self._length:
            yield self._leave()

    def rest(self) -> Iterator[tuple[T, FloatMap | None]]:
        """Yield all pictures that wait: there is no more to come."""
        while self._waiting:
            yield self._leave()

    def forget(self) -> None:
        """Begin anew with the next picture; those that wait keep what is known of them."""
        self._track = ImportanceTrack()

    def _leave(self) -> tuple[T, FloatMap | None]:
        entry = self._waiting.popleft()
        known = entry.known()
        if self._qp is None or known is None:
            return entry.item, known
        shape = known.shape
        copied = itertools.takewhile(lambda later: later.share is not None, self._waiting)
        taken = inherited(
            (later.weight(shape), later.field, later.share)
            for later in reversed(list(copied))
            if later.field is not None and later.share is not None
        )
        return entry.item, mean_log_weight(entry.weight(shape), taken)


def _blend(entry: _Waiting[T]) -> FloatMap | None:
    """Return a picture's log-weights by what is known from both sides."""
    before, after = entry.before, entry.after
    if before is None:
        return None
    if after is None:
        return np.asarray(before[0], np.float32)
    late = np.float32((entry.seconds - entry.begin) / max(entry.end - entry.begin, 1e-6))
    value, evidence = (1 - late) * before + late * after
    confidence = np.maximum(before[1], after[1])
    return np.asarray(value / np.maximum(evidence, _LEAST) * confidence, np.float32)
