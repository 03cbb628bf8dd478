"""Importance inside macroblocks between analyses: moved with the macroblocks, and forgotten.

A pattern is what each of a macroblock's 16 blocks of 4x4 luma samples matters relative to the
others. It moves as its macroblock does (:mod:`idse.importance.carry`), which keeps its place inside
the macroblock: right where content moves by whole macroblocks or hardly at all, blurred in between
where four patterns are mixed. Unlike a map of macroblocks it is not averaged over analyses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from idse.errors import InputError
from idse.importance.carry import carry

if TYPE_CHECKING:
    from idse.importance.motion import FloatMap, MotionField

_PER_MB = 4


class InnerTrack:
    """The running pattern of a video: carried by motion, replaced by every analysis."""

    def __init__(self) -> None:
        # log2 of the weights, so that fading leads to 1: float32 (16, rows, cols).
        self._logs: FloatMap | None = None

    def advance(self, field: MotionField | None, fresh: FloatMap | None) -> FloatMap | None:
        """Return the next picture's weights.

        Parameters
        ----------
        field
            Its motion; None where there is no previous picture (the track starts anew).
        fresh
            float32 ``(4 rows, 4 cols)``: its own weights where it was analysed, above 0, with a
            mean of 1 inside every macroblock.

        Returns
        -------
        float32 ``(4 rows, 4 cols)`` like ``fresh``, or None as long as nothing was analysed since
        the start or a cut.

        Raises
        ------
        InputError
            Shapes differ.
        """
        if field is None or field.scene_cut:
            self._logs = None
        if fresh is not None:
            if field is not None and fresh.shape != tuple(
                _PER_MB * n for n in field.reliability.shape
            ):
                raise InputError(
                    f"weights of {fresh.shape} blocks for motion of {field.reliability.shape} "
                    "macroblocks"
                )
            self._logs = np.log2(_split(fresh))
            return fresh
        if self._logs is None or field is None:
            return None
        self._logs = carry(self._logs, field)
        weights = np.exp2(self._logs)
        return _joined(weights / weights.mean(0))

    def forget(self) -> None:
        """Begin anew with the next picture."""
        self._logs = None


def _split(weights: FloatMap) -> FloatMap:
    """Return ``(16, rows, cols)``, block by block, of ``(4 rows, 4 cols)``."""
    rows, cols = (n // _PER_MB for n in weights.shape)
    blocks = weights.reshape(rows, _PER_MB, cols, _PER_MB).transpose(1, 3, 0, 2)
    return blocks.reshape(_PER_MB**2, rows, cols)


def _joined(blocks: FloatMap) -> FloatMap:
    """Undo `_split`."""
    _, rows, cols = blocks.shape
    parts = blocks.reshape(_PER_MB, _PER_MB, rows, cols).transpose(2, 0, 3, 1)
    return np.ascontiguousarray(parts.reshape(_PER_MB * rows, _PER_MB * cols), np.float32)
