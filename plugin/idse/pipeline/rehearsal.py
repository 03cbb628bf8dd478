"""Encodes before the one that is kept, to learn from what they lose.

What they teach becomes maps (``--measure``), offsets left out (``--guard``) or offsets outright
(``--effort oracle``); the encode that is kept, of one pass or two, is the same as ever.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from idse.errors import InputError, ModelError
from idse.importance.naming import split_weight
from idse.pipeline.guard import STOCK_STEP, Guarded, Tally, judge, segment_of
from idse.pipeline.maps import RecordedMaps
from idse.pipeline.measured import MeasuredMaps, MeasuredWeights, NotedMaps
from idse.pipeline.oracle import OffsetRecord, OffsetSearch
from idse.pipeline.oracle import Run as Searched
from idse.pipeline.probe import Probe
from idse.pipeline.source import can_read_again

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import ExitStack

    import numpy.typing as npt

    from idse.codecs.x264 import Encoder, Packet
    from idse.importance import Analyser
    from idse.importance.true_error import TrueErrorMeter
    from idse.picture import Picture
    from idse.pipeline.driver import Watch
    from idse.pipeline.guard import Verdict
    from idse.pipeline.loading import SteeringOptions
    from idse.pipeline.maps import Maps
    from idse.pipeline.probe import Watched
    from idse.pipeline.report import Warnings
    from idse.pipeline.sink import Sink
    from idse.pipeline.source import Item, Source
    from idse.pipeline.work import Work
    from idse.vision import FeatureExtractor

    FloatArray = npt.NDArray[np.float64]
    FloatMap = npt.NDArray[np.float32]
    Steer: TypeAlias = "Callable[[Iterable[Item]], Iterator[Work]]"

EFFORTS = ("normal", "oracle")

# Seconds of video between frames on which a guard judges: a forward pass each, in three encodes.
_JUDGE_EVERY = 0.5


class Run(Searched, Protocol):
    """What a transcode lets its rehearsals do."""

    def one_pass(
        self,
        source: Source,
        sink: Sink | None,
        maps: Maps | None,
        extra: Mapping[str, str],
        *,
        phase: str,
        watch: Callable[[Encoder], Watch] | None = None,
        wrap: Wrap | None = None,
        steered: bool = True,
    ) -> None:
        """Encode the source once."""


class Wrap(Protocol):
    """Changes what a steering gives out, or takes its place."""

    def __call__(self, steer: Steer | None, source: Source) -> Steer:
        """Return what pairs items with how they are steered."""


@dataclass(kw_only=True)
class Lesson:
    """What was learnt, for the encode that is kept and for the report.

    Attributes
    ----------
    maps
        Of the encode that is kept; None where ``wrap`` brings the offsets.
    wrap
        What is done to its offsets.
    frames_measured
        Whose losses were measured.
    left_out
        Returns how many frames ``wrap`` has left without offsets in the last pass.
    verdicts
        Of every segment.
    """

    maps: Maps | None
    wrap: Wrap | None = None
    frames_measured: int = 0
    left_out: Callable[[], int] = lambda: 0
    verdicts: Sequence[Verdict] = field(default_factory=tuple)

    @property
    def all_stock(self) -> bool:
        """Whether no segment is better steered: then nothing of the encode is."""
        return bool(self.verdicts) and not any(verdict.steered for verdict in self.verdicts)


def check_rehearsal(options: SteeringOptions, source: str) -> None:
    """Refuse what no rehearsal can be made for.

    Raises
    ------
    InputError
        The maps come from a file, so that no network is there to measure with, or the source
        cannot be read again.
    """
    if not options.rehearses:
        return
    if options.effort not in EFFORTS:
        raise InputError(f"effort {options.effort!r} is not one of {', '.join(EFFORTS)}")
    if options.effort == "oracle" and (options.measure or options.guard or options.still):
        raise InputError(
            "--effort oracle measures and compares by itself and takes pictures as they are: leave "
            "out --measure, --guard and --static-background"
        )
    if options.effort == "oracle" and options.weighted:
        raise InputError("--effort oracle searches for offsets alone: leave out --weighted")
    if options.maps is not None:
        raise InputError(
            "what an encode loses is measured by the network itself: give --model, not --maps"
        )
    if not can_read_again(source):
        raise InputError(
            f"trial encodes read the source again, which {source!r} cannot do: give a file"
        )


def rehearse(
    run: Run,
    stack: ExitStack,
    maps: Maps,
    *,
    options: SteeringOptions,
    encode: Mapping[str, str],
    warnings: Warnings,
) -> Lesson:
    """Make the trial encodes that ``--measure`` and ``--guard`` ask for.

    Parameters
    ----------
    run
        The transcode.
    stack
        Closes what the lesson needs until the end.
    maps
        The networks'.
    options
        What is asked for.
    encode
        The user's x264 options.
    warnings
        Where a network's failure is told.

    Raises
    ------
    InputError, ModelError, CodecError
        As for a transcode.
    """
    recorded = stack.enter_context(closing(RecordedMaps(maps)))
    lesson = Lesson(maps=recorded)
    meters = _Meters(options, warnings)
    if options.effort == "oracle":
        return _search(run, stack, meters, options, warnings)
    if options.measure:
        noted = NotedMaps(recorded)
        measured = MeasuredWeights(meters.open, meters.importance, warnings)
        stack.enter_context(closing(measured))
        run.one_pass(
            run.open_source(),
            None,
            noted,
            {},
            phase="measure",
            watch=lambda encoder: _Measuring(encoder, noted, measured),
        )
        recorded.rewind()
        lesson.maps = MeasuredMaps(recorded, measured, mean=noted.mean)
        lesson.frames_measured = len(measured)
    if options.guard:
        tallies = [
            _tally(run, meters, lesson.maps, {}, "guard, steered"),
            _tally(run, meters, None, {}, "guard, stock"),
            _tally(run, meters, None, _coarser(encode), "guard, stock at fewer bits"),
        ]
        recorded.rewind()
        verdicts = judge(*tallies, importance=meters.importance)
        lesson.verdicts = tuple(verdicts[segment] for segment in sorted(verdicts))
        guarding = _Guarding(verdicts)
        lesson.wrap, lesson.left_out = guarding, guarding.left_out
    return lesson


def _search(
    run: Run, stack: ExitStack, meters: _Meters, options: SteeringOptions, warnings: Warnings
) -> Lesson:
    """Search for offsets; the encode that is kept takes them as they are."""
    record = stack.enter_context(OffsetRecord())
    search = OffsetSearch(
        run,
        meters.open,
        meters.importance,
        meters.sketch,
        limits=options.policy,
        warnings=warnings,
    )
    search.search(record)
    return Lesson(
        maps=None,
        wrap=lambda _steer, _source: record.run,
        left_out=lambda: record.frames_without,
        frames_measured=search.frames_measured,
        verdicts=search.verdicts,
    )


def _tally(
    run: Run, meters: _Meters, maps: Maps | None, extra: Mapping[str, str], phase: str
) -> Tally:
    """Encode once and add up what it costs and loses."""
    tally = Tally()
    run.one_pass(
        run.open_source(),
        None,
        maps,
        extra,
        phase=phase,
        watch=lambda encoder: _Judging(encoder, meters, tally),
        steered=maps is not None,
    )
    return tally


class _Guarding:
    """Leaves out the offsets of segments that are better without, in every pass."""

    def __init__(self, verdicts: Mapping[int, Verdict]) -> None:
        self._verdicts = verdicts
        self._last: Guarded[Any] | None = None

    def __call__(self, steer: Steer | None, source: Source) -> Steer:
        assert steer is not None
        self._last = Guarded(
            steer, self._verdicts, lambda frame: float(frame.time.pts * source.time_base)
        )
        return self._last.run

    def left_out(self) -> int:
        """Return how many frames had their offsets left out in the last pass."""
        return 0 if self._last is None else self._last.frames_left_out


def _coarser(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return options of an encode some QP coarser than one with these."""
    if "bitrate" in parameters and "crf" not in parameters:
        return {
            "bitrate": str(max(1, round(float(parameters["bitrate"]) * 2 ** (-STOCK_STEP / 6))))
        }
    return {"crf": f"{float(parameters.get('crf', 23)) + STOCK_STEP:g}"}


