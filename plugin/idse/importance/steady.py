"""Importance that holds still: hysteresis along motion, so that QP does not flicker.

Maps of successive pictures follow the sensor's noise a little, and every step of a macroblock's QP
is paid for: in its own bits, and in what later pictures no longer copy as it is. What does not
change is therefore told again as it was, moved with its content, until it is off by more than so
much; then it follows at that distance (the play, or backlash, operator). A ramp stays a ramp, and
never does the map stray further than the slack from what was found.

Between analyses there is nothing to take out: what is carried and blended has no noise of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from idse import kernels

if TYPE_CHECKING:
    from idse.importance.motion import FloatMap, MotionField

# log2 of a weight; 1 is 3 QP. A student's maps of still noisy ground change by 0.1 on average and
# by 0.5 in one macroblock of a hundred, averaged over analyses by half as much.
_SLACK = np.float32(0.25)
# What neither moves nor changes beyond noise matters as it did before, whatever a network says that
# has seen other noise: it is held more firmly.
_STILL_SLACK = np.float32(0.5)


class SteadyMaps:
    """Takes the flicker out of the log-weights of successive pictures."""

    def __init__(self) -> None:
        self._held: FloatMap | None = None

    def advance(
        self, field: MotionField | None, log_weight: FloatMap | None, *, analysed: bool
    ) -> FloatMap | None:
        """Return what is told of the next picture.

        Parameters
        ----------
        field
            Its motion; None, or a scene cut, where nothing of the pictures before holds any more.
        log_weight
            float32 ``(rows, cols)``: what was found, or None where nothing is known, and nothing is
            held on to.
        analysed
            Whether the picture has a map of its own. Only where the one before it has one, too, is
            anything held.

        Returns
        -------
        float32 ``(rows, cols)``, or None: within the slack of ``log_weight``, and exactly that
        where content is new.
        """
        held, self._held = self._held, log_weight if analysed else None
        if log_weight is None or held is None or not analysed:
            return log_weight
        if field is None or field.scene_cut:
            return log_weight
        shape = field.reliability.shape
        if not log_weight.shape == held.shape == shape:
            return log_weight
        moved = kernels.carry(held[None], field.vectors, np.ones(shape, np.float32))[0]
        dx, dy = field.vectors[..., 0], field.vectors[..., 1]
        still = (field.reliability >= 1) & (dx == 0) & (dy == 0)
        slack = np.where(still, _STILL_SLACK, _SLACK * field.reliability)
        self._held = np.clip(moved, log_weight - slack, log_weight + slack)
        return self._held
