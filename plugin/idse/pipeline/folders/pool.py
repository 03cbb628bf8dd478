"""Work spread over processes that load what they need once, and that may be lost."""

from __future__ import annotations

import os
import signal
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Generic, TypeVar

from idse.processes import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")


class Pool(Generic[T, R]):
    """Runs a function over tasks in processes of their own.

    A process that dies (out of memory, a crash in a decoder) takes only the task with it that
    killed it: those that were under way are run again, each alone.

    Parameters
    ----------
    function
        Of a module, taking one task; what it raises ends the run.
    jobs
        Processes, >= 1; with 1 the work is done in this one.
    start, arguments
        A function of a module that each process calls first, and what it is called with.
    """

    def __init__(
        self,
        function: Callable[[T], R],
        *,
        jobs: int,
        start: Callable[..., None],
        arguments: tuple[object, ...],
    ) -> None:
        self._function = function
        self._jobs = jobs
        self._start = start
        self._arguments = arguments

    def run(self, tasks: Iterable[T]) -> Generator[tuple[T, R | None]]:
        """Yield tasks with their results as they come; None where the task killed its process.

        Tasks are taken as processes become free. An exception, also that of Ctrl-C, waits for those
        that are under way and leaves out the others.
        """
        if self._jobs == 1:
            self._start(*self._arguments)
            for task in tasks:
                yield task, self._function(task)
            return
        source = iter(tasks)
        while True:
            lost: list[T] = []
            yield from self._until_lost(source, self._jobs, lost)
            if not lost:
                return
            for task in lost:
                again: list[T] = []
                yield from self._until_lost(iter([task]), 1, again)
                if again:
                    yield task, None

    def _until_lost(self, source: Iterator[T], jobs: int, lost: list[T]) -> Iterator[tuple[T, R]]:
        """Run tasks until there are none, or a process died; put what was under way into lost."""
        pool = Workers(
            jobs,
            interrupt=signal.SIG_IGN,
            begin=_begin,
            arguments=(self._start, self._arguments),
        )
        running: dict[Future[R], T] = {}
        try:
            while not lost:
                # One more than there are processes, so that none waits for us.
                while len(running) <= jobs and not lost:
                    task = next(source, None)
                    if task is None:
                        break
                    try:
                        running[pool.submit(self._function, task)] = task
                    except BrokenProcessPool:
                        lost.append(task)
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task = running.pop(future)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        lost.append(task)
                    else:
                        yield task, result
            lost.extend(running.values())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin(start: Callable[..., None], arguments: tuple[object, ...]) -> None:
    # As many processes as cores: threads inside them would only get in each other's way.
    os.environ["OMP_NUM_THREADS"] = "1"
    start(*arguments)
