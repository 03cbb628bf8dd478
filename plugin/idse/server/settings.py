"""How a server is asked to serve, and where it then listens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from idse.errors import InputError
from idse.server.priority import NICENESS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MAX_ROWS = 64


def check_rows(n_s: int) -> None:
    """Check how large a sketch is that a server computes.

    Raises
    ------
    InputError
        It has more rows than `MAX_ROWS`.
    """
    if n_s > MAX_ROWS:
        raise InputError(f"n_s {n_s} is above {MAX_ROWS}, the most that a server computes")


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How to serve.

    Attributes
    ----------
    path
        Socket of encoders; that of HTTP lies beside it.
    models
        Networks, the default one first.
    maps
        Map files by the names that clients use.
    vae_models
        Of the learned codec; empty: those that came with idse.
    tcp
        Host and port for HTTP over TCP; None: Unix socket only. Port 0 takes a free one.
    token
        What TCP clients must show.
    jobs
        Threads that run networks.
    grace
        Seconds that encoders have to end when the server does.
    idle
        Seconds without any encoder or request after which the server ends; None: never.
    niceness
        How far it gives way to other processes, 0 to 19; see `give_way`.
    """

    path: Path
    models: Sequence[str]
    maps: Mapping[str, Path] = field(default_factory=dict)
    vae_models: Sequence[str] = ()
    tcp: tuple[str, int] | None = None
    token: str | None = None
    jobs: int = 1
    grace: float = 10.0
    idle: float | None = None
    niceness: int = NICENESS


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Where a server listens: encoders, HTTP by Unix socket, HTTP by TCP, and its process."""

    encoders: str
    http: str
    tcp: str | None
    pid: int
