"""One encoder's session: pictures in a ring, offsets back, by the pipeline that transcodes."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import av
import numpy as np

from idse.errors import ProtocolError, describe
from idse.pipeline.maps import FileMaps, NetworkMaps
from idse.pipeline.report import Warnings
from idse.pipeline.schedule import Schedule
from idse.pipeline.source import DecodedFrame
from idse.pipeline.steering import lookahead_of, steering_of
from idse.pipeline.timing import FrameTime
from idse.server.framing import receive
from idse.server.live import FileRequest, LiveSteering, NetworkRequest
from idse.server.models import QueuedNetwork
from idse.server.protocol import (
    Bye,
    End,
    Frame,
    Offsets,
    OffsetsFlags,
    Outcome,
    SessionFlags,
    Welcome,
    Working,
)
from idse.server.ring import encode_facts

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    import numpy.typing as npt

    from idse.picture import Picture
    from idse.pipeline.loading import SteeringOptions
    from idse.pipeline.maps import Maps, Network
    from idse.pipeline.steering import Steering
    from idse.pipeline.work import FrameSteering
    from idse.server.models import Models
    from idse.server.queue import AnalysisQueue
    from idse.server.ring import Ring

logger = logging.getLogger(__name__)

# Of weights in a ring: 256 is 1.
_WEIGHT_ONE = 256
# Seconds after which a client hears that its pictures are being looked at.
_SILENCE = 1.0
# Answers that the rate shown of a session is taken over.
_RECENT = 50
# Stands for a decoder's frame where there was none: the pictures come from an encoder.
_NO_FRAME = av.VideoFrame(2, 2, "yuv420p")


class SessionWatch(Protocol):
    """Counts what sessions do."""

    def answered(self, outcome: Outcome, seconds: float) -> None:
        """See that a picture was answered so long after it had come."""


@dataclass(eq=False)
class SessionFacts:
    """What is known of a session, for whoever watches.

    Attributes
    ----------
    number
        Of the session since the server started.
    width, height, live, pid, options
        As the client says.
    frames, steered, refused, analysed
        Pictures that were answered, with offsets, too late; and those with a map of their own.
    encoded, encoded_steered
        Pictures that the client handed on to x264, and those with offsets, as it says.
    latency
        Seconds that the last picture was here.
    age
        Live: seconds since the picture whose map counts last.
    """

    number: int
    width: int
    height: int
    live: bool
    pid: int
    options: str
    frames: int = 0
    steered: int = 0
    refused: int = 0
    analysed: int = 0
    encoded: int = 0
    encoded_steered: int = 0
    latency: float = 0.0
    age: float | None = None
    begin: float = field(default_factory=time.monotonic)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))

    @property
    def rate(self) -> float:
        """Answers per second, of late."""
        times = list(self.recent)
        if len(times) < 2:
            return 0.0
        return (len(times) - 1) / max(time.monotonic() - times[0], 1e-3)


class Session:
    """Serves one encoder until it says goodbye.

    Parameters
    ----------
    connection
        On which HELLO has come.
    ring
        Its pictures.
    options
        How it wants to be steered.
    models, queue
        What analyses it, and where analyses wait.
    facts
        Kept up to date.
    watch
        Told of every answer.

    Raises
    ------
    InputError
        The options do not fit the encode.
    """

    def __init__(
        self,
        connection: socket.socket,
        ring: Ring,
        options: SteeringOptions,
        *,
        models: Models,
        queue: AnalysisQueue,
        facts: SessionFacts,
        watch: SessionWatch,
    ) -> None:
        hello = ring.hello
        self._connection = connection
        self._ring = ring
        self._facts = facts
        self._watch = watch
        self._pending: deque[tuple[Frame, float]] = deque()
        self._slots: set[int] = set()
        self._last = -1
        self._said = time.monotonic()
        self._time_base = Fraction(hello.timebase_num, hello.timebase_den)
        self._tick = max(1, round(1 / (Fraction(hello.fps_num, hello.fps_den) * self._time_base)))
        self._shown: int | None = None
        self._warnings = Warnings()
        encode = encode_facts(hello)
        network = None
        if options.maps is None:
            network = QueuedNetwork(
                models,
                options.models,
                queue,
                client=("encoder", facts.number),
                n_s=options.n_s,
                seed=options.seed,
                together=facts.live,
            )
        options = replace(
            options, weighted=options.weighted and bool(hello.flags & SessionFlags.WEIGHTS)
        )
        maps = _maps(options, network, models, self._warnings)
        self._maps = _Noted(maps)
        self._steering: Steering | LiveSteering
        if facts.live:
            request = (
                FileRequest(maps) if network is None else NetworkRequest(network, options.interval)
            )
            self.lookahead = 0
            self._steering = LiveSteering(options, request, encode, self._warnings)
        else:
            self.lookahead = min(lookahead_of(options, encode), hello.slots - 1)
            self._steering = steering_of(
                options, self._maps, encode, self._warnings, lookahead=self.lookahead
            )

    def run(self) -> None:
        """Answer every picture, to the end.

        Raises
        ------
        ProtocolError
            The client broke the protocol, or went away.
        """
        self._send(Welcome(lookahead=self.lookahead))
        frames = self._frames()
        try:
            if isinstance(self._steering, LiveSteering):
                for frame in frames:
                    self._answer_live(self._steering, frame)
            else:
                for _, steering in self._steering.run(frames):
                    self._answer(steering)
        except ProtocolError:
            raise
        except Exception as error:  # noqa: BLE001 - the encoder goes on, as stock x264 would
            logger.warning("session %d is not steered: %s", self._facts.number, describe(error))
            while self._pending:
                self._reply(Outcome.UNSTEERED)
            for _ in self._frames():
                self._reply(Outcome.UNSTEERED)
        self._part()

    def _frames(self) -> Iterator[DecodedFrame]:
        """Yield the pictures that come, until there are no more."""
        while True:
            message = receive(self._connection)
            if isinstance(message, Bye):
                self._note(message)
            if message is None or isinstance(message, Bye | End):
                return
            if not isinstance(message, Frame):
                raise ProtocolError(f"{type(message).__name__} came where FRAME or END should")
            taken = self._taken(message)
            # Clients give up after seconds of silence; a long look ahead may take longer.
            if time.monotonic() - self._said >= _SILENCE:
                self._send(Working())
            yield taken

    def _taken(self, message: Frame) -> DecodedFrame:
        if message.index <= self._last:
            raise ProtocolError(f"FRAME {message.index} follows FRAME {self._last}")
        if message.slot >= self._ring.hello.slots or message.slot in self._slots:
            raise ProtocolError(f"slot {message.slot} of FRAME {message.index} is not the client's")
        self._last = message.index
        self._slots.add(message.slot)
        self._pending.append((message, time.monotonic()))
        self._note(message)
        # x264 need not look at pts; the steering's clock goes on all the same.
        pts = message.pts
        if self._shown is not None and pts <= self._shown:
            pts = self._shown + self._tick
        self._shown = pts
        picture = self._ring.picture(message.slot, message.index, message.pts)
        return DecodedFrame(_NO_FRAME, picture, FrameTime(pts=pts, duration=self._tick))

    def _answer(self, steering: FrameSteering | None) -> None:
        """Answer the picture that has waited longest."""
        if steering is None:
            self._reply(Outcome.UNSTEERED)
            return
        slot = self._pending[0][0].slot
        self._ring.offsets(slot)[...] = steering.offsets
        flags = 0
        if steering.weights is not None:
            scaled = np.rint(steering.weights * np.float32(_WEIGHT_ONE))
            self._ring.weights(slot)[...] = np.clip(scaled, 0, 65535).astype(np.uint16)
            flags = int(OffsetsFlags.HAS_WEIGHTS)
        self._reply(Outcome.STEERED, flags)

    def _answer_live(self, steering: LiveSteering, frame: DecodedFrame) -> None:
        message = self._pending[0][0]
        if message.deadline and time.monotonic() >= message.deadline / 1e6:
            self._reply(Outcome.REFUSED)
            return
        offsets = steering.offsets(frame.picture, float(frame.time.pts * self._time_base))
        self._facts.analysed, self._facts.age = steering.analysed, steering.age
        if offsets is None:
            self._reply(Outcome.UNSTEERED)
            return
        self._ring.offsets(message.slot)[...] = offsets
        late = message.deadline and time.monotonic() >= message.deadline / 1e6
        self._reply(Outcome.REFUSED if late else Outcome.STEERED)

    def _reply(self, outcome: Outcome, flags: int = 0) -> None:
        message, came = self._pending.popleft()
        self._slots.discard(message.slot)
        if self._maps.forget(message.index):
            flags |= OffsetsFlags.ANALYSED
        facts, now = self._facts, time.monotonic()
        facts.frames += 1
        facts.steered += outcome == Outcome.STEERED
        facts.refused += outcome == Outcome.REFUSED
        facts.analysed += bool(flags & OffsetsFlags.ANALYSED)
        facts.latency = now - came
        facts.recent.append(now)
        self._watch.answered(outcome, now - came)
        self._send(
            Offsets(
                index=message.index,
                slot=message.slot,
                status=outcome,
                flags=flags,
                latency=min(round(1e6 * (now - came)), 2**32 - 1),
            )
        )

    def _part(self) -> None:
        """Wait for the client to close its encoder."""
        message = receive(self._connection)
        if isinstance(message, Bye):
            self._note(message)

    def _note(self, message: Frame | Bye) -> None:
        self._facts.encoded, self._facts.encoded_steered = message.frames, message.steered

    def _send(self, message: Welcome | Offsets | Working) -> None:
        self._said = time.monotonic()
        try:
            self._connection.sendall(message.pack())
        except OSError as error:  # also where the client has not read for long
            raise ProtocolError(f"the client does not listen: {error.strerror}") from error


class _Noted:
    """Maps, and which pictures had some of their own."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._own: set[int] = set()

    def weight(
        self, picture: Picture, seconds: float, *, cut: bool
    ) -> npt.NDArray[np.float32] | None:
        """See :class:`idse.pipeline.maps.Maps`."""
        found = self._maps.weight(picture, seconds, cut=cut)
        if found is not None:
            self._own.add(picture.index)
        return found

    def blocks(self, picture: Picture) -> npt.NDArray[np.float32] | None:
        """See :class:`idse.pipeline.maps.Maps`."""
        return self._maps.blocks(picture)

    def close(self) -> None:
        """See :class:`idse.pipeline.maps.Maps`."""
        self._maps.close()

    def forget(self, index: int) -> bool:
        """Tell whether a picture had a map of its own, once."""
        had = index in self._own
        self._own.discard(index)
        return had


class _Loaded:
    """A network that is there already."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self) -> Network:
        return self._network

    def close(self) -> None:
        """Nothing is under way."""


def _maps(
    options: SteeringOptions,
    network: QueuedNetwork | None,
    models: Models,
    warnings: Warnings,
) -> Maps:
    if network is None:
        return FileMaps(models.maps(str(options.maps)))
    schedule = Schedule(options.interval)
    return NetworkMaps(_Loaded(network), schedule, warnings, inner=options.weighted)
