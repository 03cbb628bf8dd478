"""What a model says is lost of a picture: one number, by which files of different codecs compare.

This is the IDSE by which a fallback is chosen, always between the source and what a decoder makes
of the file, relative to the source and at least 0:

- *Networks* are run on both: the squared distance of their features over the features' squared
  length; of several the mean, by their weights. It is no estimate.
- *A student* has no features. It weighs the error of every coefficient instead, with the weights by
  which the JPEG is steered (IDSE + tau SSE), over the same sum of the source's coefficients. JPEGs
  whose coefficients were chosen by these very weights lose more than they say: `TRUST`.
- *Without a model* all errors count the same: the squared error of samples over their square sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from idse.codecs.jpeg import transform
from idse.importance.naming import split_weight
from idse.pipeline.images.planes import source_picture
from idse.pipeline.images.steered import TRUST
from idse.pipeline.makers import students

if TYPE_CHECKING:
    import numpy.typing as npt

    from idse.pipeline.images.network import Networks
    from idse.pipeline.images.options import ImageSteering
    from idse.pipeline.images.source import SourceImage
    from idse.pipeline.images.steered import SteeredImage


class Loss:
    """Says what is lost of one picture; see the module.

    Parameters
    ----------
    source
        The picture.
    steered
        The same, analysed; None where no model steers, or it failed.
    networks, steering
        Of ``steered``.
    """

    def __init__(
        self,
        source: SourceImage,
        steered: SteeredImage | None,
        networks: Networks | None,
        steering: ImageSteering | None,
    ) -> None:
        self._source = source
        self._steered = steered
        self._networks: Networks | None = None
        if steered is not None and steering is not None and not students(steering.models):
            self._networks = networks
            names = [m if isinstance(m, str) else "" for m in steering.models]
            self._shares = [split_weight(name)[1] if name else 1.0 for name in names]
            self._before = self._features(source.pixels)
        elif steered is not None:
            self._coefficients = transform(source.pixels, steered.layout)

    def of(self, pixels: npt.NDArray[np.uint8], *, sketched: bool = False) -> float:
        """Return what is lost in a decoded picture.

        Parameters
        ----------
        pixels
            uint8, of the source's height and width: R'G'B' or grey; turned as it is.
        sketched
            Whether its coefficients were chosen by the weights that a student is asked for now.

        Raises
        ------
        ModelError
            A network fails on it.
        """
        if self._networks is not None:
            return self._distance(pixels)
        if self._steered is not None:
            return self._weighted(pixels) / (TRUST if sketched else 1.0)
        true, coded = (_colours(item).astype(np.float64) for item in (self._source.pixels, pixels))
        return _ratio(float(np.sum((true - coded) ** 2)), float(np.sum(true**2)))

    def _features(self, pixels: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float64]]:
        assert self._networks is not None
        seen = self._networks.observe(source_picture(pixels, self._source.rotation))
        return [found.features.astype(np.float64) for found in seen]

    def _distance(self, pixels: npt.NDArray[np.uint8]) -> float:
        pairs = zip(self._before, self._features(pixels), strict=True)
        lost = [_ratio(float(np.sum((b - a) ** 2)), float(b @ b)) for b, a in pairs]
        return float(np.average(lost, weights=self._shares))

    def _weighted(self, pixels: npt.NDArray[np.uint8]) -> float:
        assert self._steered is not None
        layout = self._steered.layout
        colours = pixels if layout.components == 1 else _colours(pixels)
        error = total = 0.0
        for w, true, coded in zip(
            self._steered.plan.weights,
            self._coefficients,
            transform(colours, layout),
            strict=True,
        ):
            error += float(np.sum(w * np.square(true - coded), dtype=np.float64))
            total += float(np.sum(w * np.square(true), dtype=np.float64))
        return _ratio(error, total)


def _colours(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return pixels if pixels.ndim == 3 else np.stack([pixels] * 3, -1)


def _ratio(error: float, whole: float) -> float:
    """Return a part of a whole; of nothing, nothing can be lost, and anything else is all."""
    return error / whole if whole > 0 else float(error > 0)
