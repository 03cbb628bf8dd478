"""One queue of analyses for all clients: fair, bounded, and honest about what comes too late."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict, deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from idse.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

T = TypeVar("T")

# How fast the estimate of what a kind of analysis takes follows what it took.
_FOLLOW = 0.3
# Kinds of analyses whose time is remembered.
_KINDS = 256


@dataclass(eq=False, kw_only=True)
class Job(Generic[T]):
    """One analysis.

    Attributes
    ----------
    client
        Whose it is: clients take turns.
    kind
        What is told apart in estimates of time, such as networks and size.
    call
        Does it.
    deadline
        `time.monotonic` seconds after which nobody wants the result; None: wanted at any time.
    batch
        Jobs with equal values may be prepared together; None stands alone.
    subject
        What is handed to the preparation.
    """

    client: Hashable
    kind: Hashable
    call: Callable[[], T]
    deadline: float | None = None
    batch: Hashable | None = None
    subject: Any = None
    future: Future[T] = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, kw_only=True)
class QueueFacts:
    """How busy a queue is: jobs that wait, clients that they are of, and jobs under way."""

    waiting: int
    clients: int
    running: int


class AnalysisQueue:
    """Runs jobs in threads of its own; clients take turns, whatever they ask for.

    Parameters
    ----------
    workers
        Threads, >= 1.
    most, each
        Jobs that may wait in all, and of one client.
    batch
        Jobs that may be prepared together.
    prepare
        Called with the subjects of jobs that share a ``batch``, before their calls.
    watch
        Called after each round with the number of jobs that it took, and its seconds.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        most: int = 64,
        each: int = 16,
        batch: int = 8,
        prepare: Callable[[Sequence[Any]], None] | None = None,
        watch: Callable[[int, float], None] | None = None,
    ) -> None:
        self._most = most
        self._each = each
        self._batch = batch
        self._prepare = prepare
        self._watch = watch
        self._waiting: OrderedDict[Hashable, deque[Job[Any]]] = OrderedDict()
        self._count = 0
        self._running: dict[int, tuple[float, float]] = {}  # round -> (begin, estimate)
        self._rounds = 0
        self._took: dict[Hashable, float] = {}
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"analysis {n}", daemon=True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job[T], *, patient: bool = False) -> Future[T]:
        """Let a job wait for its turn.

        Parameters
        ----------
        job
            To be done.
        patient
            Whether its client waits for one job at a time, and is one of a bounded number: such a
            job is never one too many.

        Raises
        ------
        BusyError
            Too many wait already, the deadline cannot be met, or the queue is closed.
        """
        with self._changed:
            if self._closed:
                raise BusyError("the server is shutting down")
            queue = self._waiting.get(job.client, ())
            if not patient and self._count >= self._most:
                raise BusyError(f"{self._count} analyses wait already: try again later")
            if not patient and len(queue) >= self._each:
                raise BusyError(f"{len(queue)} analyses of this client wait already")
            self._check_deadline(job, len(queue))
            self._waiting.setdefault(job.client, deque()).append(job)
            self._count += 1
            self._changed.notify()
        return job.future

    def facts(self) -> QueueFacts:
        """Return how busy it is."""
        with self._changed:
            return QueueFacts(
                waiting=self._count, clients=len(self._waiting), running=len(self._running)
            )

    def close(self) -> None:
        """Take no more jobs; those that wait are still done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self, seconds: float) -> bool:
        """Wait for a closed queue to be empty; return whether it was in time.

        What still waits then fails with BusyError.
        """
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._changed:
            for queue in self._waiting.values():
                for job in queue:
                    _fail(job, "the server is shutting down")
            self._waiting.clear()
            self._count = 0
        return not any(thread.is_alive() for thread in self._threads)

    def _check_deadline(self, job: Job[T], ahead: int) -> None:
        """Refuse a job that would come too late behind ``ahead`` jobs of its own client."""
        if job.deadline is None:
            return
        now = time.monotonic()
        left = sum(max(0.0, begin + took - now) for begin, took in self._running.values())
        for client, queue in self._waiting.items():
            # The others have a turn before each of this client's.
            turns = ahead if client == job.client else ahead + 1
            left += sum(self._estimate(other) for other in list(queue)[:turns])
        needed = left / len(self._threads) + self._estimate(job)
        if now + needed >= job.deadline:
            raise BusyError(
                f"cannot be served in time: wanted in {1000 * (job.deadline - now):.0f} ms, would "
                f"take {1000 * needed:.0f} ms"
            )

    def _estimate(self, job: Job[Any]) -> float:
        return self._took.get(job.kind, 0.0)

    def _learn(self, kind: Hashable, took: float) -> None:
        before = self._took.pop(kind, took)
        self._took[kind] = before + _FOLLOW * (took - before)
        if len(self._took) > _KINDS:
            self._took.pop(next(iter(self._took)))

    def _work(self) -> None:
        # What a round leaves in variables would be held until the next one: pictures, for instance.
        while self._round():
            pass

    def _round(self) -> bool:
        """Wait for jobs and do some of them; return False where there are no more to come."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if not self._waiting:
                return False
            jobs = self._take()
            self._rounds += 1
            number, begin = self._rounds, time.monotonic()
            self._running[number] = (begin, sum(self._estimate(job) for job in jobs))
        try:
            self._run(jobs)
        finally:
            took = time.monotonic() - begin
            with self._changed:
                del self._running[number]
                for job in jobs:
                    self._learn(job.kind, took / len(jobs))
        if jobs and self._watch is not None:
            self._watch(len(jobs), took)
        return True

    def _run(self, jobs: Sequence[Job[Any]]) -> None:
        if len(jobs) > 1 and self._prepare is not None:
            with contextlib.suppress(Exception):  # each job then fails, or does not, by itself
                self._prepare([job.subject for job in jobs])
        for job in jobs:
            try:
                job.future.set_result(job.call())
            except BaseException as error:  # noqa: BLE001 - raised to whoever waits for the job
                job.future.set_exception(error)

    def _take(self) -> list[Job[Any]]:
        """Take the next client's first job, and what may be prepared with it."""
        jobs: list[Job[Any]] = []
        for job in self._turns():
            if jobs and (jobs[0].batch is None or job.batch != jobs[0].batch):
                continue
            self._remove(job)
            if job.deadline is not None and time.monotonic() >= job.deadline:
                _fail(job, "its time was up before its turn came")
            elif job.future.set_running_or_notify_cancel():
                jobs.append(job)
            if len(jobs) == self._batch or (jobs and jobs[0].batch is None):
                break
        return jobs

    def _turns(self) -> Iterator[Job[Any]]:
        """Yield every client's first job, those first who have waited longest for a turn."""
        for queue in list(self._waiting.values()):
            yield queue[0]

    def _remove(self, job: Job[Any]) -> None:
        """Take a client's first job out, and put the client at the end."""
        queue = self._waiting.pop(job.client)
        queue.popleft()
        self._count -= 1
        if queue:
            self._waiting[job.client] = queue


def _fail(job: Job[Any], why: str) -> None:
    if job.future.set_running_or_notify_cancel():
        job.future.set_exception(BusyError(why))
