"""What a viewer would get from an encode that is still running, beside its source pictures."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from idse.errors import CodecError
from idse.picture import Picture
from idse.pipeline.frames import picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from idse.codecs.x264 import Encoder, Packet


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """One frame before and after coding.

    Attributes
    ----------
    source, decoded
        Of the same format; ``decoded`` without what an odd size was padded by.
    index
        Number of the frame, from 0.
    """

    source: Picture
    decoded: Picture
    index: int


class Probe:
    """Decodes the packets of an encoder and pairs their pictures with what was handed in.

    Holds the source pictures that are wanted until the encoder and the decoder let go of them:
    with x264's default lookahead about 60 frames at most.

    Parameters
    ----------
    encoder
        Whose packets they are.
    wanted
        Tells by its number whether a frame is to be paired; others are decoded and dropped.
    """

    def __init__(self, encoder: Encoder, wanted: Callable[[int], bool] = lambda _: True) -> None:
        self._wanted = wanted
        context = av.CodecContext.create("h264", "r")
        if encoder.global_headers:
            context.extradata = encoder.extradata
        context.thread_count = 1  # frame threads would only delay
        self._context: Any = context
        self._sources: deque[Picture | None] = deque()
        self._handed_in = self._came_out = 0

    def source(self, item: Picture) -> None:
        """Take a picture that is about to be encoded."""
        self._sources.append(_owned(item) if self._wanted(self._handed_in) else None)
        self._handed_in += 1

    def packets(self, packets: Iterable[Packet]) -> Iterator[Watched]:
        """Take packets in decoding order; yield the frames that are complete, as they are shown."""
        for packet in packets:
            yield from self._frames(av.Packet(packet.data))

    def flush(self) -> Iterator[Watched]:
        """Yield the last frames.

        Raises
        ------
        CodecError
            The decoder did not return every frame.
        """
        yield from self._frames(None)
        if self._sources:
            raise CodecError(
                f"{len(self._sources)} of {self._handed_in} frames of a trial encode do not decode"
            )

    def _frames(self, packet: av.Packet[Any] | None) -> Iterator[Watched]:
        for frame in self._context.decode(packet):
            if not self._sources:
                raise CodecError("a trial encode decodes to more frames than it was given")
            source, index = self._sources.popleft(), self._came_out
            self._came_out += 1
            if source is None:
                continue
            coded = picture(frame, index)
            y, cb, cr = (
                plane[: shape[0], : shape[1]]
                for plane, shape in zip(coded.planes, source.format.plane_shapes, strict=True)
            )
            decoded = Picture(planes=(y, cb, cr), format=source.format, index=source.index)
            yield Watched(source=source, decoded=decoded, index=index)


def _owned(item: Picture) -> Picture:
    """Return a copy that keeps no decoder's buffer from being used again."""
    y, cb, cr = (np.array(plane) for plane in item.planes)
    return Picture(planes=(y, cb, cr), format=item.format, index=item.index, pts=item.pts)
