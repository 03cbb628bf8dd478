"""The x264 parameters that steering sets by itself: where nobody chose them, and never unasked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from idse.allocation.base import base_options
from idse.allocation.matrices import matrix_options
from idse.codecs.x264.distribution import chooses_distribution

if TYPE_CHECKING:
    from collections.abc import Mapping

    from idse.allocation import OffsetPolicy
    from idse.codecs.x264 import X264Library
    from idse.importance.spectrum import Spectrum
    from idse.pipeline.options import EncodeOptions


@dataclass(frozen=True, kw_only=True)
class SetParameters:
    """What is set beside the options of the run, as x264 options.

    Attributes
    ----------
    base
        How bits are distributed before any offset (:mod:`idse.allocation.base`).
    matrices
        Quantisation matrices (:mod:`idse.allocation.matrices`).
    """

    base: Mapping[str, str] = field(default_factory=dict)
    matrices: Mapping[str, str] = field(default_factory=dict)

    @property
    def base_line(self) -> str | None:
        """The base as ``name=value:name=value``; None where there is none."""
        return ":".join(f"{name}={value}" for name, value in self.base.items()) or None


def set_parameters(
    encode: EncodeOptions,
    policy: OffsetPolicy | None,
    spectrum: Spectrum | None,
    library: X264Library,
) -> SetParameters:
    """Return what is set in an encode.

    Parameters
    ----------
    encode
        What was asked for, which wins.
    policy
        How the encode is steered; None: not at all.
    spectrum
        What frequencies of its first picture matter to the networks; None: not known.
    library
        Whose presets and tunes count.
    """
    intra = encode.options.get("keyint") == "1"
    base = base_options(spectrum, policy, intra=intra)
    if base and chooses_distribution(
        library, preset=encode.preset, tune=encode.tune, options=encode.options
    ):
        base = {}
    matrices = matrix_options(encode.matrices, spectrum, policy, intra=intra)
    return SetParameters(base=base, matrices=matrices)
