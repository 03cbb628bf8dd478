"""Where a JPEG's components have their blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK: Final = 8

# libjpeg's JPEG_MAX_DIMENSION; the format itself ends at 65535.
MAX_SIDE: Final = 65500

# Horizontal and vertical sampling factors of each component (ITU-T T.81 A.1.1).
SAMPLINGS: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {
    "4:2:0": ((2, 2), (1, 1), (1, 1)),
    "4:2:2": ((2, 1), (1, 1), (1, 1)),
    "4:4:4": ((1, 1), (1, 1), (1, 1)),
    "grey": ((1, 1),),
}


@dataclass(frozen=True)
class JpegLayout:
    """Size and chroma sampling of a JPEG.

    Attributes
    ----------
    width, height
        Size in pixels, 1 to 65500 each.
    sampling
        ``"4:2:0"``, ``"4:2:2"``, ``"4:4:4"`` (three components: Y, Cb, Cr) or ``"grey"`` (one).

    Raises
    ------
    InputError
        The size is out of range, or the sampling is not one of the above.
    """

    width: int
    height: int
    sampling: str = "4:2:0"

    def __post_init__(self) -> None:
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise InputError(
                f"{self.width}x{self.height} pixels do not fit a JPEG: sides are 1 to {MAX_SIDE}"
            )
        if self.sampling not in SAMPLINGS:
            raise InputError(
                f"sampling {self.sampling!r} is unknown: use one of {', '.join(SAMPLINGS)}"
            )

    @property
    def factors(self) -> tuple[tuple[int, int], ...]:
        """Sampling factors of each component: (horizontal, vertical)."""
        return SAMPLINGS[self.sampling]

    @property
    def components(self) -> int:
        """Number of components: 3, or 1 for grey."""
        return len(self.factors)

    def sample_shape(self, component: int) -> tuple[int, int]:
        """Return (height, width) of a component in its own samples."""
        horizontal, vertical = self.factors[component]
        widest, tallest = self.factors[0]
        return (
            -(-self.height * vertical // tallest),
            -(-self.width * horizontal // widest),
        )

    def block_shape(self, component: int) -> tuple[int, int]:
        """Return (rows, columns) of the 8x8 blocks that cover a component's samples.

        Blocks that only fill the last MCU of an interleaved scan are not counted.
        """
        height, width = self.sample_shape(component)
        return -(-height // BLOCK), -(-width // BLOCK)