class _Meters:
    """Opens the meter of the run's networks once, and forgives their failures."""

    def __init__(self, options: SteeringOptions, warnings: Warnings) -> None:
        self._options = options
        self._warnings = warnings
        self._networks: list[tuple[FeatureExtractor, float]] = []
        self._meter: TrueErrorMeter | None = None
        self._analyser: Analyser | None = None
        self.importance = [split_weight(spec)[1] for spec in options.models]

    def _load(self) -> list[tuple[FeatureExtractor, float]]:
        if not self._networks:
            from idse.importance import load_networks

            self._networks = load_networks(self._options.models)
        return self._networks

    def open(self) -> TrueErrorMeter:
        if self._meter is None:
            from idse.importance.true_error import TrueErrorMeter

            self._meter = TrueErrorMeter([network for network, _ in self._load()])
        return self._meter

    def sketch(self, picture: Picture) -> FloatMap:
        """Return a picture's importance, as the sketch has it."""
        if self._analyser is None:
            from idse.importance import Analyser

            options = self._options
            self._analyser = Analyser(self._load(), n_s=options.n_s, seed=options.seed)
        return self._analyser.analyse(picture).weight()

    def distance(self, watched: Watched) -> FloatArray | None:
        """Return what the networks lose in a frame, or None where one fails on it."""
        meter = self.open()
        try:
            return meter.distance(meter.view(watched.source), watched.decoded)
        except ModelError as error:
            self._warnings.add("guard", f"{error}: such frames are not judged")
            return None


