"""JPEG for machines as `idse image` makes it, also with parts of it left out.

A rate is a quality: images lose about what they lose by libjpeg at that quality, as the network
weighs it. They share one scale, as the pictures of a folder do for `idse image`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from idse.allocation.tables import CoefficientPlan
from idse.codecs.jpeg import (
    JpegLayout,
    Quantiser,
    library_version,
    transform,
    transform_with_samples,
)
from idse.errors import InputError
from idse.evaluation.coders.base import Analysis, parser
from idse.evaluation.coders.still_jpeg import StillJpeg, quality
from idse.evaluation.fingerprint import code_digest, model_digest
from idse.evaluation.sources import Images
from idse.pipeline.folders.work import shared_scale
from idse.pipeline.images import arguments as image_arguments
from idse.pipeline.images.network import Networks
from idse.pipeline.images.planes import coded_picture
from idse.pipeline.images.rate import Search
from idse.pipeline.images.source import SourceImage
from idse.pipeline.images.steered import SteeredImage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idse.allocation.tables import OperatingPoint
    from idse.evaluation.pixels import RGB
    from idse.evaluation.sources import Source
    from idse.picture import Picture
    from idse.pipeline.images.options import ImageSteering, JpegOptions

_ANALYSIS = ("vision", "importance", "codecs/jpeg", "_native", "pipeline/images/planes.py")
_PARTS = ("blocks", "trellis", "set")
# Images that the scale of a set is found on.
_SCALED_ON = 16

Weights = list[npt.NDArray[np.float32]]


class _Kept(Networks):
    """What networks said of a picture before."""

    def __init__(self, weights: Weights) -> None:
        self._kept = weights

    def weights(self, picture: Picture) -> Weights:
        """Return it."""
        del picture
        return self._kept


class _Rounding(CoefficientPlan):
    """A plan whose coefficients are rounded: bits cost nothing."""

    def at(self, scale: float) -> OperatingPoint:
        """Return tables without a price."""
        return replace(super().at(scale), lam=0.0)


@dataclass(frozen=True, kw_only=True)
class IdseJpeg(StillJpeg):
    """Options of `idse image`, and ``--without blocks``, ``trellis`` or ``set``; may be repeated.

    Attributes
    ----------
    steering
        Networks and sketch.
    options
        Form of the files.
    without
        Parts to leave out: how blocks differ in weight, the trellis (coefficients are rounded), or
        the balance of the set (each image gets the quality by itself, as always with several
        networks).
    """

    codec: ClassVar = "jpeg"
    code: ClassVar = ("codecs/jpeg", "allocation", "pipeline", "picture.py")
    rates: ClassVar = (10.0, 20.0, 35.0, 52.0, 68.0, 82.0, 92.0, 97.0)

    steering: ImageSteering
    options: JpegOptions
    without: frozenset[str]

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """Read the options."""
        known = parser(cls.codec)
        image_arguments.add_encoding(known)
        image_arguments.add_steering(known)
        known.add_argument("--without", action="append", default=[], choices=_PARTS)
        args = known.parse_args(words)
        options = image_arguments.jpeg_options(args)
        if options != replace(options, target_bytes=None, bpp=None, quality=None, accuracy=None):
            raise InputError(f"{options.target} is what --rates is for: leave it out")
        steering = image_arguments.image_steering(args)
        if steering is None:
            raise InputError("--no-steer is another codec, libjpeg-turbo: name that")
        return cls(steering=steering, options=options, without=frozenset(args.without))

    @classmethod
    def version(cls) -> str:
        """Return the version of the libjpeg-turbo that writes the files."""
        return f"idse with libjpeg-turbo {library_version()}"

    def key(self, source: Source) -> tuple[str, ...]:
        """Return hashes of library, code and networks."""
        assert isinstance(source, Images)  # `check` lets nothing else through
        return *super().key(source), *self.analysis_key(source)

    def analysis_key(self, source: Images) -> tuple[str, ...]:
        """Return hashes of the sketch's options, code and networks."""
        del source
        networks = [model_digest(str(model), stills=True) for model in self.steering.models]
        how = f"{self.steering.n_s} {self.steering.seed} {self.options.sampling_or_default}"
        return self.codec, how, code_digest(_ANALYSIS), *networks

    def analyse(self, source: Images) -> Analysis:
        """Return ``N/C``, the weights of component C of picture N."""
        networks = Networks(self.steering)
        found: Analysis = {}
        for index, rgb in enumerate(source.pixels()):
            layout = JpegLayout(rgb.shape[1], rgb.shape[0], self.options.sampling_or_default)
            picture = coded_picture(layout, transform_with_samples(rgb, layout).samples, 0)
            for component, weights in enumerate(networks.weights(picture)):
                found[f"{index}/{component}"] = weights
        return found

    def encode(
        self, source: Images, rate: float, analysis: Mapping[str, npt.NDArray[Any]]
    ) -> list[bytes]:
        """Encode every image, at one scale unless the set is left out."""
        options = replace(self.options, quality=quality(rate))
        images = source.pixels()
        steered = [
            SteeredImage(SourceImage(pixels=rgb), _Kept(self._weights(analysis, index)), options)
            for index, rgb in enumerate(images)
        ]
        scale = None
        if "set" not in self.without and len(self.steering.models) == 1:
            some = steered[:: -(-len(steered) // _SCALED_ON)]
            scale = shared_scale([item.encode().scale for item in some])
        coded = [item.encode(scale) for item in steered]
        if "trellis" not in self.without:
            return [item.data for item in coded]
        return [
            self._rounded(rgb, item, made.scale)
            for rgb, item, made in zip(images, steered, coded, strict=True)
        ]

    def _weights(self, analysis: Mapping[str, npt.NDArray[Any]], index: int) -> Weights:
        weights = [analysis[f"{index}/{component}"] for component in range(3)]
        if "blocks" not in self.without:
            return weights
        return [np.broadcast_to(w.mean((0, 1)), w.shape) for w in weights]

    def _rounded(self, rgb: RGB, item: SteeredImage, scale: float) -> bytes:
        """Return the file of an image at a scale without a trellis."""
        quantiser = Quantiser(item.layout, transform(rgb, item.layout), item.plan.weights)
        search = Search(
            quantiser,
            _Rounding(**vars(item.plan)),
            progressive=self.options.progressive,
            restart_rows=self.options.restart_rows,
        )
        return item.write(search.at(scale))
