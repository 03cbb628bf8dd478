"""Weights inside macroblocks as a step of the pipeline: failures cost the weights alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.allocation.weights import block_weights
from idse.errors import describe
from idse.importance.inner import InnerTrack

if TYPE_CHECKING:
    from idse.importance.motion import MotionField
    from idse.picture import Picture
    from idse.pipeline.maps import Maps
    from idse.pipeline.report import Warnings

FloatMap = npt.NDArray[np.float32]

_PER_MB = 4


class InnerWeights:
    """The weights of successive frames (``--weighted``).

    Parameters
    ----------
    mb_shape
        Macroblock rows and columns of the encoder: interlaced, a row more than pictures may have.
    strength
        Exponent of the importance; 0 gives weights of 1, which are stock.
    warnings
        Where it is told that something failed. Frames then go out with offsets alone.
    """

    def __init__(self, mb_shape: tuple[int, int], strength: float, warnings: Warnings) -> None:
        self._mb_shape = mb_shape
        self._strength = strength
        self._warnings = warnings
        self._track = InnerTrack()

    def fresh(self, maps: Maps, picture: Picture) -> FloatMap | None:
        """Return the weights of a frame that ``maps`` has just had a map for, or None.

        Raises
        ------
        InputError
            The run is strict and they cannot be made.
        """
        try:
            blocks = maps.blocks(picture)
            if blocks is None:
                return None
            return block_weights(blocks, picture.format.mb_shape, strength=self._strength)
        except Exception as error:  # noqa: BLE001 - the frame has its offsets
            self._failed(picture.index, error)
            return None

    def take(
        self, index: int, field: MotionField | None, fresh: FloatMap | None
    ) -> FloatMap | None:
        """Return the weights of the next frame that leaves, in the encoder's shape, or None.

        Parameters
        ----------
        index
            Of the frame.
        field
            Its motion; None where nothing of the frames before holds any more.
        fresh
            What :meth:`fresh` returned for it.

        Raises
        ------
        InputError
            The run is strict and they cannot be made.
        """
        try:
            weights = self._track.advance(field, fresh)
            return None if weights is None else self._padded(weights)
        except Exception as error:  # noqa: BLE001 - as above
            self._track.forget()
            self._failed(index, error)
            return None

    def _padded(self, weights: FloatMap) -> FloatMap:
        """Repeat the last row of macroblocks where the encoder has one more."""
        missing = _PER_MB * self._mb_shape[0] - weights.shape[0]
        if not missing:
            return weights
        return np.concatenate([weights, weights[-missing:]])

    def _failed(self, index: int, error: Exception) -> None:
        self._warnings.add(
            "weights",
            f"no weights inside macroblocks on frame {index} ({describe(error)}): such frames go "
            "out with offsets alone",
        )
