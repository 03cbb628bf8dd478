"""Importance between analyses: moved with the content, forgotten where that is uncertain.

All maps here are log2 of weights relative to the segment's mean (:mod:`idse.allocation`), so 0 is
neutral: what nobody knows anything about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from idse import kernels
from idse.errors import InputError

if TYPE_CHECKING:
    from idse.importance.motion import FloatMap, MotionField

# Share of the way to neutral that a macroblock with reliability 0 goes in one picture. Noise makes
# matches unreliable for a picture now and then; a map that survives one bad match but not five
# rides over that.
_FADE = 0.5
# Bound of the evidence, in analyses: a fresh one always counts at least half, since what matters in
# a scene changes also where nothing moves.
_MAX_EVIDENCE = np.float32(1.0)


def carry(log_weight: FloatMap, field: MotionField) -> FloatMap:
    """Move a map along the motion of one picture.

    Each macroblock takes the bilinear interpolation of the map at the place that its content comes
    from, times ``1 - _FADE * (1 - reliability)``.

    Parameters
    ----------
    log_weight
        float32 ``(..., rows, cols)``: map, or several, of the previous picture; 0 is neutral.
    field
        Motion of the picture that the result is for.

    Returns
    -------
    float32, shape of ``log_weight``; all 0 after a scene cut.

    Raises
    ------
    InputError
        The map has another shape than the field.
    """
    if log_weight.shape[-2:] != field.reliability.shape:
        raise InputError(
            f"map of {log_weight.shape} macroblocks cannot be carried by motion of "
            f"{field.reliability.shape}"
        )
    if field.scene_cut:
        return np.zeros_like(log_weight)
    maps = log_weight.reshape(-1, *field.reliability.shape).astype(np.float32, copy=False)
    share = 1 - np.float32(_FADE) * (1 - field.reliability)
    return kernels.carry(maps, field.vectors, share).reshape(log_weight.shape)


class ImportanceTrack:
    """The running map of a video: carried by motion, corrected by every analysis.

    A sketch with few rows is a noisy estimate of the weights, so the estimates of successive
    analyses are averaged along the motion: each macroblock keeps how much evidence its carried
    value holds (in analyses, fading like the value itself), and a fresh value is averaged in with
    weight ``1 / (1 + evidence)``.
    """

    def __init__(self) -> None:
        self._log_weight: FloatMap | None = None
        self._evidence: FloatMap | None = None

    @property
    def evidence(self) -> FloatMap | None:
        """How many analyses are in the current map, float32 ``(rows, cols)``, at least 0."""
        return self._evidence

    def advance(self, field: MotionField | None, fresh: FloatMap | None) -> FloatMap | None:
        """Return the next picture's map.

        Parameters
        ----------
        field
            Its motion; None where there is no previous picture (the track starts anew).
        fresh
            float32 ``(rows, cols)``: its log-weights where it was analysed.

        Returns
        -------
        float32 ``(rows, cols)``, or None as long as nothing was analysed since the start or a cut.

        Raises
        ------
        InputError
            Shapes differ.
        """
        if field is None or field.scene_cut:
            self._log_weight = self._evidence = None
        elif self._log_weight is not None and self._evidence is not None:
            both = np.stack([self._log_weight, self._evidence])
            self._log_weight, self._evidence = carry(both, field)
        if fresh is None:
            return self._log_weight
        if self._log_weight is None or self._evidence is None:
            self._log_weight = fresh.astype(np.float32)
            self._evidence = np.ones_like(self._log_weight)
        else:
            if fresh.shape != self._log_weight.shape:
                raise InputError(
                    f"map of {fresh.shape} macroblocks for a track of {self._log_weight.shape}"
                )
            evidence = np.minimum(self._evidence, _MAX_EVIDENCE)
            share = 1 / (1 + evidence)
            self._log_weight = self._log_weight + share * (fresh - self._log_weight)
            self._evidence = evidence + 1
        return self._log_weight
