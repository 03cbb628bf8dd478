"""The settings in which x264 drops QP offsets without a word, and what can be done about them.

x264 adds a caller's offsets inside its adaptive quantisation. Measured on builds 164 and 165:

- Constant QP (``qp=N``) and lossless coding (``crf=0`` at 8 bit) switch adaptive quantisation off:
  the offsets are lost. Nothing near these settings keeps them, so they are refused.
- With ``aq-mode=0`` or ``aq-strength=0`` and mbtree off (so preset ultrafast, and tune psnr without
  mbtree) they are lost too. With CRF alone this is set right, see ``TINY_STRENGTH``. With a bitrate
  or a VBV it is refused: rate control estimates costs in another way once adaptive quantisation is
  on, so that a stream without any offset would not be stock's.
- With ``aq-mode=0`` and mbtree on x264 itself turns to mode 1 at strength 0 and keeps them.

Offsets that are kept are not always kept whole. They shrink once the QP of the frame passes 51; a
macroblock within 1 QP of its predecessor takes its predecessor's (subme below 10); an Intra16x16
macroblock without coefficients keeps its predecessor's lower one; subme 10 and 11 with trellis 2
choose QPs again by rate and distortion; with mbtree they also steer its propagation.
The second of two passes takes the offsets of reference frames from the first one's statistics when
mbtree is on: both passes must be handed identical offsets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from idse.errors import InputError

if TYPE_CHECKING:
    from idse.codecs.x264 import _param_raw
    from idse.codecs.x264.params import Parameters

# Mode 1 at this strength computes offsets of about 1e-29 QP, which vanish when they are added to a
# QP in single precision: macroblocks are coded exactly as without adaptive quantisation. (Strength
# 0 does not do, x264 turns it into mode 0.)
TINY_STRENGTH = 1e-30


def drops_offsets(parameters: Parameters) -> bool:
    """Return whether an encoder with these effective parameters ignores QP offsets."""
    return parameters.aq_mode == 0


def set_right(struct: _param_raw.Param, parameters: Parameters) -> None:
    """Change ``struct`` so that offsets count and nothing else does.

    Parameters
    ----------
    struct
        The parameters to open the encoder with again.
    parameters
        Effective parameters of the encoder that drops offsets.

    Raises
    ------
    InputError
        The rate control has no place for offsets.
    """
    if parameters.rc_method == "cqp":
        what = f"qp={parameters.qp}" if parameters.qp > 0 else "lossless coding (qp=0 or crf=0)"
        instead = f"crf={parameters.qp}" if parameters.qp > 0 else "crf=1 or more"
        raise InputError(
            f"x264 ignores QP offsets with {what}: ask for {instead}, or encode unsteered"
        )
    if parameters.rc_method != "crf" or parameters.vbv_maxrate or parameters.pass_:
        raise InputError(
            "with adaptive quantisation and mbtree off x264 ignores QP offsets, and with a "
            "bitrate, VBV or two passes setting that right would change its rate control: add "
            "mbtree=1 or aq-mode=1:aq-strength=0.0001, or encode unsteered"
        )
    struct.rc.i_aq_mode, struct.rc.f_aq_strength = 1, TINY_STRENGTH
