"""Offsets of a whole source by search, segment after segment (``--effort oracle``)."""

from __future__ import annotations

import math
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from idse.allocation import Allocator
from idse.errors import InputError, ModelError
from idse.pipeline.effort import Found, OraclePolicy, SegmentSearch
from idse.pipeline.guard import SEGMENT_SECONDS, Verdict
from idse.pipeline.source import DecodedFrame
from idse.pipeline.store import PictureStore
from idse.pipeline.trial import Trials
from idse.pipeline.work import FrameSteering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from fractions import Fraction

    import numpy.typing as npt

    from idse.allocation import OffsetPolicy
    from idse.codecs.x264 import Encoder
    from idse.importance.true_error import TrueErrorMeter
    from idse.picture import Picture
    from idse.pipeline.report import Warnings
    from idse.pipeline.source import Item, Source
    from idse.pipeline.timing import FrameTime, Timeline
    from idse.pipeline.work import Work

    FloatMap = npt.NDArray[np.float32]

# Offsets are searched at constant quality: where a bitrate is asked for, at the CRF that comes
# near it, found from one encode at this CRF.
_FIRST_CRF = 26.0
_CRF_RANGE = (10.0, 45.0)
_HALVING_QP = 6.0


class Run(Protocol):
    """What a transcode lets the search do."""

    def open_source(self) -> Source:
        """Open the source once more."""

    def frames(self, source: Source) -> Iterator[tuple[DecodedFrame, DecodedFrame]]:
        """Decode the source: every frame as it is, and as it is coded."""

    def tell(self, source: Source, position: float, phase: str) -> None:
        """Tell how far the search has come, in seconds of video."""

    def open_encoder(
        self, source: Source, frame: DecodedFrame, extra: Mapping[str, str]
    ) -> tuple[Encoder, Timeline]:
        """Open an encoder of the source with further x264 options."""


