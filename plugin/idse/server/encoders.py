"""Where encoders' processes connect: one Unix socket, a thread for each of them."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

from idse.errors import BusyError, IdseError, ProtocolError, describe
from idse.server.framing import receive_bytes, receive_descriptors
from idse.server.options import parse_options
from idse.server.protocol import (
    MESSAGE_BYTES,
    Hello,
    SessionFlags,
    Status,
    Welcome,
    unpack,
)
from idse.server.ring import Ring
from idse.server.session import Session, SessionFacts

if TYPE_CHECKING:
    from idse.server.models import Models
    from idse.server.queue import AnalysisQueue
    from idse.server.session import SessionWatch

logger = logging.getLogger(__name__)

# Seconds in which a client must have said HELLO, and in which it must read what it is sent.
_HANDSHAKE = 5.0
_PATIENCE = 30


class EncoderServer:
    """Accepts encoders until it is drained.

    Parameters
    ----------
    listener
        A listening Unix socket; closed at the end.
    models, queue
        What analyses pictures, and where analyses wait.
    watch
        Told of every answer.
    most
        Sessions at a time.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        models: Models,
        queue: AnalysisQueue,
        watch: SessionWatch,
        most: int = 64,
    ) -> None:
        self._listener = listener
        self._models = models
        self._queue = queue
        self._watch = watch
        self._most = most
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._connections: dict[int, socket.socket] = {}
        self._facts: dict[int, SessionFacts] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._draining = threading.Event()
        self.sessions = 0
        self._acceptor = threading.Thread(target=self._accept, name="encoders", daemon=True)
        self._acceptor.start()

    def facts(self) -> list[SessionFacts]:
        """Return what is known of the sessions that are open, oldest first."""
        with self._lock:
            return [self._facts[number] for number in sorted(self._facts)]

    def drain(self, seconds: float) -> bool:
        """Accept nobody any more, wait for sessions to end, then end them.

        Returns
        -------
        Whether all ended by themselves.
        """
        self._draining.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the acceptor
        self._acceptor.join(_HANDSHAKE)
        self._listener.close()
        end = time.monotonic() + seconds
        with self._lock:
            threads = list(self._threads.values())
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._lock:
            left = list(self._connections.values())
            for connection in left:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(_HANDSHAKE)
        return not left

    def _accept(self) -> None:
        while not self._draining.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if self._draining.is_set():
                    return
                logger.warning("cannot accept an encoder: %s", error.strerror)
                time.sleep(0.1)  # out of file descriptors, mostly
                continue
            number = next(self._numbers)
            with self._lock:
                full = len(self._connections) >= self._most
                if not full:
                    self._connections[number] = connection
                    thread = threading.Thread(
                        target=self._serve,
                        args=(number, connection),
                        name=f"encoder {number}",
                        daemon=True,
                    )
                    self._threads[number] = thread
            if full:
                _refuse(connection, Status.BUSY, f"{self._most} encoders are served already")
                connection.close()
                continue
            try:
                thread.start()
            except RuntimeError as error:  # out of threads, or of memory for one
                logger.warning("cannot serve an encoder: %s", error)
                _refuse(connection, Status.BUSY, "the server is out of threads")
                self._forget(number)
                connection.close()

    def _serve(self, number: int, connection: socket.socket) -> None:
        try:
            self._session(number, connection)
        except ProtocolError as error:
            logger.warning("encoder %d: %s", number, error)
        except Exception as error:
            logger.exception("encoder %d: %s", number, describe(error))
        finally:
            self._forget(number)
            connection.close()

    def _forget(self, number: int) -> None:
        with self._lock:
            self._facts.pop(number, None)
            del self._connections[number]
            del self._threads[number]

    def _session(self, number: int, connection: socket.socket) -> None:
        connection.settimeout(_HANDSHAKE)
        try:
            session, facts = self._open(number, connection)
        except BusyError as error:
            _refuse(connection, Status.BUSY, str(error))
            return
        except IdseError as error:
            logger.warning("encoder %d is refused: %s", number, error)
            _refuse(connection, Status.NEVER, str(error))
            return
        connection.settimeout(None)
        patience = struct.pack("ll", _PATIENCE, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        with self._lock:
            self._facts[number] = facts
        self.sessions += 1
        logger.info("encoder %d: %dx%d, pid %d", number, facts.width, facts.height, facts.pid)
        try:
            session.run()
        finally:
            _tell(facts)

    def _open(self, number: int, connection: socket.socket) -> tuple[Session, SessionFacts]:
        """Take what a client wants.

        Raises
        ------
        IdseError
            It cannot be had.
        """
        hello, descriptor, text = _greeting(connection)
        try:
            ring = Ring(descriptor, hello)
        finally:
            os.close(descriptor)
        facts = SessionFacts(
            number=number,
            width=hello.width,
            height=hello.height,
            live=bool(hello.flags & SessionFlags.LIVE),
            pid=hello.pid,
            options=text,
        )
        session = Session(
            connection,
            ring,
            parse_options(text, self._models),
            models=self._models,
            queue=self._queue,
            facts=facts,
            watch=self._watch,
        )
        return session, facts


def _greeting(connection: socket.socket) -> tuple[Hello, int, str]:
    """Wait for HELLO; return it, the ring's descriptor and the options.

    Raises
    ------
    ProtocolError
        Something else came, or too slowly.
    """
    descriptors: list[int] = []
    end = time.monotonic() + _HANDSHAKE
    try:
        # More descriptors than there is room for are closed by the kernel.
        data, descriptors, flags = receive_descriptors(connection, MESSAGE_BYTES, 4)
        data += receive_bytes(connection, MESSAGE_BYTES - len(data), end=end)
        if len(data) < MESSAGE_BYTES:
            raise ProtocolError(f"the connection ended after {len(data)} bytes of HELLO")
        hello = unpack(data)
        if not isinstance(hello, Hello):
            raise ProtocolError(f"the first message is {type(hello).__name__}, not HELLO")
        if len(descriptors) != 1 or flags & socket.MSG_CTRUNC:
            raise ProtocolError(f"HELLO came with {len(descriptors)} descriptors instead of one")
        hello.check()
        raw = receive_bytes(connection, hello.options_length, end=end)
        if len(raw) < hello.options_length:
            raise ProtocolError("the connection ended before the options")
        text = raw.decode()
        return hello, descriptors.pop(), text
    except UnicodeDecodeError as error:
        raise ProtocolError("the options are no UTF-8") from error
    except OSError as error:
        if isinstance(error, ProtocolError):
            raise
        raise ProtocolError(f"no HELLO came: {error}") from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _tell(facts: SessionFacts) -> None:
    """Log what became of an encoder."""
    numbers = ("pid", "live", "frames", "steered", "refused", "analysed")
    told = {"encoder": facts.number, **{name: getattr(facts, name) for name in numbers}}
    told["seconds"] = round(time.monotonic() - facts.begin, 3)
    logger.info(
        "encoder %d: %d of %d pictures steered, %d analysed",
        facts.number,
        facts.steered,
        facts.frames,
        facts.analysed,
        extra={"facts": told},
    )


def _refuse(connection: socket.socket, status: Status, reason: str) -> None:
    with contextlib.suppress(OSError):
        connection.settimeout(0)
        connection.sendall(Welcome(status=status, reason=reason).pack())
