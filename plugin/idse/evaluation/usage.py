"""Running other programs, and what they take."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a program took: seconds of wall and processor time, peak resident bytes.

    The kernel tells at least as many bytes as the process that started the program held itself.
    """

    wall: float
    cpu: float
    peak: int


def run(command: Sequence[object]) -> Usage:
    """Run a program to its end.

    Raises
    ------
    InputError
        It fails; its messages are quoted.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        if process.returncode:
            messages.seek(0)
            text = messages.read().decode(errors="replace").strip()
            raise InputError(f"{shlex.join(map(str, command))} failed: {text}")
    return Usage(wall=wall, cpu=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss * 1024)
