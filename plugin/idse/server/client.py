"""The sidecar's clients: encoders that share pictures by memory, and callers over HTTP.

Neither needs more than the core: networks, and what serves them, are on the other end.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from idse.errors import BusyError, InputError, ProtocolError
from idse.pipeline.schedule import waiting_pictures
from idse.server.framing import receive
from idse.server.paths import default_socket
from idse.server.protocol import (
    MAX_SLOTS,
    Arrangement,
    Bye,
    Chroma,
    End,
    Frame,
    Hello,
    Offsets,
    OffsetsFlags,
    Outcome,
    RateMethod,
    SessionFlags,
    Status,
    Welcome,
    Working,
)
from idse.server.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from fractions import Fraction
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from idse.picture import PictureFormat, Plane

_MATRICES = {"bt709": 1, "bt601": 6, "bt2020nc": 9}
_TRANSFERS = {"sdr": 2, "pq": 16, "hlg": 18}
# Slots beyond those of pictures that the server looks at: so many it may have to itself.
_SPARE = 4
_WEIGHT_ONE = 256.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What the sidecar says of one picture.

    Attributes
    ----------
    index
        Of the picture.
    offsets
        float32 ``(mb_rows, mb_cols)``: QP; None where x264 is to be left to itself.
    weights
        float32 ``(4 mb_rows, 4 mb_cols)``: what errors in 4x4 luma blocks cost; None counts all
        alike.
    status
        As the protocol has it.
    analysed
        Whether the picture has a map of its own.
    latency
        Seconds that the sidecar has had it.
    """

    index: int
    offsets: npt.NDArray[np.float32] | None
    weights: npt.NDArray[np.float32] | None
    status: Outcome
    analysed: bool
    latency: float


