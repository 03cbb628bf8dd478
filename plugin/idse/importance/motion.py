"""How the content of each macroblock moved since the previous picture, and scene cuts.

The vectors carry importance maps from one analysed picture to the next, so what counts is where
content *was*, not what predicts it cheaply: matching windows overlap, and standing still or moving
with the neighbours is preferred. The residuals double as an estimate of what the pictures cost to
code (:mod:`idse.allocation.rate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse import kernels
from idse.errors import InputError
from idse.picture import MACROBLOCK

if TYPE_CHECKING:
    from idse.kernels import BlockMatch, LumaPyramid, Vectors
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
# Decoders give at most one vector per 4x4 block; anything longer than this is damage.
_LONGEST_VECTOR = 2048


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


def hints_from_decoder(
    vectors: npt.NDArray[Any], mb_shape: tuple[int, int]
) -> npt.NDArray[np.int16]:
    """Turn a decoder's motion vectors into candidates for the search.

    How far away the picture that a vector points to lies is unknown, so each vector is offered
    whole and halved, turned to point to the past; the match decides.

    Parameters
    ----------
    vectors
        Structured array of FFmpeg's ``AVMotionVector`` as PyAV gives it (fields ``source``,
        ``dst_x``, ``dst_y``, ``motion_x``, ``motion_y``, ``motion_scale``). Several per macroblock:
        the last one counts.
    mb_shape
        Macroblock rows and columns.

    Returns
    -------
    int16 ``(rows, cols, 2, 2)``: two candidates (dx, dy) in half-size samples; 0 where there is no
    vector.
    """
    rows, cols = mb_shape
    hints = np.zeros((rows, cols, 2, 2), np.int16)
    fields = vectors.dtype.names or ()
    needed = ("source", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")
    if any(name not in fields for name in needed):
        raise InputError(f"motion vectors have the fields {fields}, expected at least {needed}")
    row = vectors["dst_y"].astype(np.int64) // MACROBLOCK
    col = vectors["dst_x"].astype(np.int64) // MACROBLOCK
    scale = np.maximum(vectors["motion_scale"].astype(np.float64), 1.0)
    sign = np.where(vectors["source"] > 0, -1.0, 1.0)
    motion = np.stack([vectors["motion_x"], vectors["motion_y"]], axis=-1)
    motion = motion * (sign / scale)[:, None]
    inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    inside &= (np.abs(motion) <= _LONGEST_VECTOR).all(axis=-1)
    whole = np.rint(motion[inside] / 2.0).astype(np.int16)
    hints[row[inside], col[inside], 0] = whole
    hints[row[inside], col[inside], 1] = whole // 2
    return hints


class MotionEstimator:
    """Motion from picture to picture; holds the previous picture's luma and nothing else."""

    def __init__(self) -> None:
        self._previous: LumaPyramid | None = None
        self._search: Vectors | None = None

    def push(self, picture: Picture, vectors: npt.NDArray[Any] | None = None) -> MotionField | None:
        """Match ``picture`` against the one pushed before it.

        Parameters
        ----------
        picture
            The next picture in presentation order.
        vectors
            What the input's decoder knows: PyAV's ``frame.side_data.get("MOTION_VECTORS")``
            ``.to_ndarray()``, or None.

        Returns
        -------
        The motion, or None for the first picture and after a change of size.

        Raises
        ------
        InputError
            ``vectors`` is no array of motion vectors.
        """
        current = kernels.luma_pyramid(picture)
        previous, self._previous = self._previous, current
        if previous is None or previous.mb_shape != current.mb_shape:
            self._search = None
            return None
        hints = None
        if vectors is not None and len(vectors):
            hints = hints_from_decoder(vectors, current.mb_shape)
        match = kernels.motion_search(current, previous, temporal=self._search, hints=hints)
        cut = _is_cut(match)
        self._search = None if cut else match.search
        return MotionField(
            vectors=match.vectors.astype(np.float32),
            reliability=_reliability(match),
            scene_cut=cut,
            residual=match.residual,
        )
