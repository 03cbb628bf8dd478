"""Frames in, QP offsets out: analysis now and then, motion in between, rate held by allocation."""

from __future__ import annotations

import time
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.allocation import Allocator, estimate_bits
from idse.errors import IdseError, describe
from idse.importance.lookahead import Lookahead
from idse.importance.motion import MotionEstimator
from idse.importance.steady import SteadyMaps
from idse.pipeline.background import BackgroundFilter
from idse.pipeline.consumer import Consumer
from idse.pipeline.inner import InnerWeights
from idse.pipeline.maps import FrameFailed
from idse.pipeline.schedule import waiting_pictures
from idse.pipeline.source import DecodedFrame
from idse.pipeline.work import FrameSteering

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from fractions import Fraction

    from idse.codecs.x264 import Encoder
    from idse.importance.motion import MotionField
    from idse.importance.still import StillPolicy
    from idse.picture import Picture, PictureFormat
    from idse.pipeline.loading import SteeringOptions
    from idse.pipeline.maps import Maps
    from idse.pipeline.report import Warnings
    from idse.pipeline.source import Item, Source
    from idse.pipeline.work import Work

FloatMap = npt.NDArray[np.float32]

# About the QP of an encode that is asked for a rate.
_DEFAULT_QP = 26.0


@dataclass(frozen=True, kw_only=True)
class EncodeFacts:
    """What steering must know of an encode.

    Attributes
    ----------
    form
        Of the pictures that are encoded.
    mb_shape
        Macroblock rows and columns of the encoder (rows rounded up to 32 lines for interlaced).
    crf
        CRF of the encode, or None where it has none.
    interlaced
        Whether it is coded interlaced.
    rate
        Pictures per second.
    time_base
        Of the pictures' times, seconds.
    """

    form: PictureFormat
    mb_shape: tuple[int, int]
    crf: float | None
    interlaced: bool
    rate: Fraction
    time_base: Fraction

    @property
    def qp(self) -> float:
        """About the QP of the encode."""
        return _DEFAULT_QP if self.crf is None else self.crf


@dataclass(slots=True, eq=False)
class _Seen:
    """A frame that waits, what it is estimated to cost, and what came after it from elsewhere.

    ``field``, ``analysed`` and ``inner``: its motion, whether it has a map of its own, and its own
    weights of blocks.
    """

    frame: DecodedFrame
    seconds: float
    rate: FloatMap | None = None
    field: MotionField | None = None
    inner: FloatMap | None = None
    analysed: bool = False
    steered: bool = True
    left: bool = False
    followers: list[Item] = dataclass_field(default_factory=list)


