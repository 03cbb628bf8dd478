"""Encodes of one segment, looked at from all sides: bits, errors, and what networks lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.codecs.h264.parser import Parser
from idse.codecs.x264.stream import START_CODE
from idse.importance.shares import squared_error
from idse.pipeline.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from idse.codecs.h264.parser import FrameMacroblocks
    from idse.codecs.x264 import Encoder, Packet
    from idse.importance.true_error import SourceView, TrueErrorMeter
    from idse.picture import Picture
    from idse.pipeline.probe import Watched
    from idse.pipeline.store import PictureStore

FloatMap = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]


class Trial:
    """One encode of a segment.

    Attributes
    ----------
    bytes
        Of all its packets.
    bits, error
        float64 ``(pictures, rows, cols)``: bits and squared error of every macroblock.
    types
        ``"I"``, ``"P"`` or ``"B"`` of every picture.
    skipped
        bool ``(pictures, rows, cols)``: macroblocks of which nothing was transmitted.
    judged
        By number of the picture that was judged: float64 ``(networks,)``, squared distances of the
        features.
    share
        By number of the picture that was measured: float64 ``(networks, rows, cols)``.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.bytes = 0
        self.bits: FloatArray = np.zeros(shape)
        self.error: FloatArray = np.zeros(shape)
        self.types = ["?"] * shape[0]
        self.skipped = np.zeros(shape, bool)
        self.judged: dict[int, FloatArray] = {}
        self.share: dict[int, FloatArray] = {}

    @property
    def distance(self) -> FloatArray:
        """Squared distances ``(networks,)``, summed over the pictures that were judged."""
        return np.asarray(np.sum(list(self.judged.values()), axis=0), np.float64)

    def take(self, n: int, frame: FrameMacroblocks) -> None:
        """Note what the bitstream says of a picture."""
        self.bits[n], self.skipped[n], self.types[n] = frame.bits, frame.skipped, frame.pict_type


class Trials:
    """Encodes one segment again and again.

    Parameters
    ----------
    pictures
        Of the segment, in presentation order.
    pts
        Their times by the encoders' clock.
    open_encoder
        Returns a progressive encoder for the segment that takes offsets, so many QP above the
        encode's own.
    meter
        Measures the networks' losses.
    stride
        Every so many pictures one is judged.
    views
        Where what networks see in the sources is kept, for several of these to share.
    """

    def __init__(
        self,
        pictures: PictureStore,
        pts: Sequence[int],
        open_encoder: Callable[[float], Encoder],
        meter: TrueErrorMeter,
        *,
        stride: int,
        views: dict[int, SourceView] | None = None,
    ) -> None:
        self.pictures = pictures
        self._pts = pts
        self._open_encoder = open_encoder
        self._meter = meter
        self._stride = stride
        self._views = {} if views is None else views

    @property
    def frames_seen(self) -> int:
        """How many pictures networks have looked at."""
        return len(self._views)

    def encode(
        self,
        offsets: FloatMap | None,
        shift: float,
        *,
        measured: frozenset[int] = frozenset(),
        judged: bool = False,
    ) -> Trial:
        """Encode the segment.

        Parameters
        ----------
        offsets
            float32 ``(pictures, rows, cols)``, or None for stock.
        shift
            So many QP above the encode's own.
        measured
            Pictures whose losses are shared out among macroblocks.
        judged
            Whether the sampled pictures are judged.

        Raises
        ------
        ModelError
            A network fails on a picture.
        CodecError
            x264 failed.
        """
        with self._open_encoder(shift) as encoder:
            trial = Trial((len(self.pictures), *encoder.mb_shape))
            probe, parser = Probe(encoder), Parser()
            number = {pts: n for n, pts in enumerate(self._pts)}
            length_size = 4 if encoder.global_headers else 0
            for unit in (encoder.headers.sps, encoder.headers.pps):
                list(parser.feed(START_CODE + unit, length_size=0, tag=0))

            def take(packets: Iterable[Packet]) -> None:
                for packet in packets:
                    trial.bytes += len(packet.data)
                    for parsed in parser.feed(packet.data, length_size=length_size, tag=packet.pts):
                        trial.take(number[parsed.tag], parsed.frame)
                    for watched in probe.packets([packet]):
                        self._look(trial, watched, measured, judged=judged)

            for n, picture in enumerate(self.pictures):
                probe.source(picture)
                row = None if offsets is None else np.ascontiguousarray(offsets[n])
                take(encoder.encode(picture.planes, pts=self._pts[n], offsets=row))
            take(encoder.flush())
            for parsed in parser.flush():
                trial.take(number[parsed.tag], parsed.frame)
            for watched in probe.flush():
                self._look(trial, watched, measured, judged=judged)
        return trial

    def _look(
        self, trial: Trial, watched: Watched, measured: frozenset[int], *, judged: bool
    ) -> None:
        """Note what the error of a decoded picture is, and what it costs."""
        n = watched.index
        trial.error[n] = squared_error(watched.source, watched.decoded)
        if n in measured:
            found = self._meter.measure(self._view(n, watched.source), watched.decoded)
            trial.share[n] = found.share
        if judged and n % self._stride == 0:
            view = self._view(n, watched.source)
            trial.judged[n] = self._meter.distance(view, watched.decoded)

    def _view(self, n: int, source: Picture) -> SourceView:
        if n not in self._views:
            self._views[n] = self._meter.view(source)
        return self._views[n]
