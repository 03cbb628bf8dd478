"""What later pictures copy: importance that flows back along motion, as in x264's macroblock tree.

x264's tree makes a macroblock finer the more of later pictures is copied from it, whatever those
pictures are worth. Where they are worth different amounts, a macroblock's weight is instead the
mean of what is copied from it: own and inherited importance over own and inherited amount. With
every picture worth the same, that mean is about its own weight, and nothing is to be done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from idse import kernels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from idse.importance.motion import FloatMap, MotionField

# Residual in code values that is noise, and how many steps of the quantiser above it 1/e of a
# macroblock is still copied: what lies in the dead zone is not coded again.
_NOISE = np.float32(1.0)
_DEAD_ZONE = 0.5
# x264 codes what is copied a few QP below its CRF.
_TREE_QP = -3.0
# A weight below this is none: 2^-16 is the least that an allocation tells apart.
_LEAST = np.float32(2.0**-16)


def copied_share(field: MotionField, qp: float) -> FloatMap:
    """Return the share of every macroblock's distortion that it takes over from where it is copied.

    Parameters
    ----------
    field
        Motion of the picture.
    qp
        About the QP of the encode: what its quantiser leaves out is copied.

    Returns
    -------
    float32 ``(rows, cols)`` in [0, 1]; all 0 after a scene cut.
    """
    if field.scene_cut:
        return np.zeros_like(field.residual)
    step = np.float32(0.625 * 2.0 ** ((qp + _TREE_QP) / 6))
    coded = np.maximum(field.residual - _NOISE, 0) / (np.float32(_DEAD_ZONE) * step)
    return np.asarray(field.reliability * np.exp(-coded), np.float32)


def inherited(later: Iterable[tuple[FloatMap, MotionField, FloatMap]]) -> FloatMap | None:
    """Sum up what later pictures take from one.

    Parameters
    ----------
    later
        Of every later picture, the last one first: its weights, float32 ``(rows, cols)``, at least
        0; its motion; its copied share.

    Returns
    -------
    float32 ``(2, rows, cols)``: importance and amount; None where there is no later picture.
    """
    state: FloatMap | None = None
    for weight, field, share in later:
        own = np.stack([weight, np.ones_like(weight)])
        state = kernels.flow_back(own if state is None else own + state, field.vectors, share)
    return state


def mean_log_weight(weight: FloatMap, taken: FloatMap | None) -> FloatMap:
    """Return log2 of the mean importance of a picture's macroblocks and of what copies them.

    Parameters
    ----------
    weight
        float32 ``(rows, cols)``: its own weights, at least 0.
    taken
        As :func:`inherited` returns it.
    """
    mean = weight if taken is None else (weight + taken[0]) / (1 + taken[1])
    return np.asarray(np.log2(np.maximum(mean, _LEAST)), np.float32)