class Steering:
    """The offsets of successive frames, and their weights of blocks inside macroblocks.

    Everything is done in the frames' order in one thread, so that which map a frame gets depends
    on the source, the options and the seed alone.

    Parameters
    ----------
    maps
        Where maps come from.
    allocator
        What makes offsets of them.
    qp
        About the QP of the encode, for estimates of rate.
    time_base
        Of the frames' times, seconds.
    warnings
        Where it is told that steering failed on a frame.
    lookahead
        Frames that a frame waits for before it comes out; they say more of it than those before.
    consumer_fps
        Frames per second that are looked at; None: all of them.
    still
        When a still background is held; None leaves every sample as it is.
    inner
        What makes weights of blocks; None makes none.

    Attributes
    ----------
    frames_analysed, frames_unsteered
        Frames with a map of their own, and frames without any map, so far.
    seconds
        Wall time spent here, so far.
    """

    def __init__(
        self,
        maps: Maps,
        allocator: Allocator,
        *,
        qp: float,
        time_base: Fraction,
        warnings: Warnings,
        lookahead: int = 0,
        consumer_fps: float | None = None,
        still: StillPolicy | None = None,
        inner: InnerWeights | None = None,
    ) -> None:
        self._maps = maps
        self._allocator = allocator
        self._qp = qp
        self._time_base = time_base
        self._warnings = warnings
        self._motion = MotionEstimator()
        self._consumer = None if consumer_fps is None else Consumer(consumer_fps, time_base)
        self._window: Lookahead[_Seen] = Lookahead(
            lookahead, qp=None if self._consumer is None else qp
        )
        self._steady = SteadyMaps()
        self._background = BackgroundFilter(still, warnings)
        self._inner = inner
        self._shown: float | None = None
        self._gone: float | None = None
        self._observed: float | None = None
        self.frames_analysed = 0
        self.frames_unsteered = 0
        self.seconds = 0.0

    def run(self, items: Iterable[Item]) -> Iterator[Work]:
        """Pair every frame with how it is steered, and everything else with None, in order.

        Frames come out ``lookahead`` later than they went in.

        Raises
        ------
        IdseError
            A map does not fit, or (strict runs) the network or the steering failed.
        """
        last: _Seen | None = None
        for item in items:
            if isinstance(item, DecodedFrame):
                last = self._arrive(item)
                yield from self._leave(self._window.ready())
            elif last is not None and not last.left:
                last.followers.append(item)
            else:
                yield item, None
        yield from self._leave(self._window.rest())

    def _arrive(self, frame: DecodedFrame) -> _Seen:
        """Look at the next frame.

        A failure in here costs steering and not the video: the frame and those up to the next map
        go out unsteered.
        """
        begin = time.perf_counter()
        seen: _Seen = _Seen(frame, float(frame.time.pts * self._time_base))
        try:
            self._look(seen)
        except IdseError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the frame needs no offsets
            self._failed(frame, error)
            self._background.reset()
            self._window.forget()  # the content may have moved, or be another scene's
            self._window.push(seen, None, None, seconds=seen.seconds)
        finally:
            self.seconds += time.perf_counter() - begin
        return seen

    def _look(self, seen: _Seen) -> None:
        picture, seconds = seen.frame.picture, seen.seconds
        field = self._motion.push(picture)
        fresh = None
        try:
            fresh = self._fresh(picture, seconds, cut=field is None or field.scene_cut)
        except FrameFailed:
            seen.steered = False
        seen.rate = estimate_bits(picture, field, qp=self._qp)
        log_weight = self._window.push(
            seen, field, fresh, seconds=seconds, looks=self._looks(seen.frame)
        )
        elapsed = 0.0 if self._shown is None else seconds - self._shown
        self._shown = seconds
        self._background.look(picture, field, log_weight if seen.steered else None, elapsed)
        # Last, so that where something failed above nothing is carried on to this frame.
        seen.field, seen.analysed = field, fresh is not None
        if fresh is not None and self._inner is not None:
            seen.inner = self._inner.fresh(self._maps, picture)

    def _looks(self, frame: DecodedFrame) -> float:
        return 1.0 if self._consumer is None else self._consumer.looks(frame.time)

    def _leave(self, ready: Iterable[tuple[_Seen, FloatMap | None]]) -> Iterator[Work]:
        for seen, log_weight in ready:
            offsets, weights = self._offsets(seen, log_weight), self._weights(seen)
            seen.left = True
            steering = None if offsets is None else FrameSteering(offsets, weights)
            yield self._background.take(seen.frame), steering
            for follower in seen.followers:
                yield follower, None

    def _offsets(self, seen: _Seen, log_weight: FloatMap | None) -> FloatMap | None:
        """Return the offsets of the next frame that leaves; None where nothing is known of it."""
        begin = time.perf_counter()
        elapsed = 0.0 if self._gone is None else seen.seconds - self._gone
        self._gone = seen.seconds
        known = log_weight if seen.steered else None
        try:
            offsets = None
            known = self._steady.advance(seen.field, known, analysed=seen.analysed)
            if seen.rate is not None:
                offsets = self._allocator.offsets(known, seen.rate, elapsed=elapsed)
        except IdseError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(seen.frame, error)
            known = None
        finally:
            self.seconds += time.perf_counter() - begin
        if known is None:
            self.frames_unsteered += 1
            return None
        return offsets

    def _weights(self, seen: _Seen) -> FloatMap | None:
        """Return the weights of the next frame that leaves; None where nothing is known of it."""
        if self._inner is None:
            return None
        begin = time.perf_counter()
        found = self._inner.take(seen.frame.picture.index, seen.field, seen.inner)
        self.seconds += time.perf_counter() - begin
        return found

    def _failed(self, frame: DecodedFrame, error: Exception) -> None:
        self._warnings.add(
            "steering",
            f"steering failed on frame {frame.picture.index} ({describe(error)}): such frames, and "
            "those up to the next analysis, go out unsteered",
        )

    def _fresh(self, picture: Picture, seconds: float, *, cut: bool) -> FloatMap | None:
        """Return the log-weights of a frame that has a map of its own."""
        weight = self._maps.weight(picture, seconds, cut=cut)
        if weight is None:
            return None
        self.frames_analysed += 1
        elapsed = 0.0 if self._observed is None else seconds - self._observed
        self._observed = seconds
        self._allocator.observe(weight, elapsed=elapsed)
        return self._allocator.normalise(weight)


def open_steering(
    options: SteeringOptions, maps: Maps, source: Source, encoder: Encoder, warnings: Warnings
) -> Steering:
    """Return the steering of an encode.

    Parameters
    ----------
    options
        How; protected rectangles are those of pictures as they are coded.
    maps
        Where maps come from.
    source, encoder
        What is encoded, and by what.
    warnings
        Where it is told that steering failed on a frame.

    Raises
    ------
    InputError
        A value is out of range.
    """
    parameters = encoder.parameters
    facts = EncodeFacts(
        form=encoder.format,
        mb_shape=encoder.mb_shape,
        crf=parameters.crf if parameters.rc_method == "crf" else None,
        interlaced=parameters.interlaced,
        rate=source.rate,
        time_base=source.time_base,
    )
    return steering_of(options, maps, facts, warnings, lookahead=lookahead_of(options, facts))


def lookahead_of(options: SteeringOptions, facts: EncodeFacts) -> int:
    """Return how many frames a frame of an encode waits for, where nothing else limits it."""
    # A file's maps are as far apart as whoever made it liked.
    every = options.interval if options.maps is None else None
    return waiting_pictures(every, rate=facts.rate, form=facts.form)


def steering_of(
    options: SteeringOptions,
    maps: Maps,
    facts: EncodeFacts,
    warnings: Warnings,
    *,
    lookahead: int,
) -> Steering:
    """Return the steering of an encode that others may do.

    Raises
    ------
    InputError
        As `open_steering`.
    """
    inner = None
    if options.weighted:
        inner = InnerWeights(facts.mb_shape, options.policy.strength, warnings)
    return Steering(
        maps,
        Allocator(options.policy, facts.mb_shape, crf=facts.crf, interlaced=facts.interlaced),
        qp=facts.qp,
        time_base=facts.time_base,
        warnings=warnings,
        lookahead=lookahead,
        consumer_fps=options.consumer_fps,
        still=options.still,
        inner=inner,
    )
