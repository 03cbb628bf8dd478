"""Attaching to PyAV's libavcodec, and who of its encoders is asked for what."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from idse.dropin.launch import Outcome
from idse.errors import CodecError, IdseError, InputError, LibraryLoadError, describe
from idse_pyav import _native
from idse_pyav._asked import Asked, asked
from idse_pyav._context import address_of
from idse_pyav._sidecar import Sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from av import VideoCodecContext, VideoStream

logger = logging.getLogger("idse_pyav")

# Major versions of PyAV whose wheels are known.
_KNOWN = range(14, 19)


@dataclass(frozen=True, kw_only=True)
class Report(Outcome):
    """What became of PyAV's encoders: those that are open and the latest 256 that were closed.

    Attributes
    ----------
    encoders
        As in `idse.dropin.launch.Outcome`; ``open`` tells whether more may come.
    attached
        Whether encoders that are opened now are steered, if they are asked to be.
    failures
        How often something here could not be done as asked.
    problem
        The first of them, or nothing.
    """

    attached: bool
    failures: int
    problem: str


@dataclass
class _State:
    """Of this process: libavcodec is there once, too."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    installed: Asked | None = None
    attached: bool = False
    sidecars: dict[tuple[str, ...], Sidecar] = field(default_factory=dict)
    # Of encoders that are not open yet, so that no other one gets the address.
    chosen: dict[int, VideoCodecContext] = field(default_factory=dict)
    failures: int = 0
    problem: str = ""


_state = _State()