class _Measuring:
    """Measures the frames that have a map of their own."""

    def __init__(self, encoder: Encoder, maps: NotedMaps, measured: MeasuredWeights) -> None:
        # A frame's map is made before the frame is encoded.
        self._probe = Probe(encoder, maps.frames.__contains__)
        self._measured = measured

    def source(self, picture: Picture, pts: int, seconds: float) -> None:  # noqa: ARG002
        self._probe.source(picture)

    def packets(self, packets: Iterable[Packet]) -> None:
        for watched in self._probe.packets(packets):
            self._measured.add(watched)

    def flush(self) -> None:
        for watched in self._probe.flush():
            self._measured.add(watched)


class _Judging:
    """Adds up bytes and distances by segment."""

    def __init__(self, encoder: Encoder, meters: _Meters, tally: Tally) -> None:
        self._meters = meters
        self._tally = tally
        self._start: float | None = None
        self._judged = -np.inf
        self._segment_of_pts: dict[int, int] = {}
        self._segment_of_frame: dict[int, int] = {}  # of those that are judged
        self._frames = 0
        self._probe = Probe(encoder, self._segment_of_frame.__contains__)

    def source(self, picture: Picture, pts: int, seconds: float) -> None:
        self._start = seconds if self._start is None else self._start
        segment = segment_of(seconds - self._start)
        if seconds - self._judged >= _JUDGE_EVERY - 1e-6:
            self._judged = seconds
            self._segment_of_frame[self._frames] = segment
        self._segment_of_pts[pts] = segment
        self._frames += 1
        self._probe.source(picture)

    def packets(self, packets: Iterable[Packet]) -> None:
        for packet in packets:
            self._tally.bytes[self._segment_of_pts.pop(packet.pts)] += len(packet.data)
            self._count(self._probe.packets([packet]))

    def flush(self) -> None:
        self._count(self._probe.flush())

    def _count(self, frames: Iterable[Watched]) -> None:
        for watched in frames:
            distance = self._meters.distance(watched)
            if distance is not None:
                segment = self._segment_of_frame[watched.index]
                self._tally.distance[segment][watched.index] = distance
