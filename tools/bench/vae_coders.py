"""What pictures are coded by beside the learned codec, every one within so many bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, features

from idse.codecs.jpeg import decode as decode_jpeg
from idse.errors import TargetError
from idse.pipeline.images.intra import decode_intra, encode_intra
from idse.pipeline.images.options import JpegOptions
from idse.pipeline.images.stock import encode_stock

if TYPE_CHECKING:
    from collections.abc import Callable

    from idse.evaluation.pixels import RGB
    from idse.pipeline.images.source import SourceImage

# A file, and what its decoder makes of it.
Coded = tuple[bytes, "RGB"]


def libjpeg(source: SourceImage, limit: int) -> Coded:
    """Code by libjpeg-turbo: progressive, 4:2:0, Huffman codes made for the picture."""
    made = encode_stock(source, JpegOptions(target_bytes=limit)).data
    return made, decode_jpeg(made)


def webp(source: SourceImage, limit: int) -> Coded:
    """Code by libwebp at its slowest, by the highest quality that fits."""
    image, best = Image.fromarray(source.pixels), None
    low, high = -1, 101
    while high - low > 1:
        middle = (low + high) // 2
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=middle, method=6)
        if len(buffer.getvalue()) <= limit:
            low, best = middle, buffer.getvalue()
        else:
            high = middle
    if best is None:
        raise TargetError(f"{limit} bytes are too few for WebP")
    return best, np.asarray(Image.open(io.BytesIO(best)).convert("RGB"))


def intra(source: SourceImage, limit: int) -> Coded:
    """Code by x264, preset slower, one frame, without its comment."""
    made = encode_intra(source.pixels, limit)
    return made, decode_intra(made, *source.pixels.shape[:2])


STOCK: dict[str, Callable[[SourceImage, int], Coded]] = {
    "libjpeg-turbo": libjpeg,
    "WebP": webp,
    "x264 intra": intra,
}


def versions() -> tuple[str, ...]:
    """Return what the stock coders' files depend on."""
    return tuple(str(features.version(name)) for name in ("libjpeg_turbo", "webp"))
