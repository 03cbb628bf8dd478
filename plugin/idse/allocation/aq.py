"""x264's adaptive quantisation, recomputed from the picture.

With it, what another AQ would do can be asked for as offsets on top of the user's own AQ:
``aq_offsets(picture, mode=2) - aq_offsets(picture, mode=1)`` makes an encode with AQ mode 1 behave
as one with mode 2, without changing a parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse import kernels
from idse.errors import InputError

if TYPE_CHECKING:
    from idse.picture import Picture

# Constants of x264_adaptive_quant_frame (encoder/ratecontrol.c), tuned there so that AQ leaves the
# average bitrate about where it was.
_VARIANCE_STRENGTH = 1.0397
_VARIANCE_MEAN = 14.427
_AUTO_MEAN = 14.0


def aq_offsets(picture: Picture, *, mode: int, strength: float = 1.0) -> npt.NDArray[np.float32]:
    """Return the QP offsets that x264's ``aq-mode`` gives the macroblocks of a picture.

    Parameters
    ----------
    picture
        As handed to the encoder, progressive.
    mode
        0 (none), 1 (variance), 2 (auto-variance) or 3 (auto-variance biased to dark scenes).
    strength
        x264's ``aq-strength``.

    Returns
    -------
    float32 ``(mb_rows, mb_cols)``, in QP: what x264 adds to the frame's QP before rounding.

    Raises
    ------
    InputError
        The mode is unknown.
    """
    return aq_from_energy(
        kernels.ac_energy(picture), picture.format.bit_depth, mode=mode, strength=strength
    )


def aq_from_energy(
    energy: npt.NDArray[np.uint32], bit_depth: int, *, mode: int, strength: float = 1.0
) -> npt.NDArray[np.float32]:
    """Return :func:`aq_offsets` where the AC energy of the macroblocks is known already."""
    if mode not in {0, 1, 2, 3}:
        raise InputError(f"aq-mode {mode!r} is not 0, 1, 2 or 3")
    if mode == 0:
        return np.zeros(energy.shape, np.float32)
    values = energy.astype(np.float32)
    depth = 2 * (bit_depth - 8)
    if mode == 1:
        log_energy = np.log2(np.maximum(values, np.float32(1)))
        scaled = np.float32(strength * _VARIANCE_STRENGTH) * (
            log_energy - np.float32(_VARIANCE_MEAN + depth)
        )
        return np.asarray(scaled, np.float32)
    root = np.power(values / np.float32(2.0**depth) + 1, np.float32(0.125))
    mean = float(root.mean(dtype=np.float64))
    mean_square = float(np.square(root).mean(dtype=np.float64))
    centre = mean - 0.5 * (mean_square - _AUTO_MEAN) / mean
    offsets = strength * mean * (root - centre)
    if mode == 3:
        offsets = offsets + strength * (1 - _AUTO_MEAN / np.square(root))
    return np.asarray(offsets, np.float32)
