"""How the content of each macroblock moved since the previous picture, and scene cuts.

The vectors carry importance maps from one analysed picture to the next, so what counts is where
content *was*, not what predicts it cheaply: matching windows overlap, and standing still or moving
with the neighbours is preferred. The residuals double as an estimate of what the pictures cost to
code (:mod:`idse.allocation.rate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse import kernels

if TYPE_CHECKING:
    from idse.kernels import BlockMatch, LumaPlanes, Vectors
    from idse.picture import Picture

FloatMap = npt.NDArray[np.float32]

# Residuals below this many code values say nothing about a match: sensor noise, rounding.
_NOISE = 2.0
# A picture is a cut where blocks whose best match is no better than coding them afresh hold this
# share of its activity, and the mean residual is more than an exposure change or a re-coded frame
# of the source leaves. Pairs of unrelated photographs have over 0.9 and over 12; ordinary frames
# of fixed cameras, flat corridors among them, reach 0.77 but only 3.2.
_CUT_SHARE = 0.8
_CUT_RESIDUAL = 5.0


@dataclass(frozen=True, kw_only=True, eq=False)
class MotionField:
    """Motion of one picture's macroblocks since the previous picture in presentation order.

    Attributes
    ----------
    vectors
        float32 ``(rows, cols, 2)``: (dx, dy) in luma samples. The macroblock's content was at its
        own position plus this in the previous picture.
    reliability
        float32 ``(rows, cols)`` in [0, 1]: 1 where the match is as good as noise allows, 0 where
        it is no better than coding the macroblock afresh (uncovered or new content).
    scene_cut
        True where the picture has little to do with the previous one.
    residual
        float32 ``(rows, cols)``: mean absolute motion-compensated residual per luma sample, in
        8-bit code values.
    """

    vectors: FloatMap
    reliability: FloatMap
    scene_cut: bool
    residual: FloatMap


def _reliability(match: BlockMatch) -> FloatMap:
    """Return 1 for a residual within noise, falling linearly to 0 at what the block costs afresh.

    A flat block matches nearly anything, so its scale is the noise floor instead of its activity.
    """
    afresh = np.maximum(2.0 * match.activity, _NOISE) + _NOISE
    quality = 1.0 - (match.residual - _NOISE) / (afresh - _NOISE)
    return np.asarray(np.clip(quality, 0.0, 1.0), np.float32)


def _is_cut(match: BlockMatch) -> bool:
    """Tell whether most of the picture, by activity, is cheaper to code without the previous one.

    Weighing by activity keeps flat areas, which match anything, from hiding a cut.
    """
    weight = match.activity + np.float32(0.25)
    lost = match.residual > np.maximum(match.activity, _NOISE)
    share = float(weight[lost].sum()) / float(weight.sum())
    return share > _CUT_SHARE and float(match.residual.mean()) > _CUT_RESIDUAL


class MotionEstimator:
    """Motion from picture to picture; holds copies of two pictures' luma and nothing else."""

    def __init__(self) -> None:
        self._previous: LumaPlanes | None = None
        self._spare: LumaPlanes | None = None
        self._vectors: Vectors | None = None

    def push(self, picture: Picture) -> MotionField | None:
        """Match ``picture`` against the one pushed before it.

        Parameters
        ----------
        picture
            The next picture in presentation order; it is not held.

        Returns
        -------
        The motion, or None for the first picture and after a change of size.
        """
        current = kernels.luma_planes(picture, into=self._spare)
        previous, self._previous = self._previous, current
        self._spare = previous
        if previous is None or previous.mb_shape != current.mb_shape:
            self._vectors = None
            return None
        match = kernels.motion_search(current, previous, temporal=self._vectors)
        cut = _is_cut(match)
        self._vectors = None if cut else match.vectors
        return MotionField(
            vectors=match.vectors.astype(np.float32),
            reliability=_reliability(match),
            scene_cut=cut,
            residual=match.residual,
        )
