"""Encoders come first: networks run on what processor time nobody else wants."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

# A third of the weight of other processes: little is taken from encoders that have every core at
# work, and steering does not cease altogether.
NICENESS = 5
_AUTOGROUP = Path("/proc/self/autogroup")
_TASKS = Path("/proc/self/task")


def give_way(niceness: int = NICENESS) -> None:
    """Lower the priority of this thread and those that it will start; the main one: of all.

    Linux gives each thread a niceness of its own, which new threads take over. Where its scheduler
    groups processes by session, niceness counts within a session only; a process that leads one
    therefore lowers its session's, too. A priority that is low enough stays as it is.

    Parameters
    ----------
    niceness
        0 to 19; 0 changes nothing.
    """
    whole = threading.current_thread() is threading.main_thread()
    for thread in _threads() if whole else [0]:
        with suppress(OSError):
            before = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, max(before, niceness))
    if niceness and os.getsid(0) == os.getpid():
        with suppress(OSError):
            _AUTOGROUP.write_text(str(niceness), encoding="ascii")


def _threads() -> list[int]:
    """Return the numbers of this process's threads; 0 stands for the one that asks."""
    with suppress(OSError):
        return [int(task.name) for task in _TASKS.iterdir()]
    return [0]
