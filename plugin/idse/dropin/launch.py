"""Running a program whose libx264 is steered: its environment, its signals, its exit code."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import idse
from idse.errors import InputError, LibraryLoadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

# What is passed on to the program.
_PASSED_ON = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# Those that a terminal sends to everybody in front of it, the program included.
_BY_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT})
# Those that Python ignores, and programs do not expect to be ignored.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def library() -> Path:
    """Return the library that is preloaded.

    Raises
    ------
    LibraryLoadError
        It is missing.
    """
    path = Path(idse.__file__).parent / "_native" / "libidse_preload.so"
    if not path.exists():
        raise LibraryLoadError(f"{path} is missing: install the package again (pip install .)")
    return path


def environment(
    base: Mapping[str, str],
    *,
    socket: Path | None = None,
    options: str = "",
    offsets: Path | None = None,
    live: bool = False,
    strict: bool = False,
    report: Path | None = None,
    before: Sequence[Path] = (),
) -> dict[str, str]:
    """Return the environment of a program whose encoders are steered.

    Parameters
    ----------
    base
        Its environment otherwise. Settings of an outer ``idse`` are replaced, ``IDSE_TIMEOUT``
        stays.
    socket
        The sidecar's; None steers by ``offsets`` alone.
    options
        What encoders ask of it.
    offsets
        A file of verbatim offsets (``native/preload/offsets_file.h``) in its place.
    live
        Whether encoders never wait for offsets.
    strict
        Whether an encoder that cannot be steered fails.
    report
        Where each encoder adds a line of JSON when it is closed.
    before
        Libraries that are preloaded too.

    Raises
    ------
    LibraryLoadError
        The library is missing, or lies where it cannot be preloaded from.
    """
    given = {
        "IDSE_SOCKET": socket,
        "IDSE_OPTIONS": options or None,
        "IDSE_OFFSETS": offsets,
        "IDSE_MODE": "live" if live else "wait",
        "IDSE_STRICT": "1" if strict else None,
        "IDSE_REPORT": report,
    }
    made = {name: value for name, value in base.items() if name not in given}
    made.update({name: os.fspath(value) for name, value in given.items() if value is not None})
    ours = library()
    others = base.get("LD_PRELOAD", "").replace(":", " ").split()
    preloaded = [os.fspath(item) for item in (ours, *before)]
    for path in preloaded:
        if " " in path or ":" in path:  # where ld.so would split it
            raise LibraryLoadError(f"{path} cannot be preloaded: its name has a blank or a colon")
    made["LD_PRELOAD"] = ":".join([*preloaded, *(i for i in others if i not in preloaded)])
    return made


def run_program(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run a program to its end; return its exit code, 128 and its number where a signal ended it.

    The program has our terminal, input and output. Signals that somebody sends to us are sent on,
    so that it ends as it would have ended alone.

    Raises
    ------
    InputError
        There is no such program, or it cannot be run.
    """
    path = shutil.which(command[0])
    if path is None:
        raise InputError(f"there is no program {command[0]!r} in PATH")
    with _signals() as (arrived, handled):
        try:
            child = os.posix_spawn(
                path, list(command), variables, setsigdef=[*handled, *_IGNORED_BY_PYTHON]
            )
        except OSError as error:
            raise InputError(f"{path} cannot be run: {error.strerror}") from error
        while True:
            for number in arrived():
                if number == signal.SIGCHLD:
                    done, status = os.waitpid(child, os.WNOHANG)
                    if done:
                        code = os.waitstatus_to_exitcode(status)
                        return code if code >= 0 else 128 - code
                elif number not in _BY_TERMINAL or not _in_front():
                    os.kill(child, number)


@contextlib.contextmanager
def _signals() -> Iterator[tuple[Callable[[], bytes], list[signal.Signals]]]:
    """Collect signals; yield what waits for their numbers, and which ones are collected.

    Whichever thread a signal interrupts, its number comes through a pipe. Those that we were told
    to ignore, as by nohup, stay ignored.
    """
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    handled = [
        number
        for number in (*_PASSED_ON, signal.SIGCHLD)
        if number == signal.SIGCHLD or signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, lambda *_: None) for number in handled}
    wakeup = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)

    def arrived() -> bytes:
        select.select([readable], [], [])
        return os.read(readable, 64)

    try:
        yield arrived, handled
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(readable)
        os.close(writable)


def _in_front() -> bool:
    """Tell whether a terminal would have sent its signals to the program, too."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the encoders of a program.

    Attributes
    ----------
    encoders
        One mapping for each encoder that was closed, as the library writes it: ``frames``,
        ``steered``, ``unsteered``, ``lost``, ``late``, ``age``, ``problem`` and so on.
    """

    encoders: tuple[Mapping[str, Any], ...]

    @property
    def frames(self) -> int:
        """Pictures that were encoded."""
        return self._sum("frames")

    @property
    def steered(self) -> int:
        """Pictures that got offsets."""
        return self._sum("steered")

    @property
    def whole(self) -> bool:
        """Whether every encoder was steered as far as there was anything to steer."""
        return bool(self.encoders) and not any(e["lost"] or e["problem"] for e in self.encoders)

    def summary(self) -> str:
        """Say it in one line."""
        if not self.encoders:
            return (
                "no libx264 encoder was closed: nothing was steered (another encoder, a program "
                "with libx264 linked into it, or it was killed)"
            )
        count = len(self.encoders)
        parts = [f"{self.steered} of {self.frames} pictures steered"]
        if count > 1:
            parts[0] += f" in {count} encoders"
        live = [e for e in self.encoders if e["mode"] == "live"]
        shown = sum(e["steered"] for e in live)
        if shown:
            late = sum(e["late"] for e in live)
            age = sum(e["age"] for e in live) / shown
            parts.append(f"{shown - late} in time, offsets {age:.1f} pictures old on average")
        lost = self._sum("lost")
        if lost:
            parts.append(f"{lost} without an answer")
        problems = dict.fromkeys(e["problem"] for e in self.encoders if e["problem"])
        return "; ".join([", ".join(parts), *problems])

    def _sum(self, name: str) -> int:
        return sum(int(encoder[name]) for encoder in self.encoders)


def read_outcome(report: Path) -> Outcome:
    """Read what encoders have written; a line that is no whole one is left out."""
    encoders = []
    lines = report.read_text(encoding="utf-8", errors="replace") if report.exists() else ""
    for line in lines.splitlines():
        try:
            encoders.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return Outcome(encoders=tuple(encoders))
