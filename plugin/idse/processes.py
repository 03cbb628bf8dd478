"""Pools of processes that Ctrl-C ends without a word of their own."""

from __future__ import annotations

import signal
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


class Workers(ProcessPoolExecutor):
    """Processes to which Ctrl-C does nothing until they have begun.

    A terminal sends it to every process, and the one that tells of it is the parent; but one that
    still imports what it needs would print a traceback.

    Parameters
    ----------
    jobs
        Processes, >= 1.
    interrupt
        What Ctrl-C does to them from then on: ``SIG_DFL`` ends them, ``SIG_IGN`` leaves it to the
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
        super().__init__(
            jobs,
            mp_context=get_context("spawn"),  # torch does not survive a fork
            initializer=_begin,
            initargs=(interrupt, begin, arguments),
        )

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Add a task; a process that is started for it inherits that Ctrl-C is held back."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(
    interrupt: signal.Handlers, begin: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    signal.signal(signal.SIGINT, interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    begin(*arguments)
