"""Whether somebody chose how x264 distributes bits over macroblocks and frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from idse.codecs.x264.params import Params

if TYPE_CHECKING:
    from collections.abc import Mapping

    from idse.codecs.x264 import _param_raw
    from idse.codecs.x264.library import X264Library

# Options of x264_param_t.rc that say so.
DISTRIBUTION_OPTIONS = ("aq-mode", "aq-strength", "qcomp")


def chooses_distribution(
    library: X264Library, *, preset: str, tune: str | None, options: Mapping[str, str]
) -> bool:
    """Tell whether any of `DISTRIBUTION_OPTIONS` was chosen.

    Parameters
    ----------
    library
        Whose defaults, presets and tunes count.
    preset, tune
        One that sets something else than x264's default has chosen (ultrafast, grain, ssim...).
    options
        One that is named has been chosen, whatever its value.

    Raises
    ------
    InputError
        There is no such preset or tune.
    """
    if not {name.replace("_", "-") for name in options}.isdisjoint(DISTRIBUTION_OPTIONS):
        return True
    chosen = Params(library, preset, tune)
    default = Params(library, "medium", None)
    return _distribution(chosen.struct) != _distribution(default.struct)


def _distribution(struct: _param_raw.Param) -> tuple[int, float, float]:
    rc = struct.rc
    return int(rc.i_aq_mode), float(rc.f_aq_strength), float(rc.f_qcompress)
