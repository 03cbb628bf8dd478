"""What a JPEG costs a network itself: the distance of its outputs, through differentiable JPEG.

Reich, "Deep Image Codec Control" (2023), equations 4.11 to 4.13: the task's own loss, here with the
network's outputs on the source for a label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from idse.learned.jpeg import differentiable
from idse.learned.jpeg.discrete import STRAIGHT_THROUGH
from idse.picture import PictureFormat

if TYPE_CHECKING:
    from torch import Tensor

    from idse.learned.jpeg.examples import Example
    from idse.vision import FeatureExtractor

_CENTRE = 128.0
# So that a picture on which a network's outputs do not change at all has a logarithm.
_NOTHING = 1e-9


class Judged:
    """A picture as a network sees it.

    Parameters
    ----------
    example
        The picture, whole.
    network
        That looks at it.
    """

    def __init__(self, example: Example, network: FeatureExtractor) -> None:
        self._network = network
        self._layout = example.layout
        height, width = example.pixels.shape[:2]
        self._form = PictureFormat(
            width=width,
            height=height,
            pix_fmt="yuvj444p",
            matrix="bt601",
            full_range=True,
            siting="center",
        )
        rgb = torch.from_numpy(example.pixels.copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            self._source = self._features(rgb)

    def distance(self, coefficients: list[Tensor]) -> Tensor:
        """Return the squared distance of outputs to the source's, above 0, differentiably.

        Parameters
        ----------
        coefficients
            Per component ``(1, rows, columns, 8, 8)``: what a decoder makes of levels and steps.
        """
        ones = torch.ones(2, 8, 8)
        rgb = differentiable.decode(coefficients, ones, self._layout, discrete=STRAIGHT_THROUGH)
        found: Tensor = (self._features(rgb) - self._source).square().sum() + _NOTHING
        return found

    def _features(self, rgb: Tensor) -> Tensor:
        ycc = torch.einsum("ij,njhw->nihw", differentiable.jfif_matrix(), rgb)
        y, cb, cr = ycc[:, :1], ycc[:, 1:2] + _CENTRE, ycc[:, 2:] + _CENTRE
        return self._network.features(self._network.to_input(y, cb, cr, self._form))
