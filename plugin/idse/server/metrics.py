"""What a server counts, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from idse.server.protocol import Outcome
    from idse.server.queue import QueueFacts

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._pictures = Counter(
            "idse_pictures",
            "Pictures of encoders, by what they were answered",
            ["outcome"],
            registry=self._registry,
        )
        self._latency = Histogram(
            "idse_picture_seconds",
            "Time that pictures of encoders were here",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._requests = Counter(
            "idse_requests",
            "HTTP requests, by route and status",
            ["route", "status"],
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "idse_request_seconds",
            "Time that HTTP requests took, by route",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._analyses = Counter(
            "idse_analyses", "Analyses that networks have done", registry=self._registry
        )
        self._rounds = Histogram(
            "idse_analysis_round_seconds",
            "Time of one round of analyses, of one client or several",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._waiting = Gauge(
            "idse_queue_waiting", "Analyses that wait for their turn", registry=self._registry
        )
        self._running = Gauge(
            "idse_queue_running", "Rounds of analyses under way", registry=self._registry
        )
        self._sessions = Gauge(
            "idse_encoders", "Encoders that are connected", registry=self._registry
        )

    def observe_queue(self, facts: Callable[[], QueueFacts]) -> None:
        """Show how busy a queue is whenever somebody asks."""
        self._waiting.set_function(lambda: facts().waiting)
        self._running.set_function(lambda: facts().running)

    def observe_encoders(self, count: Callable[[], int]) -> None:
        """Show how many encoders are connected whenever somebody asks."""
        self._sessions.set_function(count)

    def answered(self, outcome: Outcome, seconds: float) -> None:
        """Count a picture of an encoder."""
        self._pictures.labels(outcome.name.lower()).inc()
        self._latency.observe(seconds)

    def analysed(self, jobs: int, seconds: float) -> None:
        """Count a round of analyses."""
        self._analyses.inc(jobs)
        self._rounds.observe(seconds)

    def requested(self, route: str, status: int, seconds: float) -> None:
        """Count an HTTP request."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
