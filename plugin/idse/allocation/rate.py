"""Relative cost of macroblocks, guessed before anything is encoded.

Only ratios matter: the guess tells how much of the bits lies in macroblocks that an allocation
makes finer or coarser, so that the size of the file can be held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse import kernels
from idse.allocation.aq import aq_from_energy

if TYPE_CHECKING:
    from idse.importance.motion import MotionField
    from idse.picture import Picture

FloatMap = npt.NDArray[np.float32]

# Fitted to sizes of real encodes (the tests compare with bits read back from streams): a 25th of a
# picture's intra cost is paid again and again, by keyframes and by what motion does not predict;
# and x264's macroblock tree codes content that later pictures copy about 4 QP below the CRF.
_REFRESH = 1 / 25
_TREE_QP = -4.0
# Intra prediction removes roughly half of the deviation from the block's mean.
_INTRA_GAIN = 0.5


def _bits(deviation: FloatMap, step: FloatMap) -> FloatMap:
    """Bits of 256 samples whose residual has this mean absolute deviation, at a quantiser step.

    The entropy of a Laplacian source over the step, smoothed to go to 0 in the dead zone as the
    square of the ratio.
    """
    ratio = 2 * deviation / step
    return np.asarray(256 * 0.5 * np.log2(1 + np.square(ratio)), np.float32)


def estimate_bits(picture: Picture, field: MotionField | None, *, qp: float) -> FloatMap:
    """Guess what each macroblock costs in an unsteered encode.

    Parameters
    ----------
    picture
        As decoded.
    field
        Its motion; None for a picture that nothing precedes, which is coded intra.
    qp
        QP of the encode on the 8-bit scale, about its CRF. x264's default AQ is added here.

    Returns
    -------
    float32 ``(mb_rows, mb_cols)``, in bits, not negative. Good for ratios between macroblocks; the
    absolute scale is rough.
    """
    depth = picture.format.bit_depth
    energy = kernels.ac_energy(picture)
    qps = np.float32(qp + _TREE_QP) + aq_from_energy(energy, depth, mode=1)
    step = np.asarray(0.625 * np.exp2(qps / 6), np.float32)  # 0.625 at QP 0, doubling every 6
    # Energies are in code values of the picture's depth, residuals in those of 8 bit.
    scale = np.float32(_INTRA_GAIN / 2.0 ** (depth - 8))
    intra = _bits(scale * np.sqrt(energy.astype(np.float32) / 256), step)
    if field is None or field.scene_cut:
        return intra
    inter = np.minimum(_bits(field.residual, step), intra)
    return np.asarray(inter + np.float32(_REFRESH) * intra, np.float32)
