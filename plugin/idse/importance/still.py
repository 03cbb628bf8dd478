"""Temporal smoothing where nothing has mattered, and nothing has moved, for seconds.

Sensor noise and the keyframe pulse of an already coded source change every sample of a still wall
in every picture, and an encoder pays for that. Where both the importance and the content have been
quiet for a while, the samples handed to the encoder are those of a slow recursive average, held
exactly from picture to picture, so that whole macroblocks can be skipped.

What is shown never strays: a cell of 8x8 samples is held only while every 4x4 block of it, in all
three planes, averages to within a few code values of the source, and wakes with its neighbours at
once where that ends. So nothing can leave a ghost that is stronger than this bound, and a slow
change of light is followed by steps of one code value, sample by sample. There is nothing left to
refresh at a keyframe: what is held is within a code value of the running mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.background_kernels import (
    CELL,
    FORGET,
    HOLD,
    LEARN,
    UNIT_GAIN,
    UNIT_WEIGHT,
    Background,
    cell_shape,
)
from idse.errors import InputError
from idse.picture import MACROBLOCK

if TYPE_CHECKING:
    from idse.importance.motion import FloatMap, MotionField
    from idse.picture import Picture, Plane

_Mask = npt.NDArray[np.bool_]

# Time constant of the mean, seconds: longer averages more noise away and lags behind the light.
_MEMORY = 3.0
# Held samples come and go over so many seconds where nothing hurries them.
_FADE = 0.4
# A cell wakes above the first difference in 8-bit code values or, where it is noisier, above so
# many times its own mean difference; never above the last. It falls asleep below a share of that.
_WAKE, _WAKE_NOISE, _WAKE_MOST = 2.5, 4.0, 6.0
_CALM = 0.6
# A macroblock that does not matter begins to matter so far above the threshold (log2).
_MARGIN = 0.5


@dataclass(frozen=True, kw_only=True)
class StillPolicy:
    """When a background is held.

    Attributes
    ----------
    seconds
        How long nothing must have mattered and nothing moved, above 0.
    below
        log2 of the weight, relative to the mean, under which a macroblock does not matter.
    """

    seconds: float = 2.0
    below: float = -1.0

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise InputError(f"seconds {self.seconds!r} of a still background must be above 0")
        if not math.isfinite(self.below):
            raise InputError(f"importance {self.below!r} of a still background is not a number")


class StillBackground:
    """Replaces what neither moves nor matters by a slowly updated background.

    Everything is causal and deterministic: a picture depends on those handed in so far, in their
    order, and on nothing else.

    Parameters
    ----------
    policy
        When a background is held.

    Attributes
    ----------
    share
        Of the last picture's area, 0 to 1, how much was held.
    """

    def __init__(self, policy: StillPolicy | None = None) -> None:
        self._policy = policy or StillPolicy()
        self._state: _Cells | None = None
        self.share = 0.0

    def reset(self) -> None:
        """Forget everything: the next picture is the first one."""
        self._state = None
        self.share = 0.0

    def advance(
        self,
        picture: Picture,
        field: MotionField | None,
        log_weight: FloatMap | None,
        elapsed: float,
    ) -> tuple[Plane, Plane, Plane]:
        """Return the planes to encode in place of the next picture's.

        Parameters
        ----------
        picture
            The next picture in presentation order.
        field
            Its motion; None, or a scene cut, where nothing before it has to do with it.
        log_weight
            float32 ``picture.format.mb_shape``: log2 of its weights relative to the segment's mean,
            or None where nothing is known, and everything may matter.
        elapsed
            Seconds since the previous picture.

        Returns
        -------
        Planes of the picture's shapes and types: its own ones, not copied, where nothing is held.

        Raises
        ------
        InputError
            Motion or weights have another shape than the picture's macroblocks.
        """
        state = self._state
        if field is None or field.scene_cut or state is None or not state.fits(picture):
            self._state = _Cells(picture, self._policy)
            self.share = 0.0
            return picture.planes
        planes = state.advance(picture, field, log_weight, max(elapsed, 0.0))
        self.share = float(state.weight.mean())
        return planes


class _Cells:
    """The state of one scene, per cell."""

    def __init__(self, picture: Picture, policy: StillPolicy) -> None:
        self._policy = policy
        self._background = Background.of(picture)
        shape = cell_shape(picture.format)
        self._learned = np.ones(shape, np.float32)  # pictures in the mean
        self._still = np.zeros(shape, np.float32)  # seconds without motion
        self._idle = np.zeros(shape, np.float32)  # seconds without importance
        self._matters = np.ones(shape, bool)
        self._held = np.zeros(shape, bool)
        # Of the difference; a guess until it is known better.
        self._noise = np.full(shape, _WAKE_MOST / _WAKE_NOISE, np.float32)
        self.weight = np.zeros(shape, np.float32)

    def fits(self, picture: Picture) -> bool:
        """Tell whether a picture is of the size that this is of."""
        return picture.format == self._background.form

    def advance(
        self, picture: Picture, field: MotionField, log_weight: FloatMap | None, elapsed: float
    ) -> tuple[Plane, Plane, Plane]:
        difference = self._background.compare(picture)
        moved = self._spread((field.vectors != 0).any(axis=-1))
        hurry = self._wake(difference, moved, self._weighs(log_weight), elapsed)
        self._fade(hurry, elapsed)
        action, gain = self._learning(elapsed)
        corners = np.pad(self.weight, 1, mode="edge")
        corners = np.minimum(corners[1:], corners[:-1])
        corners = np.minimum(corners[:, 1:], corners[:, :-1])
        weight = np.ascontiguousarray(np.rint(corners * UNIT_WEIGHT), np.uint16)
        planes = self._background.update(picture, action=action, gain=gain, weight=weight)
        return planes if weight.any() else picture.planes

    def _spread(self, values: npt.NDArray[np.bool_]) -> _Mask:
        """Give every cell its macroblock's value."""
        rows, cols = self.weight.shape
        if values.shape != self._background.form.mb_shape:
            raise InputError(
                f"map of {values.shape} macroblocks for pictures of "
                f"{self._background.form.mb_shape}"
            )
        per = MACROBLOCK // CELL
        spread: _Mask = values.repeat(per, axis=0).repeat(per, axis=1)[:rows, :cols]
        return spread

    def _weighs(self, log_weight: FloatMap | None) -> _Mask:
        """Tell where the picture matters, with hysteresis."""
        if log_weight is None:
            return np.ones(self.weight.shape, bool)
        low = self._policy.below
        clearly = self._spread(log_weight >= low + _MARGIN)
        return clearly | (self._spread(log_weight >= low) & self._matters)

    def _wake(self, difference: FloatMap, moved: _Mask, matters: _Mask, elapsed: float) -> _Mask:
        """Bring timers and ``_held`` up to date; return where held samples must go at once."""
        wake = np.clip(_WAKE_NOISE * self._noise, _WAKE, _WAKE_MOST)
        calm = difference <= _CALM * wake
        # Vectors are chance where there is no texture: they count with a difference only.
        still = np.where(self._held, (difference <= wake) & (calm | ~moved), calm)
        woken = _dilate(self._held & ~still)
        still &= ~woken
        self._still = np.where(still, self._still + np.float32(elapsed), 0)
        self._matters = matters
        self._idle = np.where(matters, 0, self._idle + np.float32(elapsed))
        rested = np.minimum(self._still, self._idle)
        self._held = (self._held & still & ~matters) | (rested >= self._policy.seconds)
        share = np.float32(-math.expm1(-elapsed / _MEMORY))
        self._noise += share * (np.minimum(difference, _WAKE_MOST) - self._noise)
        hurry: _Mask = matters | (woken & moved) | (difference > 1.5 * wake)
        return hurry

    def _fade(self, hurry: _Mask, elapsed: float) -> None:
        step = np.float32(elapsed / _FADE)
        weight = np.where(self._held, self.weight + step, self.weight - step)
        weight = np.where(hurry, 0, np.clip(weight, 0, 1))
        self.weight = weight.astype(np.float32)

    def _learning(self, elapsed: float) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
        """Return what happens to the mean of every cell, and how fast."""
        calm = self._still > 0
        action = np.where(self.weight > 0, HOLD, np.where(calm, LEARN, FORGET)).astype(np.uint8)
        self._learned = np.where(action == FORGET, 1, self._learned + 1).astype(np.float32)
        share = np.maximum(1 / self._learned, -math.expm1(-elapsed / _MEMORY))
        return action, np.rint(share * UNIT_GAIN).astype(np.uint16)


def _dilate(mask: _Mask) -> _Mask:
    """Return ``mask`` with all neighbours of what is in it."""
    wide = np.pad(mask, 1)
    wide = wide[1:-1] | wide[:-2] | wide[2:]
    return np.asarray(wide[:, 1:-1] | wide[:, :-2] | wide[:, 2:])
