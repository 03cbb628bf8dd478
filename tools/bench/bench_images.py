"""A set of images as intra frames, each its own stream, QPs allocated over the whole set."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
import numpy.typing as npt
from bench_judging import Images, Panel, extractor

from idse.allocation import Allocator, OffsetPolicy, estimate_bits
from idse.codecs.x264 import Encoder
from idse.importance import Analyser
from idse.picture import Picture
from idse.pipeline.frames import picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# One warning per image of an odd size and encode would be thousands.
logging.getLogger("idse.codecs.x264").setLevel(logging.ERROR)

FloatMap = npt.NDArray[np.float32]


def weights(images: Images, model: str, chosen: slice) -> list[FloatMap]:
    """Return the importance of some of the images, as the defaults of ``idse`` compute it."""
    analyser = Analyser([(extractor(model), 1.0)])
    return [analyser.analyse(item).weight() for item in images.pictures()[chosen]]


def offsets(
    pictures: Sequence[Picture], importance: Sequence[FloatMap], crf: int
) -> list[FloatMap]:
    """Return QP offsets by the default policy, normalised over all pictures together."""
    whole = Allocator(OffsetPolicy(), pictures[0].format.mb_shape, crf=crf)
    parts = [whole.for_shape(item.format.mb_shape) for item in pictures]
    for part, weight in zip(parts, importance, strict=True):
        part.observe(weight)
    logs = [part.normalise(weight) for part, weight in zip(parts, importance, strict=True)]
    for part, log_weight, item in zip(parts, logs, pictures, strict=True):
        part.account(log_weight, estimate_bits(item, None, qp=crf))
    return [part.offsets(log_weight) for part, log_weight in zip(parts, logs, strict=True)]


def encode(
    item: Picture, options: dict[str, str], crf: int, field: FloatMap | None
) -> tuple[bytes, bytes]:
    """Encode one intra frame; return its decoder configuration and its coded picture."""
    tune = options.get("tune")
    given = {key: value for key, value in options.items() if key != "tune"}
    with Encoder(
        width=item.format.width,
        height=item.format.height,
        fps=Fraction(25),
        preset="medium",
        tune=tune,
        options=given | {"crf": str(crf), "keyint": "1", "threads": "1"},
        steer=field is not None,
    ) as encoder:
        packets = [*encoder.encode(item.planes, pts=0, offsets=field), *encoder.flush()]
        return encoder.extradata, b"".join(packet.data for packet in packets)


def decode(source: Picture, extradata: bytes, data: bytes) -> Picture:
    """Decode one intra frame; what an odd size was padded by is cut off."""
    context = av.CodecContext.create("h264", "r")
    context.extradata = extradata
    frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    coded = picture(frames[0], source.index)
    y, cb, cr = coded.planes
    rows, columns = source.planes[0].shape
    return Picture(planes=(y[:rows, :columns], cb, cr), format=source.format, index=source.index)


def encode_set(
    images: Images,
    panel: Panel,
    options: dict[str, str],
    crf: int,
    importance: Sequence[FloatMap] | None,
) -> tuple[npt.NDArray[np.int64], Path]:
    """Encode all images, steered where importance is given, and measure them.

    Returns the bytes of every coded picture (without parameter sets and x264's message, which a
    video has once) and the file of the measurement.
    """
    pictures = images.pictures()
    fields = [None] * len(pictures) if importance is None else offsets(pictures, importance, crf)
    streams = [
        encode(item, options, crf, field) for item, field in zip(pictures, fields, strict=True)
    ]

    def decoded() -> Iterator[Picture]:
        for item, (extradata, data) in zip(pictures, streams, strict=True):
            yield decode(item, extradata, data)

    everything = b"".join(part for stream in streams for part in stream)
    size = np.array([len(data) for _, data in streams], np.int64)
    return size, panel.measure(images, everything, decoded)
