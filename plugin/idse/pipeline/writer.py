"""Packets on their way out: each gets its times back, and the first one opens the sink."""

from __future__ import annotations

from typing import TYPE_CHECKING

from idse.pipeline.source import DecodedFrame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from idse.codecs.x264 import Encoder, Packet
    from idse.pipeline.sink import Sink
    from idse.pipeline.source import Item, Source
    from idse.pipeline.timing import Timeline


class Writer:
    """Hands packets to a sink with their times, and opens it when the first one comes."""

    def __init__(
        self,
        source: Source,
        sink: Sink | None,
        encoder: Encoder,
        timeline: Timeline,
        matrix: tuple[int, ...] | None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._encoder = encoder
        self.timeline = timeline
        self._matrix = matrix
        self._started = False

    def write(self, packets: Iterable[Packet]) -> int:
        """Write video packets; return their bytes."""
        size = 0
        for packet in packets:
            size += len(packet.data)
            shown, dts = self.timeline.pop(packet.pts, packet.dts)
            if self._sink is None:
                continue
            if not self._started:
                self._sink.start(self._source, self._encoder, packet, matrix=self._matrix)
                self._started = True
            self._sink.write_video(packet, shown, dts)
        return size

    def copy(self, packet: Item) -> None:
        """Write a packet of another stream."""
        if self._sink is not None and not isinstance(packet, DecodedFrame):
            self._sink.write_copy(packet)
