"""A sidecar for one program: the user's own where one runs, else one in this process."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import shlex
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idse.errors import AccessError, IdseError, InputError
from idse.importance.naming import split_weight
from idse.pipeline import arguments
from idse.pipeline.makers import built_in
from idse.server.paths import default_socket, http_socket
from idse.server.settings import check_rows
from idse.vision import DEFAULT_MODEL

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from idse.server.protocol import Outcome

logger = logging.getLogger(__name__)

# By which an encoder asks for the map file that was named on the command line.
_MAPS = "maps"
_STATUS_SECONDS = 2.0
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How encoders are to be steered.

    Attributes
    ----------
    models
        Networks, ``NAME`` or ``NAME=WEIGHT``; empty: whichever the sidecar has.
    maps
        A map file in their place.
    words
        Further options of ``idse transcode`` that steer.
    """

    models: Sequence[str] = ()
    maps: Path | None = None
    words: Sequence[str] = ()

    @property
    def options(self) -> str:
        """What an encoder tells the sidecar, as a shell would write it."""
        named = [f"--model={spec}" for spec in self.models]
        if self.maps is not None:
            named.append(f"--maps={_MAPS}")
        return shlex.join([*named, *self.words])


def wish(args: argparse.Namespace) -> Wish:
    """Read options that `idse.pipeline.arguments.add_offsets` has added.

    Raises
    ------
    InputError
        A value is out of range.
    """
    defaults = vars(arguments.parse([]))
    words = []
    for name, default in defaults.items():
        value = getattr(args, name, default)
        if name in {"model", "maps"} or value == default:
            continue
        option = "--" + name.replace("_", "-")
        values = value if isinstance(value, list) else [value]
        words += [option if item is True else f"{option}={item}" for item in values]
    models = tuple(args.model or ())
    for spec in models:
        split_weight(spec)
    # For what it refuses.
    options = arguments.steering_options(arguments.parse(words))
    if options is not None:
        check_rows(options.n_s)
    if args.maps is not None and not args.maps.is_file():
        raise InputError(f"--maps {args.maps}: there is no such file")
    return Wish(models=models, maps=args.maps, words=tuple(words))


@contextlib.contextmanager
def sidecar(wanted: Wish) -> Iterator[Path]:
    """Have a sidecar that knows what is wanted; yield the socket of encoders.

    The user's own (``idse serve``) where it runs and has the networks, so that nothing is loaded
    twice; else one that lives as long as the ``with`` block.

    Raises
    ------
    IdseError
        A network that was named, or the map file, cannot be loaded.
    """
    usual = _usual()
    if wanted.maps is None and usual is not None and serves(usual, wanted.models):
        yield usual
        return
    # Of this user alone: pictures are handed over.
    with tempfile.TemporaryDirectory(prefix="idse-") as folder:
        yield from _own(wanted, Path(folder) / "serve.sock")


def _usual() -> Path | None:
    """Return where the user's own sidecar would be; None where it could be somebody else's."""
    try:
        return default_socket()
    except AccessError:
        return None


def serves(path: Path, models: Sequence[str]) -> bool:
    """Tell whether a sidecar listens on a socket, is loaded, and has all these networks."""
    try:
        state = _status(http_socket(path))
    except (OSError, ValueError, http.client.HTTPException):
        return False
    there = set(state.get("models", ()))
    return bool(state.get("ready")) and {split_weight(spec)[0] for spec in models} <= there


def _status(path: Path) -> dict[str, Any]:
    connection = http.client.HTTPConnection("idse", timeout=_STATUS_SECONDS)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as link:
        link.settimeout(_STATUS_SECONDS)
        link.connect(os.fspath(path))
        connection.sock = link
        connection.request("GET", "/status")
        found = json.loads(connection.getresponse().read())
    if not isinstance(found, dict):
        raise ValueError("no object of JSON")
    return found


class _Unwatched:
    """Whoever asks for a sidecar of its own reads the encoders' reports."""

    def answered(self, outcome: Outcome, seconds: float) -> None:
        """See :class:`idse.server.session.SessionWatch`."""


def _own(wanted: Wish, path: Path) -> Iterator[Path]:
    from idse.server.encoders import EncoderServer
    from idse.server.models import Models, prepare
    from idse.server.paths import SocketFile
    from idse.server.priority import give_way
    from idse.server.queue import AnalysisQueue

    names = [split_weight(spec)[0] for spec in wanted.models]
    maps = {} if wanted.maps is None else {_MAPS: wanted.maps}
    models = Models(names or ([] if maps else [DEFAULT_MODEL]), maps)
    try:
        models.load()
    except IdseError as error:
        # Nobody asked for the default one: encoders find nobody, and say that they go unsteered.
        if names or maps or not built_in(models.names):
            raise
        logger.warning("nothing is steered: %s", error)
        yield path
        return
    listening = SocketFile(path)

    def begun() -> tuple[AnalysisQueue, EncoderServer]:
        """Start the threads that think; they take over the priority of the one that starts them."""
        give_way()
        queue, watch = AnalysisQueue(prepare=prepare), _Unwatched()
        return queue, EncoderServer(listening.socket, models=models, queue=queue, watch=watch)

    # The program that is run has the priority of the main thread.
    with ThreadPoolExecutor(1) as starter:
        queue, server = starter.submit(begun).result()
    try:
        yield path
    finally:
        # Encoders that are left belong to programs that outlive the one that was run.
        server.drain(_DRAIN_SECONDS)
        queue.close()
        queue.join(_DRAIN_SECONDS)
        listening.close()