class FrameSession:
    """An encoder's connection to the sidecar.

    Parameters
    ----------
    form
        Of the pictures.
    fps
        Pictures per second.
    time_base
        Seconds per unit of pts.
    crf
        Of the encode; None where it has none.
    interlaced
        Whether it is coded interlaced.
    arguments
        Options of ``idse transcode`` that steer.
    path
        The sidecar's socket; None is the usual one.
    live
        Whether answers must come at once, with whatever is known.
    weights
        Whether the encoder can take weights.
    slots
        Pictures in the ring; None: as many as steering may look ahead, and some more.
    timeout
        Seconds to wait for the sidecar, wherever it is waited for.

    Attributes
    ----------
    lookahead
        Pictures that may have to follow one before it is answered.

    Raises
    ------
    ProtocolError
        Nobody listens there, or does not answer in time.
    BusyError
        The sidecar has too much to do.
    AccessError
        The usual socket could be another user's.
    InputError
        It will not steer this encode; the message says why.
    """

    def __init__(
        self,
        form: PictureFormat,
        *,
        fps: Fraction,
        time_base: Fraction,
        crf: float | None = None,
        interlaced: bool = False,
        arguments: Sequence[str] = (),
        path: Path | None = None,
        live: bool = False,
        weights: bool = False,
        slots: int | None = None,
        timeout: float = 10.0,
    ) -> None:
        text = shlex.join(arguments).encode()
        if slots is None:
            slots = min(MAX_SLOTS, waiting_pictures(None, rate=fps, form=form) + _SPARE)
        hello = _hello(form, fps=fps, time_base=time_base, interlaced=interlaced, slots=slots)
        self._hello = replace(
            hello,
            rate_method=RateMethod.ABR if crf is None else RateMethod.CRF,
            crf=crf or 0.0,
            flags=(SessionFlags.LIVE if live else 0) | (SessionFlags.WEIGHTS if weights else 0),
            options_length=len(text),
            pid=os.getpid(),
        )
        self._hello.check()
        self._free = deque(range(slots))
        self._open = 0
        self._count = 0
        self._steered = 0
        self._ring, descriptor = Ring.make(self._hello)
        target = default_socket() if path is None else path
        self._connection = socket.socket(socket.AF_UNIX)
        try:
            self._connection.settimeout(timeout)
            self._connection.connect(os.fspath(target))
            # A sidecar that is full says so and hangs up before it has read anything.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(self._connection, [self._hello.pack()], [descriptor])
                self._connection.sendall(text)
            self.lookahead = self._welcome()
        except OSError as error:
            self._connection.close()
            if isinstance(error, ProtocolError):
                raise
            raise ProtocolError(f"no sidecar answers on {target}: {error}") from error
        except BaseException:
            self._connection.close()
            raise
        finally:
            os.close(descriptor)

    def push(self, planes: Sequence[Plane], *, pts: int, deadline: float | None = None) -> None:
        """Hand over the next picture. Waits for nothing but room in the ring.

        Parameters
        ----------
        planes
            Y, Cb, Cr.
        pts
            When it is shown.
        deadline
            `time.monotonic` seconds after which its answer is of no use.

        Raises
        ------
        InputError
            Another picture than was agreed on, or the ring is full: take answers first.
        ProtocolError
            The sidecar is gone.
        """
        self._ring.format.check_planes(planes)
        if not self._free:
            raise InputError("the ring is full: take an answer before the next picture")
        slot = self._free.popleft()
        for place, plane in zip(self._ring.picture(slot, 0).planes, planes, strict=True):
            place[...] = plane
        message = Frame(
            index=self._count,
            pts=pts,
            slot=slot,
            deadline=0 if deadline is None else round(1e6 * deadline),
            frames=self._count - self._open,
            steered=self._steered,
        )
        self._send(message)
        self._count += 1
        self._open += 1

    def ready(self) -> bool:
        """Tell whether `take` may be called before the next `push`, and will not wait for it."""
        return self._open > self.lookahead

    def take(self) -> Answer:
        """Wait for the answer to the picture that has waited longest.

        Raises
        ------
        ProtocolError
            The sidecar is gone, or does not answer in time.
        """
        message = self._receive()
        if not isinstance(message, Offsets):
            raise ProtocolError(f"the sidecar sent {type(message).__name__} instead of OFFSETS")
        self._open -= 1
        self._free.append(message.slot)
        steered = message.status == Outcome.STEERED
        self._steered += steered
        weighted = steered and message.flags & OffsetsFlags.HAS_WEIGHTS
        return Answer(
            index=message.index,
            offsets=self._ring.offsets(message.slot).copy() if steered else None,
            weights=self._weights(message.slot) if weighted else None,
            status=Outcome(message.status),
            analysed=bool(message.flags & OffsetsFlags.ANALYSED),
            latency=message.latency / 1e6,
        )

    def finish(self) -> Iterator[Answer]:
        """Say that there are no more pictures; yield the answers that are missing.

        Raises
        ------
        ProtocolError
            As `take`.
        """
        self._send(End())
        while self._open:
            yield self.take()
        self._send(Bye(frames=self._count, steered=self._steered))

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _welcome(self) -> int:
        message = self._receive()
        if not isinstance(message, Welcome):
            raise ProtocolError(f"the sidecar sent {type(message).__name__} instead of WELCOME")
        if message.status == Status.BUSY:
            raise BusyError(f"the sidecar is busy: {message.reason}")
        if message.status != Status.OK:
            raise InputError(f"the sidecar refuses this encode: {message.reason}")
        return message.lookahead

    def _weights(self, slot: int) -> npt.NDArray[np.float32]:
        return self._ring.weights(slot).astype(np.float32) / np.float32(_WEIGHT_ONE)

    def _receive(self) -> object:
        try:
            message = receive(self._connection)
            while isinstance(message, Working):
                message = receive(self._connection)
        except TimeoutError as error:
            raise ProtocolError("the sidecar does not answer in time") from error
        if message is None:
            raise ProtocolError("the sidecar has hung up")
        return message

    def _send(self, message: Frame | End | Bye) -> None:
        try:
            self._connection.sendall(message.pack())
        except OSError as error:
            raise ProtocolError(f"the sidecar is gone: {error}") from error


def _hello(
    form: PictureFormat, *, fps: Fraction, time_base: Fraction, interlaced: bool, slots: int
) -> Hello:
    chroma = {(1, 1): Chroma.YUV420, (1, 0): Chroma.YUV422, (0, 0): Chroma.YUV444}
    sized = Hello(
        width=form.width,
        height=form.height,
        chroma=chroma[form.subsampling],
        bit_depth=form.bit_depth,
        arrangement=Arrangement.PLANAR,
        matrix=_MATRICES[form.matrix],
        transfer=_TRANSFERS[form.transfer],
        full_range=int(form.full_range),
        interlaced=int(interlaced),
        fps_num=fps.numerator,
        fps_den=fps.denominator,
        timebase_num=time_base.numerator,
        timebase_den=time_base.denominator,
        slots=slots,
    )
    rows, columns = sized.mb_shape
    return replace(sized, mb_rows=rows, mb_cols=columns)
