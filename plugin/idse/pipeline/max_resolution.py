"""How large pictures are coded: a bound on their size, and even sides of their shape below it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from idse.errors import InputError

if TYPE_CHECKING:
    from idse.picture import PictureFormat

AUTO = "auto"
# The smallest side that is worth coding, and that no rounding to even sizes distorts visibly.
MIN_SIDE = 64


@dataclass(frozen=True)
class MaxResolution:
    """A bound of the coded size, or the wish to have one found.

    Attributes
    ----------
    width, height
        Of the picture as it is shown, in luma samples; None does not bound. Both None: ``auto``.
    """

    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        for side in (self.width, self.height):
            if side is not None and side < MIN_SIDE:
                raise InputError(f"maximal resolution of {side} lines: at least {MIN_SIDE} needed")

    @classmethod
    def parse(cls, text: str) -> MaxResolution:
        """Read ``"auto"``, ``"HEIGHT"`` or ``"WIDTHxHEIGHT"``.

        Raises
        ------
        InputError
            ``text`` is none of them, or a side is below 64.
        """
        if text == AUTO:
            return cls()
        match = re.fullmatch(r"(?:(\d{1,5})x)?(\d{1,5})", text)
        if match is None:
            raise InputError(
                f"maximal resolution {text!r} is neither auto, a height such as 480, nor a size "
                "such as 854x480"
            )
        return cls(None if match[1] is None else int(match[1]), int(match[2]))

    @property
    def auto(self) -> bool:
        """Whether the size is to be found by looking at what a network can see."""
        return self.height is None and self.width is None

    def fit(self, form: PictureFormat) -> tuple[int, int]:
        """Return the width and height to code pictures in: theirs, or smaller ones of their shape.

        Sides are even and as near to the picture's shape as that allows; nothing is enlarged.
        """
        width, height = form.width, form.height
        most_width, most_height = self.width, self.height
        if form.rotation in {90, 270}:
            most_width, most_height = most_height, most_width
        scale = min(
            [
                Fraction(most, side)
                for most, side in ((most_width, width), (most_height, height))
                if most is not None
            ],
            default=Fraction(1),
        )
        return scaled_size(form, scale)


def scaled_size(form: PictureFormat, scale: Fraction) -> tuple[int, int]:
    """Return even sides of a picture scaled down; its own where ``scale`` is 1 or more."""
    if scale >= 1:
        return form.width, form.height
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (form.width, form.height))
    return min(width, form.width), min(height, form.height)
