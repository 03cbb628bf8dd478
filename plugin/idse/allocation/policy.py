"""What an allocation may do: how hard it steers and what it must leave alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from idse.errors import InputError

# QP units; x264's own range is 51, and a field this strong is nothing but a mask.
_MAX_OFFSET = 51.0


@dataclass(frozen=True)
class Rect:
    """A rectangle of luma samples: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or self.x < 0 or self.y < 0:
            raise InputError(
                f"rectangle {self.x},{self.y},{self.width},{self.height} must have a position of "
                "at least 0,0 and a size of at least 1x1"
            )

    @classmethod
    def parse(cls, text: str) -> Rect:
        """Read ``"x,y,width,height"``.

        Raises
        ------
        InputError
            ``text`` is not four whole numbers, or they make no rectangle.
        """
        try:
            x, y, width, height = (int(part) for part in text.split(","))
        except ValueError:
            raise InputError(
                f"rectangle {text!r} is not four whole numbers x,y,width,height in luma samples"
            ) from None
        return cls(x, y, width, height)


@dataclass(frozen=True, kw_only=True)
class OffsetPolicy:
    """How importance becomes QP offsets.

    Attributes
    ----------
    strength
        Share of ``-3 log2 w``, the offset at which distortion weighted by w and bits balance at
        high rate, in [0, 2].
    alpha
        Weight of plain squared error beside importance, at least 0: tau = alpha * tau_tilde with
        tau_tilde the mean importance per luma sample over the segment, so that at 1 both count the
        same on average (Fernandez-Menduina et al., "Image Coding for Machines via
        Feature-Preserving Rate-Distortion Optimization", equations 19 and 27; the spectral norm of
        equation 21 would leave nothing but squared error).
    max_offset
        Bound of the offsets' magnitude in QP, in (0, 51].
    floor_crf
        CRF whose quality no macroblock falls below, or None. Needs an encode by CRF.
    protect
        Rectangles in which no macroblock gets a QP above what the encoder would give it.
    compensate
        Whether a constant keeps the estimated size at that of the unsteered encode.
    memory
        Seconds after which what was seen counts 1/e in the running means.
    """

    strength: float = 1.0
    alpha: float = 0.5
    max_offset: float = 8.0
    floor_crf: float | None = None
    protect: tuple[Rect, ...] = ()
    compensate: bool = True
    memory: float = 30.0

    def __post_init__(self) -> None:
        _check("strength", self.strength, 0.0, 2.0)
        _check("alpha", self.alpha, 0.0, math.inf)
        _check("max_offset", self.max_offset, 0.0, _MAX_OFFSET)
        _check("memory", self.memory, 0.0, math.inf)
        if self.max_offset == 0 or self.memory == 0:
            raise InputError(
                f"max_offset {self.max_offset!r} and memory {self.memory!r} must be above 0"
            )
        if self.floor_crf is not None:
            _check("floor_crf", self.floor_crf, -math.inf, 51.0)

    @property
    def bounds_loss(self) -> bool:
        """Whether something may not get worse than an encode that is not steered."""
        return bool(self.protect) or self.floor_crf is not None


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high or math.isnan(value) or math.isinf(value):
        raise InputError(f"{name} {value!r} must be a number from {low:g} to {high:g}")
