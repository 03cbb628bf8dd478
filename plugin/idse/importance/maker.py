"""What makes maps: the interface that sketches of networks and students share; without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from idse.importance.maps import ImportanceMap, MapMetadata
    from idse.importance.spectrum import Spectrum
    from idse.picture import Picture

FloatMap = npt.NDArray[np.float32]


class MapMaker(Protocol):
    """Says what matters in a picture.

    `idse.importance.Analyser` computes it, from the gradients of networks;
    `idse.learned.student.StudentAnalyser` predicts it. Whatever is asked about a picture right
    after something else is quick. Any of it may raise `ModelError`, or whatever a user's network
    raises.
    """

    @property
    def metadata(self) -> MapMetadata:
        """What a map file says about how its maps were made."""

    def weight(self, picture: Picture) -> FloatMap:
        """Return the importance of each macroblock per luma sample, float32 and >= 0."""

    def analyse(self, picture: Picture) -> ImportanceMap:
        """Return the same as a map that is tied to its picture."""

    def blocks(self, picture: Picture) -> FloatMap:
        """Return what 4x4 luma blocks matter, float32 ``(ceil(height / 4), ceil(width / 4))``."""

    def spectrum(self, picture: Picture) -> Spectrum:
        """Return the mean importance per frequency."""

    def coefficients(self, picture: Picture) -> list[npt.NDArray[np.float32]]:
        """Return what errors in each coefficient of a JPEG cost.

        Returns
        -------
        list of ndarray
            For Y, Cb and Cr, float32 ``(block rows, block columns, 8, 8)``, >= 0: squared feature
            distance per squared error of an orthonormal coefficient in code values.
        """

    def forget(self) -> None:
        """Let go of the last picture."""
