"""Sidecars for encoders in this process, with tiny networks."""

from __future__ import annotations

import contextlib
import threading

from idse.server.encoders import EncoderServer
from idse.server.models import Models, prepare
from idse.server.paths import SocketFile
from idse.server.queue import AnalysisQueue

LEFT = "tiny_networks:sees_left"
FAILS = "tiny_networks:fails"
SLOW = "tiny_networks:slow"


class Counts:
    """Counts answers."""

    def __init__(self):
        self.outcomes = []
        self._lock = threading.Lock()

    def answered(self, outcome, seconds):
        with self._lock:
            self.outcomes.append(outcome)


class Sidecar:
    def __init__(self, folder, *, models=(LEFT,), maps=None, workers=1, most=64):
        self.path = folder / "serve.sock"
        self.models = Models(models, maps)
        self.models.load()
        self.rounds = []
        self.queue = AnalysisQueue(
            workers=workers, prepare=prepare, watch=lambda n, s: self.rounds.append(n)
        )
        self.watch = Counts()
        self.file = SocketFile(self.path)
        self.encoders = EncoderServer(
            self.file.socket, models=self.models, queue=self.queue, watch=self.watch, most=most
        )

    def close(self, seconds=5.0):
        done = self.encoders.drain(seconds)
        self.queue.close()
        self.queue.join(10)
        self.file.close()
        return done


@contextlib.contextmanager
def sidecar(folder, **options):
    made = Sidecar(folder, **options)
    try:
        yield made
    finally:
        made.close(0.5)