class Installed:
    """What `install` returns: ``with`` uninstalls at its end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        uninstall()


def install(
    *,
    model: str | Sequence[str] | None = None,
    server: str | os.PathLike[str] | None = None,
    offsets: str | os.PathLike[str] | None = None,
    steering: str = "",
    live: bool = False,
    strict: bool = False,
) -> Installed:
    """Steer every ``libx264`` encoder that PyAV opens from now on.

    Where that cannot be done, it is logged and counted, and everything stays as it was.

    Parameters
    ----------
    model
        Network that the video is for, ``NAME`` or ``NAME=WEIGHT``, or several. Networks run in a
        process of their own, which starts now unless the user's ``idse serve`` has them.
    server
        Socket of a sidecar to use, whether it runs already or not; ``model`` then names networks
        that are registered there.
    offsets
        File of QP offsets, which are used as they are (``native/preload/offsets_file.h``).
        Without any of the three the default network is used.
    steering
        Options of ``idse transcode`` that steer, as on the command line: ``"--strength 0.7"``.
    live
        Encoders never wait: they take the newest offsets that there are. Otherwise pictures wait
        for theirs, so that the result depends on nothing but the input.
    strict
        What cannot be done is an error, here or (``av.error.FFmpegError``) in ``encode``. So it is
        for everybody if the environment has ``IDSE_STRICT=1``.

    Returns
    -------
    A context manager that uninstalls.

    Raises
    ------
    InputError
        The arguments contradict each other, cannot be, or it is installed already.
    CodecError
        Only where strict: nothing can be steered; the message says why.
    """
    wanted = asked(
        model=model, server=server, offsets=offsets, steering=steering, live=live, strict=strict
    )
    with _state.lock:
        if _state.installed is not None:
            raise InputError("idse_pyav is installed already: uninstall() it first")
        with _fails_open(strict=strict):
            _attach()
            _set(_native.library().idse_pyav_default, block=wanted.block(_socket(wanted)))
        _state.installed = wanted
    return Installed()


def uninstall() -> None:
    """Leave every encoder that PyAV opens from now on alone; end our own sidecar.

    Encoders that are open keep their offsets from a file. Those that a sidecar of our own steers
    are told to finish, and go on unsteered after some seconds: flush them first.
    """
    with _state.lock:
        if _state.attached:
            _native.library().idse_pyav_detach()
        _state.attached = False
        _state.installed = None
        _state.chosen.clear()
        while _state.sidecars:
            _state.sidecars.popitem()[1].close()


def steer(
    stream: VideoStream | VideoCodecContext,
    *,
    model: str | Sequence[str] | None = None,
    server: str | os.PathLike[str] | None = None,
    offsets: str | os.PathLike[str] | None = None,
    steering: str = "",
    live: bool = False,
    strict: bool = False,
) -> None:
    """Steer one stream in its own way, whether or not `install` steers the others.

    Parameters
    ----------
    stream
        Of ``libx264``, before its first frame.
    model, server, offsets, steering, live, strict
        As for `install`; where none is given, as `install` was told.

    Raises
    ------
    InputError
        As `install`; or the stream is open, or none that is encoded by libx264.
    CodecError
        As `install`.
    """
    given = asked(
        model=model, server=server, offsets=offsets, steering=steering, live=live, strict=strict
    )
    nothing = asked(model=None, server=None, offsets=None, steering="", live=False, strict=False)
    context = _context_of(stream)
    with _state.lock:
        wanted = _state.installed if _state.installed and given == nothing else given
        with _fails_open(strict=wanted.strict):
            _attach()
            _choose(context, wanted.block(_socket(wanted)))


def leave(stream: VideoStream | VideoCodecContext) -> None:
    """Leave one stream alone, whatever `install` has asked for.

    Parameters
    ----------
    stream
        Of ``libx264``, before its first frame.

    Raises
    ------
    InputError
        It is open, or none that is encoded by libx264.
    CodecError
        Only where strict: it cannot be told which encoder is its.
    """
    context = _context_of(stream)
    with _state.lock:
        if _state.attached:
            installed = _state.installed
            with _fails_open(strict=installed is not None and installed.strict):
                _choose(context, None)


def report() -> Report:
    """Return what became of the encoders so far."""
    with _state.lock:
        known = _native.encoders() if _state.attached or _logging_to is not None else []
        return Report(
            encoders=tuple(_facts(item) for item in known),
            attached=_state.attached,
            failures=_state.failures,
            problem=_state.problem,
        )


def _facts(item: _native.Patched) -> dict[str, Any]:
    return {
        "number": int(item.number),
        "pid": os.getpid(),
        "open": bool(item.open),
        "build": item.build,
        "width": item.width,
        "height": item.height,
        "mode": item.mode.decode(),
        "problem": item.problem.decode(errors="replace"),
        **{name: int(getattr(item, name)) for name in _native.COUNTERS},
    }


@contextlib.contextmanager
def _fails_open(*, strict: bool) -> Iterator[None]:
    """Count and log what cannot be done; raise it where that is wanted."""
    try:
        yield
    except InputError:
        raise
    except (IdseError, OSError, AttributeError) as error:
        fail(describe(error), strict=strict, error=error)


def fail(problem: str, *, strict: bool, error: Exception | None = None) -> None:
    """Count and log that something is not steered.

    Raises
    ------
    CodecError
        Where strict.
    """
    with _state.lock:
        _state.failures += 1
        _state.problem = _state.problem or problem
    if strict or os.environ.get("IDSE_STRICT", "0") not in {"", "0"}:
        raise CodecError(f"cannot be steered: {problem}") from error
    logger.warning("not steered: %s", problem)


def socket_of(wanted: Asked) -> Path | None:
    """Return the socket to use, of a sidecar that is started if there has to be one.

    Raises
    ------
    ModelError
        It does not start.
    """
    with _state.lock:
        return _socket(wanted)


def _socket(wanted: Asked) -> Path | None:
    if not wanted.own_sidecar:
        return wanted.server
    if wanted.models not in _state.sidecars:
        _state.sidecars[wanted.models] = Sidecar(wanted.models)
        _at_exit()
    return _state.sidecars[wanted.models].path


def _context_of(stream: VideoStream | VideoCodecContext) -> VideoCodecContext:
    context: Any = getattr(stream, "codec_context", stream)
    if not getattr(context, "is_encoder", False) or context.codec.name != "libx264":
        raise InputError(f"{stream!r} is not encoded by libx264")
    if context.is_open:
        raise InputError(f"{stream!r} is open: say how to steer it before its first frame")
    found: VideoCodecContext = context
    return found


def _choose(context: VideoCodecContext, block: bytes | None) -> None:
    native = _native.library()
    address = address_of(context, native.idse_pyav_class())
    for other in [item for item in _state.chosen if not native.idse_pyav_waits(item)]:
        del _state.chosen[other]
    _set(native.idse_pyav_choose, address, block=block)
    _state.chosen[address] = context


def _set(function: Any, *arguments: int, block: bytes | None) -> None:  # noqa: ANN401
    if not function(*arguments, block, 0 if block is None else len(block)):
        raise CodecError("there is no memory")


def _attach() -> None:
    """Point PyAV's libavcodec at us.

    Raises
    ------
    LibraryLoadError
        Something is not as it is known to be; nothing was changed.
    """
    if _state.attached:
        return
    import av
    import av.codec.context as module

    major = re.match(r"\d+", av.__version__)
    if major is None or int(major[0]) not in _KNOWN:
        raise LibraryLoadError(
            f"PyAV {av.__version__} is not known ({_KNOWN[0]} to {_KNOWN[-1]} are): nothing is done"
        )
    problem = _native.attach(str(module.__file__))
    if problem:
        raise LibraryLoadError(f"PyAV {av.__version__} is not as it is known: {problem}")
    _state.attached = True
    _at_exit()


# -- the process

_logging_to: Any = None


def _at_exit() -> None:
    """Once: hear what the C side says, and see to an orderly end."""
    global _logging_to  # noqa: PLW0603
    if _logging_to is None:
        _logging_to = _native.LogSink(lambda line: logger.warning("%s", line.decode()))
        _native.library().idse_pyav_log_to(_logging_to)
        atexit.register(_end)
        os.register_at_fork(after_in_child=_forked)


def _end() -> None:
    uninstall()
    # Encoders may be closed when there is no interpreter any more.
    _native.library().idse_pyav_log_to(_native.LogSink())


def _forked() -> None:
    _state.lock = threading.RLock()
    for sidecar in _state.sidecars.values():
        sidecar.let_go()
