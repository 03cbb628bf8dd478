"""A picture whose JPEG is steered: analysed and transformed once, then coded at any rate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from idse.allocation.tables import plan
from idse.codecs.jpeg import (
    JpegLayout,
    Quantiser,
    decode,
    standard_table,
    transform_with_samples,
    write,
)
from idse.codecs.jpeg.markers import written_as_they_are
from idse.errors import TargetError
from idse.learned.jpeg.description import describe
from idse.pipeline.images.control import chosen_sampling, controlled, first_scale
from idse.pipeline.images.planes import coded_picture, decoded_picture, source_picture
from idse.pipeline.images.rate import Search
from idse.pipeline.images.sample import sampled
from idse.pipeline.images.stock import out_of_reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from idse.allocation.tables import CoefficientPlan
    from idse.codecs.jpeg import Marker
    from idse.pipeline.images.network import Networks
    from idse.pipeline.images.options import JpegOptions
    from idse.pipeline.images.rate import Solution
    from idse.pipeline.images.source import SourceImage

# Coefficients that were chosen by a sketch lose more than it says, those of libjpeg do not. At this
# share of what libjpeg loses by the sketch, ours had 0.7 to 1.35 times the distance of outputs and
# 0.95 on average (yolov4-tiny on COCO, efficientnet-lite0 on imagenet, quality 20 to 90).
TRUST = 0.75
# Where a set shares a scale, a picture in which a network sees nothing would get no bits at all. It
# loses no more than by libjpeg at its quality over this.
_WORST = 3


@dataclass(frozen=True, kw_only=True)
class Coded:
    """A file, and what led to it.

    Attributes
    ----------
    data
        The file.
    scale
        Of the plan.
    agreement
        How far networks agree on it with the source; None where that was not asked.
    """

    data: bytes
    scale: float
    agreement: float | None = None


class SteeredImage:
    """One picture, analysed.

    Parameters
    ----------
    source
        The picture.
    networks
        That steer.
    options
        What is asked for.
    markers
        Segments to write.
    like
        The plan of a picture that this one stands for, in place of one of its own.

    Raises
    ------
    ModelError
        A network fails on the picture.
    InputError
        The picture is too large for a JPEG.
    """

    def __init__(
        self,
        source: SourceImage,
        networks: Networks,
        options: JpegOptions,
        *,
        markers: Sequence[Marker] = (),
        like: CoefficientPlan | None = None,
    ) -> None:
        overhead = sum(4 + len(marker.data) for marker in written_as_they_are(markers))
        limit = options.limit(source.width, source.height)
        size = None if limit is None else max(1, limit - overhead)
        sampling = _sampling(source, options, size, networks)
        self.layout = JpegLayout(source.width, source.height, sampling)
        self._source = source
        self._networks = networks
        self._options = options
        self._markers = markers
        coefficients, samples = transform_with_samples(source.pixels, self.layout)
        self.plan: CoefficientPlan
        if like is None:
            picture = coded_picture(self.layout, samples, source.rotation)
            weights = networks.weights(picture)[: self.layout.components]
            self.plan = plan(weights, strength=options.strength)
        else:
            self.plan = like
        start = None
        if size is not None and self.layout.components == 3:
            description = describe(coefficients, self.layout)
            if options.control and like is None:
                self.plan = controlled(self.plan, description, size, model=networks.name)
            start = first_scale(self.plan, description, size)
        blocks = (self.layout, coefficients, self.plan.weights)
        self.search = Search(
            Quantiser(*blocks),
            self.plan,
            sample=partial(sampled, *blocks),
            progressive=options.progressive,
            restart_rows=options.restart_rows,
            overhead=overhead,
            start=start,
        )

    def encode(self, scale: float | None = None) -> Coded:
        """Return the file that is asked for.

        Parameters
        ----------
        scale
            Of the plan, where a whole set shares one: it then stands for the quality.

        Raises
        ------
        TargetError
            It cannot be reached.
        ModelError
            An accuracy is asked for, and a network fails on a file.
        """
        options = self._options
        limit = options.limit(self.layout.width, self.layout.height)
        if limit is not None:
            return self.fitting(limit)
        if options.accuracy is not None:
            return self._agreeing(options.accuracy)
        quality = options.quality_or_default
        if scale is None:
            return self._coded(self.matching(quality))
        least = max(1, quality // _WORST)
        solution = self.search.at(scale)
        worst = TRUST * self.search.rounded(self._stock_tables(least))
        if solution.quantised.distortion > worst:
            solution = self.matching(least)
        return self._coded(solution)

    def fitting(self, limit: int) -> Coded:
        """Return the largest file found that has no more than so many bytes, metadata and all.

        Raises
        ------
        TargetError
            Even the smallest has more.
        """
        solution = self.search.fit(limit)
        if solution.size > limit:
            raise out_of_reach(self._source, limit, solution.size, self._markers)
        return self._coded(solution)

    def matching(self, quality: int) -> Solution:
        """Return the JPEG that is as good for the network as libjpeg's of a quality."""
        return self.search.match(self._stock_tables(quality), TRUST)

    def _stock_tables(self, quality: int) -> list[npt.NDArray[np.uint16]]:
        return [standard_table(quality, chroma=i > 0) for i in range(self.layout.components)]

    def luma_importance(self) -> npt.NDArray[np.float32]:
        """Return what errors of luma cost, float32 ``(height, width)``, the same in each block."""
        mean: npt.NDArray[np.float32] = self.plan.weights[0].mean((2, 3))
        blocks = mean.repeat(8, 0).repeat(8, 1)
        return blocks[: self.layout.height, : self.layout.width]

    def write(self, solution: Solution) -> bytes:
        """Return the file of a solution."""
        return write(
            self.layout,
            solution.quantised.coefficients,
            solution.point.tables,
            scans=solution.scans,
            restart_rows=self._options.restart_rows,
            markers=self._markers,
        )

    def _coded(self, solution: Solution, agreement: float | None = None) -> Coded:
        return Coded(data=self.write(solution), scale=solution.scale, agreement=agreement)

    def _agreeing(self, asked: float) -> Coded:
        from idse.pipeline.images.accuracy import agreement

        rotation = self._source.rotation
        before = self._networks.observe(source_picture(self._source.pixels, rotation))
        reached: dict[float, tuple[bytes, float]] = {}

        def agrees(solution: Solution) -> bool:
            data = self.write(solution)
            after = self._networks.observe(decoded_picture(decode(data, colour="ycc"), rotation))
            found = min(agreement(a, b) for a, b in zip(before, after, strict=True))
            reached[solution.scale] = data, found
            return found >= asked

        solution, agreed = self.search.coarsest(agrees)
        data, found = reached[solution.scale]
        if not agreed:
            raise TargetError(
                f"accuracy {asked:g} is out of reach for {self._source.name}: the finest JPEG "
                f"reaches {found:.3f}; ask for less, or for sampling 4:4:4"
            )
        return Coded(data=data, scale=solution.scale, agreement=found)


def _sampling(
    source: SourceImage, options: JpegOptions, size: int | None, networks: Networks
) -> str:
    """Return a picture's sampling: the one asked for goes before that of the rate."""
    if source.grey:
        return "grey"
    if options.sampling is None and size is not None:
        return chosen_sampling(source.width * source.height, size, model=networks.name)
    return options.sampling_or_default
