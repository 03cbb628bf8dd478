"""Pools of processes that Ctrl-C ends without a word of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
R = TypeVar("R")

# What a terminal sends to all processes in front of it: at Ctrl-C, and when it is closed.
_BY_TERMINAL = (signal.SIGINT, signal.SIGHUP)


class Workers(ProcessPoolExecutor):
    """Processes that end with their parent, and to which Ctrl-C does nothing until they have begun.

    A terminal sends it to every process, and the one that tells of it is the parent; but one that
    still imports what it needs would print a traceback. So it is when a terminal is closed.

    Parameters
    ----------
    jobs
        Processes, >= 1.
    interrupt
        What both do to them from then on: ``SIG_DFL`` ends them, ``SIG_IGN`` leaves it to the
        parent.
    begin, arguments
        A function of a module that each process calls first, and what it is called with.
    """

    def __init__(
        self,
        jobs: int,
        *,
        interrupt: signal.Handlers,
        begin: Callable[..., None],
        arguments: tuple[object, ...] = (),
    ) -> None:
        # The process that keeps track of semaphores begins here, and is to outlive us.
        with _held_back():
            super().__init__(
                jobs,
                mp_context=get_context("spawn"),  # torch does not survive a fork
                initializer=_begin,
                initargs=(interrupt, begin, arguments),
            )

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Add a task; a process that is started for it inherits what is held back."""
        with _held_back():
            return super().submit(fn, *args, **kwargs)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Hold back what a terminal sends, from this thread and the processes that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BY_TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(
    interrupt: signal.Handlers, begin: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    signal.signal(signal.SIGINT, interrupt)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BY_TERMINAL)
    threading.Thread(target=_follow_parent, name="follow parent", daemon=True).start()
    begin(*arguments)


def _follow_parent() -> None:
    """End where the parent has: of a pool's end nobody else tells."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
