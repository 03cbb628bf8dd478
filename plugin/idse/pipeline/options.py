"""What a run is asked for, and what it tells on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from idse.allocation.matrices import check_slope
from idse.errors import InputError
from idse.pipeline.rate import VIDEO_FALLBACKS, Rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from idse.pipeline.max_resolution import MaxResolution


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """What x264 is asked for.

    Attributes
    ----------
    preset, tune, profile
        x264's names.
    options
        Further x264 options by name, in order; they win over what the source's tags ask for.
    matrices
        Slope of the quantisation matrices, see `idse.allocation.matrices`; 0 is flat. None leaves
        them to the network that the encode is steered by; without one they are flat.
    two_pass
        Encode twice, the second time by the first one's statistics; needs ``bitrate`` in options.
    max_resolution
        What size pictures are scaled down to before anything else sees them; None leaves them.
    fallback
        ``"vae-h264"`` simplifies pictures where x264 cannot hold the rate
        (:mod:`idse.pipeline.simplify`); None leaves them.
    vae_models
        Of the fallback, names or files; empty for those that came with the package.
    """

    preset: str = "medium"
    tune: str | None = None
    profile: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    matrices: float | None = None
    two_pass: bool = False
    max_resolution: MaxResolution | None = None
    fallback: str | None = None
    vae_models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.matrices is not None:
            check_slope(self.matrices)
        if self.two_pass and "bitrate" not in self.options:
            raise InputError("two passes need a bitrate to aim for: give --bitrate")
        if self.fallback is not None:
            if self.fallback not in VIDEO_FALLBACKS:
                known = ", ".join(VIDEO_FALLBACKS)
                raise InputError(f"fallback {self.fallback!r} is none for videos: give {known}")
            Rate.of(self.options)
        elif self.vae_models:
            raise InputError(f"VAE model {self.vae_models[0]} is for a fallback: ask for one")
        if self.two_pass and not {"pass", "stats"}.isdisjoint(self.options):
            raise InputError("two_pass sets the x264 options pass and stats itself: leave them out")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    frames
        Encoded so far.
    position
        Seconds of video encoded so far, of ``duration`` (None where it is not known).
    bytes
        Of video, so far.
    phase
        ``"encode"``, or ``"pass 1"`` and ``"pass 2"``; before them what trial encodes are for:
        ``"look"``, ``"measure"``, ``"guard, steered"``, ``"guard, stock"``, ``"search"``...
    """

    frames: int
    position: float
    duration: float | None
    bytes: int
    phase: str
