"""The sidecar as a process: sockets, warm-up, and an end in which nothing is dropped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn

from idse.errors import IdseError, OutputError
from idse.pipeline.images.vae import VaeCodec
from idse.server.app import Backend, build_app
from idse.server.encoders import EncoderServer
from idse.server.metrics import Metrics
from idse.server.models import Models, prepare
from idse.server.paths import SocketFile, http_socket
from idse.server.preview import Previews
from idse.server.priority import give_way
from idse.server.queue import AnalysisQueue
from idse.server.settings import Ready, ServeOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Seconds between looks at whether anybody is connected.
_LOOK = 0.25


def serve(options: ServeOptions, ready: Callable[[Ready], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Parameters
    ----------
    options
        How.
    ready
        Called as soon as everything is loaded and listens.

    Raises
    ------
    InputError
        Another server listens there, or a map file cannot be used.
    OutputError
        It cannot listen there.
    ModelError
        A network cannot be loaded.
    """
    give_way(options.niceness)
    with ExitStack() as stack:
        encoders = SocketFile(options.path)
        stack.callback(encoders.close)
        http = SocketFile(http_socket(options.path))
        stack.callback(http.close)
        sockets = [http.socket]
        address = None
        if options.tcp is not None:
            listener = _listen(*options.tcp)
            sockets.append(listener)
            host, port = listener.getsockname()[:2]
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        where = Ready(
            encoders=str(encoders.path), http=str(http.path), tcp=address, pid=os.getpid()
        )
        asyncio.run(_Service(options, encoders.socket, sockets).run(lambda: ready(where)))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise OutputError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listener


class _Server(uvicorn.Server):
    """Uvicorn, which leaves signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Service:
    """A server that runs."""

    def __init__(
        self, options: ServeOptions, encoders: socket.socket, sockets: list[socket.socket]
    ) -> None:
        self._options = options
        self._listener = encoders
        self._sockets = sockets
        self._metrics = Metrics()
        self._models = Models(options.models, options.maps)
        self._queue = AnalysisQueue(
            workers=options.jobs, prepare=prepare, watch=self._metrics.analysed
        )
        self._metrics.observe_queue(self._queue.facts)
        previews = Previews(self._models, self._queue)
        codec = VaeCodec(options.vae_models)
        self._backend = Backend(self._models, self._queue, self._metrics, previews, codec)
        self._encoders: EncoderServer | None = None
        self._metrics.observe_encoders(self._connected)
        app = build_app(self._backend, options.token)
        self._server = _Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=256,
                timeout_graceful_shutdown=max(1, round(options.grace)),
            )
        )
        self._stop = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signalled, number)
        serving = asyncio.create_task(self._server.serve(self._sockets))
        loading = asyncio.create_task(asyncio.to_thread(self._load))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({loading, serving, stopping}, return_when="FIRST_COMPLETED")
            if not loading.done() and not serving.done():
                logger.info("stopped while loading")
            elif loading.done():
                loading.result()
                ready()
                watching = asyncio.create_task(self._watch_idle())
                await asyncio.wait({serving, stopping}, return_when="FIRST_COMPLETED")
                watching.cancel()
        finally:
            await self._drain()
            self._server.should_exit = True
            with suppress(asyncio.CancelledError):
                await serving
            stopping.cancel()
            # A load that is under way cannot be broken off: ending inside an import may crash.
            with suppress(IdseError):
                await loading

    def _load(self) -> None:
        begin = time.monotonic()
        self._models.load()
        self._encoders = self._backend.encoders = EncoderServer(
            self._listener, models=self._models, queue=self._queue, watch=self._metrics
        )
        seconds = round(time.monotonic() - begin, 3)
        logger.info(
            "loaded", extra={"facts": {"models": list(self._models.names), "seconds": seconds}}
        )

    def _connected(self) -> int:
        return 0 if self._encoders is None else len(self._encoders.facts())

    def _signalled(self, number: int) -> None:
        if self._stop.is_set():  # asked twice: at once
            os._exit(128 + number)
        logger.info("draining", extra={"facts": {"signal": signal.Signals(number).name}})
        self._stop.set()

    async def _drain(self) -> None:
        """Refuse what is new, finish what is under way."""
        self._backend.draining = True
        if self._encoders is not None:
            ended = await asyncio.to_thread(self._encoders.drain, self._options.grace)
            logger.info("drained", extra={"facts": {"encoders_ended_by_themselves": ended}})
        self._queue.close()
        await asyncio.to_thread(self._queue.join, self._options.grace)

    async def _watch_idle(self) -> None:
        """Stop when nobody has been there for long."""
        limit = self._options.idle
        last, seen = time.monotonic(), -1
        while limit is not None:
            await asyncio.sleep(min(_LOOK, limit))
            total = self._server.server_state.total_requests
            busy = self._connected() > 0 or self._queue.facts().running > 0
            if busy or total != seen:
                last, seen = time.monotonic(), total
            elif time.monotonic() - last >= limit:
                logger.info("nobody came", extra={"facts": {"seconds": limit}})
                self._stop.set()
                return
