"""What x264 is told that a video may spend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

VIDEO_FALLBACKS = ("vae-h264",)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What a video may spend.

    Attributes
    ----------
    mean
        Bits per second that are aimed for; None for constant quality.
    peak, buffer
        Bits per second that the VBV buffer is filled with, and bits that it holds; None without.
    """

    mean: float | None
    peak: float | None
    buffer: float | None

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Rate:
        """Return the rate in x264 options, whose unit are 1000 bits.

        Raises
        ------
        InputError
            There is none: nothing could be missed.
        """
        names = ("bitrate", "vbv-maxrate", "vbv-bufsize")
        mean, peak, buffer = (1000 * float(options[n]) if n in options else None for n in names)
        if peak is None or buffer is None:
            peak = buffer = None
        if mean is None and peak is None:
            raise InputError(
                "a fallback is for rates that x264 cannot hold, and none is given: give a bitrate, "
                "or maxrate and bufsize"
            )
        return cls(mean=mean, peak=peak, buffer=buffer)

    @property
    def least(self) -> float:
        """Bits per second that a simplified picture's bytes are a share of."""
        return min(rate for rate in (self.mean, self.peak) if rate is not None)
