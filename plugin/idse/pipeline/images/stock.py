"""Stock libjpeg-turbo at the same target: without a network, and where one failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from idse.codecs.jpeg import encode
from idse.errors import InputError, TargetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.codecs.jpeg import Marker
    from idse.pipeline.images.options import JpegOptions
    from idse.pipeline.images.source import SourceImage

_BEST = 100


@dataclass(frozen=True, kw_only=True)
class Stock:
    """A file of libjpeg-turbo's own, and the quality that it has."""

    data: bytes
    quality: int


def encode_stock(
    source: SourceImage, options: JpegOptions, *, markers: Sequence[Marker] = ()
) -> Stock:
    """Encode with libjpeg-turbo's tables and coefficients, and Huffman codes made for the picture.

    Parameters
    ----------
    source
        The picture.
    options
        What is asked for. A size is met by the highest quality whose file is no larger.
    markers
        Segments to write.

    Raises
    ------
    TargetError
        Even quality 1 is too large.
    InputError
        An accuracy is asked for, which takes a network.
    """
    if options.accuracy is not None:
        raise InputError(
            f"accuracy {options.accuracy:g} cannot be told without a network: ask for a quality or "
            "a size"
        )

    def at(quality: int) -> Stock:
        data = encode(
            source.pixels,
            quality=quality,
            sampling=options.sampling_or_default,
            progressive=options.progressive,
            restart_rows=options.restart_rows,
            markers=markers,
        )
        return Stock(data=data, quality=quality)

    limit = options.limit(source.width, source.height)
    if limit is None:
        return at(options.quality_or_default)
    best = at(_BEST)
    if len(best.data) <= limit:
        return best
    low, high = 0, _BEST
    fits: Stock | None = None
    while high - low > 1:
        middle = (low + high) // 2
        found = at(middle)
        if len(found.data) <= limit:
            low, fits = middle, found
        else:
            high = middle
    if fits is None:
        smallest = found if high == 1 else at(1)
        raise out_of_reach(source, limit, len(smallest.data), markers)
    return fits


def out_of_reach(
    source: SourceImage, limit: int, smallest: int, markers: Sequence[Marker]
) -> TargetError:
    """Return the error for a size that no file of a picture has.

    Parameters
    ----------
    source
        The picture.
    limit, smallest
        Bytes that were asked for, and that the smallest file has.
    markers
        Metadata in it.
    """
    metadata = sum(4 + len(marker.data) for marker in markers)
    told = f", {metadata} of them metadata, which can be left out" if metadata else ""
    return TargetError(
        f"{limit} bytes are out of reach for {source.name} ({source.width}x{source.height}): its "
        f"smallest JPEG has {smallest}{told}; ask for more, or make the picture smaller"
    )
