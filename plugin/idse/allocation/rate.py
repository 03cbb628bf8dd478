"""Relative cost of macroblocks, guessed before anything is encoded.

Only ratios matter: the guess tells how much of the bits lies in macroblocks that an allocation
makes finer or coarser, so that the size of the file can be held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse import kernels

if TYPE_CHECKING:
    from idse.importance.motion import MotionField
    from idse.picture import Picture

FloatMap = npt.NDArray[np.float32]

# x264's default longest distance between keyframes: the share of every picture's content that is
# paid again by the next keyframe.
_KEYFRAME_DISTANCE = 250


def _bits(deviation: FloatMap, step: float) -> FloatMap:
    """Bits of 256 samples whose residual has this mean absolute deviation, at a quantiser step.

    The entropy of a Laplacian source over the step, smoothed to go to 0 in the dead zone as the
    square of the ratio.
    """
    ratio = deviation / np.float32(step)
    return np.asarray(256 * 0.5 * np.log2(1 + np.square(2 * ratio)), np.float32)


def estimate_bits(picture: Picture, field: MotionField | None, *, qp: float = 26.0) -> FloatMap:
    """Guess what each macroblock costs at one QP.

    Parameters
    ----------
    picture
        As decoded.
    field
        Its motion; None for a picture that nothing precedes, which is coded intra.
    qp
        H.264 QP of the encode, on the 8-bit scale (about its CRF).

    Returns
    -------
    float32 ``(mb_rows, mb_cols)``, in bits, not negative. Good for ratios between macroblocks; the
    absolute scale is rough.
    """
    step = 0.625 * 2.0 ** (qp / 6.0)  # H.264's step: 0.625 at QP 0, doubling every 6
    depth_scale = 4.0 ** (picture.format.bit_depth - 8)
    energy = kernels.ac_energy(picture).astype(np.float32) / np.float32(depth_scale)
    # Intra prediction removes roughly half of the deviation from the block's mean.
    intra = _bits(np.float32(0.5) * np.sqrt(energy / np.float32(256)), step)
    if field is None or field.scene_cut:
        return intra
    inter = np.minimum(_bits(field.residual, step), intra)
    return np.asarray(inter + intra / _KEYFRAME_DISTANCE, np.float32)
