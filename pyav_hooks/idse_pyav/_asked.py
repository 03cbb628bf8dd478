"""What encoders are asked for, checked and as the C side reads it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idse.errors import InputError
from idse.importance.naming import split_weight
from idse.pipeline import arguments

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How encoders are to be steered.

    Attributes
    ----------
    models
        Networks, ``NAME`` or ``NAME=WEIGHT``.
    server
        Socket of a sidecar that runs, or None.
    offsets
        File of verbatim offsets, or None.
    words
        Options of ``idse transcode`` that steer.
    live, strict
        Whether encoders never wait, and whether those that cannot be steered fail.
    """

    models: tuple[str, ...]
    server: Path | None
    offsets: Path | None
    words: tuple[str, ...]
    live: bool
    strict: bool

    @property
    def own_sidecar(self) -> bool:
        """Whether there must be a sidecar of our own."""
        return self.server is None and self.offsets is None

    @property
    def all_words(self) -> tuple[str, ...]:
        """What an encoder tells the sidecar."""
        return (*(f"--model={spec}" for spec in self.models), *self.words)

    def block(self, socket: Path | None) -> bytes:
        """Return the settings as ``native/preload/settings.h`` reads them."""
        settings = {
            "IDSE_SOCKET": "" if socket is None else str(socket),
            "IDSE_OPTIONS": shlex.join(self.all_words),
            "IDSE_OFFSETS": "" if self.offsets is None else str(self.offsets),
            "IDSE_MODE": "live" if self.live else "wait",
        }
        if self.strict:
            settings["IDSE_STRICT"] = "1"
        return b"".join(f"{name}={value}".encode() + b"\0" for name, value in settings.items())


def asked(
    *,
    model: str | Sequence[str] | None,
    server: str | os.PathLike[str] | None,
    offsets: str | os.PathLike[str] | None,
    steering: str,
    live: bool,
    strict: bool,
) -> Asked:
    """Check what was given to `idse_pyav.install` and its like.

    Raises
    ------
    InputError
        Values contradict each other, or one of them cannot be.
    """
    if offsets is not None and (model is not None or server is not None or steering):
        raise InputError("offsets from a file need neither a model, a server nor steering options")
    models = (model,) if isinstance(model, str) else tuple(model or ())
    for spec in models:
        split_weight(spec)
    try:
        words = tuple(shlex.split(steering))
    except ValueError as error:
        raise InputError(f"steering {steering!r} cannot be split into words: {error}") from error
    arguments.steering_options(arguments.parse(words))
    if any("\0" in str(item) for item in (*models, *words, server, offsets)):
        raise InputError("a zero byte cannot be passed on")
    path = None if offsets is None else Path(offsets).absolute()
    if path is not None and not path.is_file():
        raise InputError(f"offsets {path}: there is no such file")
    return Asked(
        models=models,
        server=None if server is None else Path(server).absolute(),
        offsets=path,
        words=words,
        live=live,
        strict=strict,
    )
