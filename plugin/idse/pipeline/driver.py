"""Feeds an encoder, and counts what goes in and comes out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from idse.errors import InputError
from idse.pipeline.makers import students
from idse.pipeline.options import Progress
from idse.pipeline.source import DecodedFrame
from idse.pipeline.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from idse.codecs.x264 import Encoder, Packet
    from idse.picture import Picture
    from idse.pipeline.loading import SteeringOptions
    from idse.pipeline.source import Item, Source
    from idse.pipeline.work import Work
    from idse.pipeline.writer import Writer


class Watch(Protocol):
    """Looks at an encode while it runs."""

    def source(self, picture: Picture, pts: int, seconds: float) -> None:
        """See a picture that is about to be encoded."""

    def packets(self, packets: Iterable[Packet]) -> None:
        """See packets that came out, in decoding order."""

    def flush(self) -> None:
        """See that there are no more."""


# What a packet takes beside its data, bytes.
_PACKET_OVERHEAD = 512
# Pictures that may wait, in bytes: decoded ones for the analysis, steered ones for the encoder.
# Few, for memory takes time when it is first touched; many of the latter only where they keep the
# encoder busy while a network looks at a frame, which takes longer than a dozen frames.
_DECODED_BUDGET = 8 << 20
_STEERED_BUDGET = 8 << 20
_STEERED_BUDGET_OF_NETWORKS = 40 << 20


def until_frame(stage: Stage[Item]) -> tuple[list[Item], DecodedFrame, Iterator[Item]]:
    """Take items up to the first frame; return those before it, it, and the others.

    Raises
    ------
    InputError
        There is none.
    """
    items = iter(stage)
    head: list[Item] = []
    for item in items:
        if isinstance(item, DecodedFrame):
            return head, item, items
        head.append(item)
    raise InputError("the source has no frame")


def item_size(item: Item) -> int:
    """Return the bytes that an item holds on to."""
    return item.size + _PACKET_OVERHEAD


def work_size(work: Work) -> int:
    """Return the bytes that an item and its steering hold on to."""
    item, steering = work
    return item_size(item) + (0 if steering is None else steering.nbytes)


def decoded_ahead(source: Source) -> Stage[Item]:
    """Decode a source in a thread of its own."""
    return Stage(source.items(), size=item_size, budget=_DECODED_BUDGET, name="decode")


def steered_ahead(work: Iterable[Work], steering: SteeringOptions | None) -> Stage[Work]:
    """Steer in a thread of its own, as far ahead of the encoder as its maps need."""
    budget = _STEERED_BUDGET_OF_NETWORKS
    if steering is None or steering.maps is not None or students(steering.models):
        budget = _STEERED_BUDGET
    return Stage(work, size=work_size, budget=budget, name="steer")


class Driver:
    """Drives the encodes of a run.

    Parameters
    ----------
    progress
        Called after every frame.

    Attributes
    ----------
    frames, bytes
        Of video, handed in and come out since the last `reset`.
    seconds
        Wall time inside libx264, over all encodes.
    """

    def __init__(self, progress: Callable[[Progress], None] | None) -> None:
        self._progress = progress
        self.frames = 0
        self.bytes = 0
        self.seconds = 0.0

    def reset(self) -> None:
        """Count the next encode from the beginning."""
        self.frames = self.bytes = 0

    def tell(self, position: float, duration: float | None, phase: str) -> None:
        """Report seconds of video that were gone through without an encode that is counted."""
        if self._progress is not None:
            self._progress(
                Progress(frames=0, position=position, duration=duration, bytes=0, phase=phase)
            )

    def run(
        self,
        work: Iterable[Work],
        encoder: Encoder,
        writer: Writer,
        source: Source,
        *,
        phase: str,
        watch: Watch | None = None,
    ) -> None:
        """Encode frames as they are steered, and copy everything else, to the end."""
        start: float | None = None
        duration = source.duration
        for item, steering in work:
            if not isinstance(item, DecodedFrame):
                writer.copy(item)
                continue
            pts = writer.timeline.push(item.time)
            shown = float(item.time.pts * source.time_base)
            if watch is not None:
                watch.source(item.picture, pts, shown)
            begin = time.perf_counter()
            packets = encoder.encode(
                item.picture.planes,
                pts=pts,
                offsets=None if steering is None else steering.offsets,
                weights=None if steering is None else steering.weights,
            )
            self.seconds += time.perf_counter() - begin
            self._take(packets, writer, watch)
            self.frames += 1
            end = float((item.time.pts + item.time.duration) * source.time_base)
            if start is None:
                start = shown
            del item
            if self._progress is not None:
                self._progress(
                    Progress(
                        frames=self.frames,
                        position=end - start,
                        duration=duration,
                        bytes=self.bytes,
                        phase=phase,
                    )
                )
        begin = time.perf_counter()
        for packet in encoder.flush():
            self._take([packet], writer, watch)
        self.seconds += time.perf_counter() - begin
        if watch is not None:
            watch.flush()

    def _take(self, packets: list[Packet], writer: Writer, watch: Watch | None) -> None:
        self.bytes += writer.write(packets)
        if watch is not None:
            watch.packets(packets)
