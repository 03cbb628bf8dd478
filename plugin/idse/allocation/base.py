"""What steering starts from: how x264 itself distributes bits, where nobody has chosen that."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idse.allocation.policy import OffsetPolicy
    from idse.importance.spectrum import Spectrum

# What stock x264 is itself best with by yolov4-tiny's output distance, on the first halves of clips
# of fixed cameras (tools/bench/beat_stock.py). Its defaults, AQ mode 1 at strength 1 and qcomp 0.6,
# cost 7 to 51 % more bytes on the second halves: the one takes from textured objects what it gives
# to smooth ground, the other makes mbtree and the frames' QPs follow complexity, which is not
# importance. Offsets cannot carry qcomp, so the options themselves are set.
BASE_OPTIONS = MappingProxyType({"aq-mode": "2", "aq-strength": "0.7", "qcomp": "0.7"})


def base_options(
    spectrum: Spectrum | None, policy: OffsetPolicy | None, *, intra: bool
) -> dict[str, str]:
    """Return the x264 options that a steered encode starts from; none where it keeps x264's own.

    Parameters
    ----------
    spectrum
        What frequencies of the first picture matter. Where that is not known, or nothing does, the
        network may have nothing to say at all, and what is not steered is to be stock's.
    policy
        How the encode is steered, or None. With strength 0, or bounds on what a region may lose
        against stock, x264's own distribution stays.
    intra
        Whether every picture is intra coded: these options are those of video.
    """
    if spectrum is None or policy is None or intra:
        return {}
    if not spectrum.per_sample > 0 or policy.strength == 0 or policy.bounds_loss:
        return {}
    return dict(BASE_OPTIONS)
