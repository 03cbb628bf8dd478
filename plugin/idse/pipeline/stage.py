"""A stage of the pipeline: an iterator that runs ahead in its own thread, by so many bytes."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

logger = logging.getLogger(__name__)

# A thread that waits for a network or a pipe cannot be woken; it is left behind after this.
_JOIN_SECONDS = 2.0


class Stage(Generic[T]):
    """Runs ``items`` in a thread and hands them on in order.

    What is produced depends on ``items`` alone; only when it is produced depends on timing.

    Parameters
    ----------
    items
        Iterated in the thread. What it raises is raised to whoever iterates over the stage.
    size
        Bytes that an item holds on to.
    budget
        Bytes that may wait to be taken; one item more than that is always let through.
    name
        Of the thread.
    """

    def __init__(
        self, items: Iterable[T], *, size: Callable[[T], int], budget: int, name: str
    ) -> None:
        self._items = items
        self._size = size
        self._budget = budget
        self._ready: deque[tuple[T, int]] = deque()
        self._held = 0
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for item in self._items:
                size = self._size(item)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or self._held <= self._budget)
                    if self._stopped:
                        break
                    self._ready.append((item, size))
                    self._held += size
                    self._changed.notify_all()
                del item  # the next one may take long; do not hold on to this one meanwhile
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, whatever it is
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended or self._stopped)
                if self._stopped or not self._ready:
                    break
                item, size = self._ready.popleft()
                self._held -= size
                self._changed.notify_all()
            yield item
            del item
        if self._error is not None and not self._stopped:
            raise self._error

    def stop(self) -> None:
        """Make the thread end at its next item, and whoever waits for one go on without."""
        with self._changed:
            self._stopped = True
            self._ready.clear()
            self._changed.notify_all()

    def join(self) -> bool:
        """Wait a little for the thread to end; False where it is stuck in a read."""
        self._thread.join(_JOIN_SECONDS)
        if self._thread.is_alive():
            logger.debug("thread %s is still waiting for its input", self._thread.name)
        return not self._thread.is_alive()
