"""What goes to the encoder with a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from idse.pipeline.source import Item


@dataclass(frozen=True, slots=True, eq=False)
class FrameSteering:
    """How one frame is steered.

    Attributes
    ----------
    offsets
        float32 ``(mb_rows, mb_cols)``: QP.
    weights
        float32 ``(4 mb_rows, 4 mb_cols)``: what errors in 4x4 luma blocks cost, with a mean of 1
        inside every macroblock; None counts all alike.
    """

    offsets: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return self.offsets.nbytes + (0 if self.weights is None else self.weights.nbytes)


# An item, and how it is steered: None is stock, and what everything but frames gets.
Work: TypeAlias = "tuple[Item, FrameSteering | None]"
