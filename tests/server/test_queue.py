"""The queue of analyses: turns, bounds, deadlines, batches, and its end."""

import threading
import time

import pytest

from idse.errors import BusyError
from idse.server.queue import AnalysisQueue, Job

pytestmark = pytest.mark.fast


class Gate:
    """Keeps the only worker busy until it is opened."""

    def __init__(self, queue):
        self._open = threading.Event()
        self._begun = threading.Event()
        self.future = queue.submit(Job(client="gate", kind="gate", call=self._wait))
        assert self._begun.wait(10)

    def _wait(self):
        self._begun.set()
        assert self._open.wait(30)

    def open(self):
        self._open.set()
        self.future.result(10)


@pytest.fixture
def queue():
    made = AnalysisQueue(most=40, each=20)
    yield made
    made.close()
    assert made.join(10)


def test_clients_take_turns_whoever_came_first_and_with_how_much(queue):
    done = []
    gate = Gate(queue)
    futures = [
        queue.submit(Job(client=client, kind="k", call=lambda c=client: done.append(c)))
        for client, count in (("a", 12), ("b", 3), ("c", 3))
        for _ in range(count)
    ]
    gate.open()
    for future in futures:
        future.result(10)
    assert done == ["a", "b", "c"] * 3 + ["a"] * 9


def test_too_many_are_refused_at_once_but_for_the_patient(queue):
    gate = Gate(queue)

    def job(client):
        return Job(client=client, kind="k", call=int)

    futures = [queue.submit(job("a")) for _ in range(20)]
    with pytest.raises(BusyError, match="20 analyses of this client"):
        queue.submit(job("a"))
    futures += [queue.submit(job(f"b{n % 10}")) for n in range(20)]
    with pytest.raises(BusyError, match="40 analyses wait"):
        queue.submit(job("c"))
    futures.append(queue.submit(job("encoder"), patient=True))
    assert queue.facts().waiting == 41
    gate.open()
    assert [future.result(10) for future in futures] == [0] * 41


def test_what_cannot_be_in_time_is_refused_at_once(queue):
    def slow():
        time.sleep(0.1)
        return "slow"

    assert queue.submit(Job(client="a", kind="slow", call=slow)).result(10) == "slow"
    gate = Gate(queue)
    first = queue.submit(Job(client="a", kind="slow", call=slow, deadline=time.monotonic() + 60))
    for client in ("a", "b"):
        with pytest.raises(BusyError, match="cannot be served in time"):
            queue.submit(
                Job(client=client, kind="slow", call=slow, deadline=time.monotonic() + 0.15)
            )
    gate.open()
    assert first.result(10) == "slow"


def test_what_has_waited_too_long_is_refused_when_its_turn_comes(queue):
    gate = Gate(queue)
    # Nobody knows yet how long anything takes here.
    late = queue.submit(Job(client="b", kind="new", call=int, deadline=time.monotonic() + 0.05))
    time.sleep(0.1)
    gate.open()
    with pytest.raises(BusyError, match="time was up"):
        late.result(10)


def test_jobs_of_one_batch_are_prepared_together_and_no_others():
    prepared, rounds = [], []
    queue = AnalysisQueue(batch=3, prepare=prepared.append, watch=lambda n, s: rounds.append(n))
    gate = Gate(queue)
    futures = [
        queue.submit(Job(client=client, kind="k", call=str, batch=batch, subject=client))
        for client, batch in zip("abcdefg", (1, 1, None, 2, 1, 1, 2), strict=True)
    ]
    gate.open()
    for future in futures:
        future.result(10)
    queue.close()
    assert queue.join(10)
    assert prepared == [["a", "b", "e"], ["d", "g"]]
    assert sorted(rounds) == [1, 1, 1, 2, 3]


def test_a_job_that_fails_fails_alone(queue):
    def fail():
        raise ValueError("no")

    bad = queue.submit(Job(client="a", kind="k", call=fail))
    good = queue.submit(Job(client="a", kind="k", call=lambda: 3))
    with pytest.raises(ValueError, match="no"):
        bad.result(10)
    assert good.result(10) == 3


def test_a_job_that_was_cancelled_is_left_out(queue):
    gate = Gate(queue)
    called = []
    future = queue.submit(Job(client="a", kind="k", call=lambda: called.append(1)))
    assert future.cancel()
    gate.open()
    queue.submit(Job(client="a", kind="k", call=int)).result(10)
    assert not called


def test_closing_finishes_what_waits_and_refuses_what_comes():
    queue = AnalysisQueue()
    gate = Gate(queue)
    waiting = queue.submit(Job(client="a", kind="k", call=lambda: "done"))
    queue.close()
    with pytest.raises(BusyError, match="shutting down"):
        queue.submit(Job(client="a", kind="k", call=int))
    assert not queue.join(0.01)  # the gate is closed, and what waited behind it is given up
    with pytest.raises(BusyError, match="shutting down"):
        waiting.result(10)
    gate.open()
    assert queue.join(10)