class OffsetRecord:
    """Offsets of successive frames, kept on disk."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="idse-offsets-")  # noqa: SIM115 - see close
        self._starts: list[int] = []

    @property
    def frames_without(self) -> int:
        """How many frames have no offsets."""
        return sum(start < 0 for start in self._starts)

    def append(self, offsets: FloatMap | None) -> None:
        """Keep the offsets of the next frame; None: it has none."""
        self._starts.append(-1 if offsets is None else self._file.tell())
        if offsets is not None:
            np.save(self._file, offsets)

    def __len__(self) -> int:
        return len(self._starts)

    def get(self, index: int) -> FloatMap | None:
        """Return a frame's offsets; None also for frames beyond the end."""
        if index >= len(self._starts) or self._starts[index] < 0:
            return None
        self._file.seek(self._starts[index])
        found: FloatMap = np.load(self._file)
        return found

    def run(self, items: Iterable[Item]) -> Iterator[Work]:
        """Pair every frame with its offsets, and everything else with None."""
        index = 0
        for item in items:
            if isinstance(item, DecodedFrame):
                offsets = self.get(index)
                yield item, None if offsets is None else FrameSteering(offsets)
                index += 1
            else:
                yield item, None

    def close(self) -> None:
        """Delete the record."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class OffsetSearch:
    """Searches segment after segment.

    Parameters
    ----------
    run
        The transcode.
    meter, importance
        Returns what measures the networks' losses; the networks' weights.
    sketch
        Returns a picture's importance.
    limits
        Floor and protected rectangles hold here as everywhere; its other bounds do not.
    warnings
        Where failures are told. A segment that a network fails on goes out as stock.
    policy
        How to search.
    """

    def __init__(
        self,
        run: Run,
        meter: Callable[[], TrueErrorMeter],
        importance: Sequence[float],
        sketch: Callable[[Picture], FloatMap],
        *,
        limits: OffsetPolicy,
        warnings: Warnings,
        policy: OraclePolicy | None = None,
    ) -> None:
        self._run = run
        self._meter = meter
        self._importance = importance
        self._sketch = sketch
        self._limits = limits
        self._warnings = warnings
        self._policy = policy or OraclePolicy()
        self.verdicts: list[Verdict] = []
        self.frames_measured = 0

    def search(self, record: OffsetRecord) -> None:
        """Search the whole source and keep what was found.

        Raises
        ------
        InputError
            The source cannot be read, or x264 options that no search can be made with.
        CodecError
            x264 failed.
        ModelError
            A network cannot be loaded.
        """
        with (
            closing(self._run.open_source()) as source,
            tempfile.TemporaryDirectory(prefix="idse-oracle-") as folder,
        ):
            begin: float | None = None
            crf: float | None = None
            path = Path(folder) / "segment.yuv"
            for segment in _segments(self._run.frames(source), source.time_base, path):
                begin = segment.seconds if begin is None else begin
                with segment.store:
                    crf = self._crf(source, segment) if crf is None else crf
                    found = self._segment(source, segment, crf, segment.seconds - begin)
                for n in range(len(segment.times)):
                    record.append(None if found.offsets is None else found.offsets[n])
                self.verdicts.append(
                    Verdict(
                        start=round(segment.seconds - begin, 3),
                        change=found.change,
                        steered=found.offsets is not None,
                    )
                )
                self.frames_measured += found.frames_measured

    def _crf(self, source: Source, segment: _Segment) -> float:
        """Return the CRF to search at."""
        encoder, timeline = self._run.open_encoder(source, segment.first, {})
        with encoder:
            parameters = encoder.parameters
        if parameters.interlaced:
            raise InputError("offsets are searched for progressive video only: leave out --effort")
        if parameters.rc_method == "crf":
            return parameters.crf
        encoder, timeline = self._run.open_encoder(source, segment.first, _at(_FIRST_CRF))
        with encoder:
            size = 0
            for time, picture in zip(segment.times, segment.store, strict=True):
                packets = encoder.encode(picture.planes, pts=timeline.push(time))
                size += sum(len(packet.data) for packet in packets)
            size += sum(len(packet.data) for packet in encoder.flush())
        seconds = float(segment.times[-1].pts + segment.times[-1].duration - segment.times[0].pts)
        rate = 8e-3 * size / max(seconds * float(source.time_base), 1e-3)
        crf = _FIRST_CRF + _HALVING_QP * math.log2(rate / max(parameters.bitrate, 1))
        return min(max(crf, _CRF_RANGE[0]), _CRF_RANGE[1])

    def _segment(self, source: Source, segment: _Segment, crf: float, begin: float) -> Found:
        encoder, timeline = self._run.open_encoder(source, segment.first, _at(crf))
        encoder.close()
        limits = Allocator(self._limits, encoder.mb_shape, crf=encoder.parameters.crf)
        seconds = float((segment.times[-1].pts - segment.times[0].pts) * source.time_base)
        stride = max(2, math.ceil(len(segment.times) / self._policy.samples))
        trials = Trials(
            segment.store,
            [timeline.push(time) for time in segment.times],
            lambda shift: self._run.open_encoder(source, segment.first, _at(crf + shift))[0],
            self._meter(),
            stride=stride,
        )
        search = SegmentSearch(
            trials,
            self._importance,
            self._sketch,
            stride=stride,
            policy=self._policy,
            limit=limits.limit,
            progress=lambda part: self._run.tell(source, begin + part * seconds, "search"),
        )
        try:
            return search.run()
        except ModelError as error:
            self._warnings.add("oracle", f"{error}: its segment goes out as stock")
            return Found(offsets=None, change=0.0)


def _at(crf: float) -> dict[str, str]:
    """Return x264 options of a trial: a constant quality without bounds of the rate."""
    return {"crf": f"{crf:g}", "vbv-maxrate": "0", "vbv-bufsize": "0"}


class _Segment:
    """Some seconds of the source: its first frame, times, and pictures as they are coded."""

    def __init__(self, first: DecodedFrame, seconds: float, store: PictureStore) -> None:
        self.first = first
        self.seconds = seconds
        self.store = store
        self.times: list[FrameTime] = []


def _segments(
    frames: Iterable[tuple[DecodedFrame, DecodedFrame]], time_base: Fraction, path: Path
) -> Iterator[_Segment]:
    """Cut a source into segments, one on disk at a time."""
    segment: _Segment | None = None
    for original, coded in frames:
        seconds = float(coded.time.pts * time_base)
        if segment is not None and seconds - segment.seconds >= SEGMENT_SECONDS:
            yield segment
            segment = None
        if segment is None:
            segment = _Segment(original, seconds, PictureStore(path, coded.picture.format))
        segment.store.append(coded.picture)
        segment.times.append(coded.time)
    if segment is not None:
        yield segment
