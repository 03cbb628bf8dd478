"""Frames in, QP offsets out: analysis now and then, motion in between, rate held by allocation."""

from __future__ import annotations

import logging
import tempfile
import time
from array import array
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from idse.allocation import estimate_bits
from idse.errors import IdseError
from idse.importance.lookahead import Lookahead
from idse.importance.motion import MotionEstimator
from idse.pipeline.background import BackgroundFilter
from idse.pipeline.consumer import Consumer
from idse.pipeline.source import DecodedFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from fractions import Fraction

    from idse.allocation import Allocator
    from idse.importance.maps import ImportanceMap, MapSet
    from idse.importance.spectrum import Spectrum
    from idse.importance.still import StillPolicy
    from idse.picture import Picture
    from idse.pipeline.report import Warnings
    from idse.pipeline.schedule import Schedule
    from idse.pipeline.source import Item

logger = logging.getLogger(__name__)

FloatMap = npt.NDArray[np.float32]

# What a record holds in place of a map.
_NO_MAP: FloatMap = np.zeros((0, 0), np.float32)
_FAILED: FloatMap = np.zeros((0, 1), np.float32)


class FrameFailed(Exception):  # noqa: N818 - a signal, not an error of the run
    """No map can be made for a frame: it goes out unsteered."""


class Maps(Protocol):
    """Where maps come from: a network, a file, or what an earlier pass recorded."""

    def weight(self, picture: Picture, seconds: float, *, cut: bool) -> FloatMap | None:
        """Return float32 ``(mb_rows, mb_cols)`` weights, or None where a frame has no own map.

        Called once for every frame, in order.

        Parameters
        ----------
        picture
            As decoded.
        seconds
            When it is shown.
        cut
            True for the first frame and where a scene begins.

        Raises
        ------
        FrameFailed
            There should be one, and is none.
        """

    def close(self) -> None:
        """Let go of what is behind the maps."""


class Origin(Maps, Protocol):
    """Where maps come from in the first place."""

    def spectrum(self, picture: Picture) -> Spectrum | None:
        """Return the importance per frequency of the first frame; None where it is not known."""


class Network(Protocol):
    """What makes an importance map from a picture (``idse.importance.Analyser``)."""

    def analyse(self, picture: Picture) -> ImportanceMap:
        """Return the map of a picture."""

    def spectrum(self, picture: Picture) -> Spectrum:
        """Return the importance per frequency of a picture."""


class Loading(Protocol):
    """A network that is being loaded."""

    def __call__(self) -> Network:
        """Return it, once it is there."""

    def close(self) -> None:
        """Wait for it, and do not mind if it failed."""


class NetworkMaps:
    """Maps from a network, on schedule.

    Parameters
    ----------
    analyser
        The network; waited for when the first frame is due.
    schedule
        Which frames are analysed.
    warnings
        Where it is told that the network failed on a frame. Such a frame has no map, and the next
        one is tried.
    """

    def __init__(self, analyser: Loading, schedule: Schedule, warnings: Warnings) -> None:
        self._analyser = analyser
        self._schedule = schedule
        self._warnings = warnings

    def weight(self, picture: Picture, seconds: float, *, cut: bool) -> FloatMap | None:
        """See :class:`Maps`."""
        if not self._schedule.due(seconds, cut=cut):
            return None
        network = self._analyser()
        try:
            found = network.analyse(picture).weight()
        except Exception as error:  # a user's network may raise anything
            self._warnings.add(
                "network",
                f"the network failed on frame {picture.index} ({describe(error)}): frames that it "
                "fails on go out unsteered",
            )
            raise FrameFailed from error
        self._schedule.done(seconds)
        return found

    def spectrum(self, picture: Picture) -> Spectrum | None:
        """See :class:`Origin`. A network that fails here is told of when the frame is analysed."""
        network = self._analyser()
        try:
            return network.spectrum(picture)
        except Exception as error:  # noqa: BLE001 - a user's network may raise anything
            logger.info("no matrices: the network failed on the first frame: %s", describe(error))
            return None

    def close(self) -> None:
        """Wait for a load that is under way: ending the process inside an import may crash it."""
        self._analyser.close()


class FileMaps:
    """Maps from a file, for exactly the frames that it has maps for."""

    def __init__(self, maps: MapSet) -> None:
        self._maps = maps

    def weight(self, picture: Picture, seconds: float, *, cut: bool) -> FloatMap | None:  # noqa: ARG002
        """See :class:`Maps`.

        Raises
        ------
        MapError
            The maps were made for other pictures.
        """
        if picture.index == 0:
            self._maps.check_source(picture.format)
        self._maps.check_frame(picture)
        found = self._maps.get(picture.index)
        return None if found is None else found.weight()

    def spectrum(self, picture: Picture) -> Spectrum | None:  # noqa: ARG002 - the file's is of it
        """See :class:`Origin`."""
        return self._maps.spectrum

    def close(self) -> None:
        """Nothing is open."""


class RecordedMaps:
    """Hands on maps and keeps them on disk, to hand out the same ones in a second pass."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._recorded = False
        self._starts = array("q")  # of each frame's record in the file; -1 where there is none
        self._file = tempfile.TemporaryFile(prefix="idse-maps-")  # noqa: SIM115 - see close

    def weight(self, picture: Picture, seconds: float, *, cut: bool) -> FloatMap | None:
        """See :class:`Maps`."""
        if self._recorded:
            return self._replay(picture.index)
        self._starts.extend([-1] * (picture.index - len(self._starts)))
        self._starts.append(self._file.tell())
        try:
            weight = self._maps.weight(picture, seconds, cut=cut)
        except FrameFailed:
            np.save(self._file, _FAILED)
            raise
        np.save(self._file, _NO_MAP if weight is None else weight)
        return weight

    def _replay(self, index: int) -> FloatMap | None:
        start = self._starts[index] if index < len(self._starts) else -1
        if start < 0:
            raise FrameFailed
        self._file.seek(start)
        found: FloatMap = np.load(self._file)
        if found.shape == _FAILED.shape:
            raise FrameFailed
        return found if found.size else None

    def rewind(self) -> None:
        """From now on hand out what was recorded."""
        self._recorded = True

    def close(self) -> None:
        """Delete the record."""
        self._file.close()


@dataclass(slots=True, eq=False)
class _Seen:
    """A frame that waits, what it is estimated to cost, and what came after it from elsewhere."""

    frame: DecodedFrame
    seconds: float
    rate: FloatMap | None = None
    steered: bool = True
    left: bool = False
    followers: list[Item] = dataclass_field(default_factory=list)


class Steering:
    """The offsets of successive frames.

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
        self._background = BackgroundFilter(still, warnings)
        self._shown: float | None = None
        self._gone: float | None = None
        self._observed: float | None = None
        self.frames_analysed = 0
        self.frames_unsteered = 0
        self.seconds = 0.0

    def run(self, items: Iterable[Item]) -> Iterator[tuple[Item, FloatMap | None]]:
        """Pair every frame with its offsets, and everything else with None, in order.

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
        field = self._motion.push(picture, seen.frame.motion_vectors)
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

    def _looks(self, frame: DecodedFrame) -> float:
        return 1.0 if self._consumer is None else self._consumer.looks(frame.time)

    def _leave(
        self, ready: Iterable[tuple[_Seen, FloatMap | None]]
    ) -> Iterator[tuple[Item, FloatMap | None]]:
        for seen, log_weight in ready:
            offsets = self._offsets(seen, log_weight)
            seen.left = True
            yield self._background.take(seen.frame), offsets
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


def describe(error: Exception) -> str:
    """Describe an exception on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
