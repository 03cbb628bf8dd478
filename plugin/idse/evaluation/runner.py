"""Runs an evaluation: encodes and judges side by side, in any number of processes."""

from __future__ import annotations

import logging
import signal
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from idse.errors import CodecError, InputError
from idse.evaluation import coding
from idse.evaluation.comparison import RatePoint
from idse.evaluation.decoding import decode_clip
from idse.evaluation.fingerprint import file_digest
from idse.evaluation.sources import Clip, Images
from idse.processes import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from idse.evaluation.configuration import Configuration
    from idse.evaluation.panel import Panel
    from idse.evaluation.sources import Source
    from idse.evaluation.usage import Usage

# What judging a picture costs beside encoding one, roughly: for the progress that is shown.
_JUDGED = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Point(RatePoint):
    """One configuration at one rate.

    Attributes
    ----------
    rate
        As the encoder takes it, such as a CRF.
    usage
        What the encode took; None for images.
    report
        What `idse transcode` told; empty for images.
    """

    rate: float
    usage: Usage | None
    report: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Work:
    """A source, and what is to be done with it; no rates are the encoders' own."""

    source: Source
    configurations: tuple[Configuration, ...]
    rates: tuple[float, ...]

    def rates_of(self, configuration: Configuration) -> tuple[float, ...]:
        """Return the rates of a configuration."""
        return configuration.rates or self.rates or configuration.coder.rates


Points = dict[str, list[Point]]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: ``done`` of ``total`` (about as many pictures), and what was done last."""

    done: int
    total: int
    what: str


def _start_worker() -> None:
    # One message per picture of an odd size and encode would be thousands.
    logging.getLogger("idse").setLevel(logging.ERROR)


def measure_point(panel: Panel, source: Source, configuration: Configuration, rate: float) -> Point:
    """Encode, decode and judge."""
    if isinstance(source, Images):
        filtered = replace(source, filter=configuration.filter)
        encoded = coding.encode_images(panel.cache, filtered, configuration, rate)
        measurement = panel.measure(
            source,
            file_digest(encoded.path),
            lambda: configuration.coder.decode(encoded.streams(), filtered),
        )
    else:
        encoded = coding.encode_clip(panel.cache, source, configuration, rate)
        measurement = panel.measure(
            source,
            file_digest(encoded.path),
            lambda: decode_clip(encoded.path, source, source.format()),
        )
    return Point(
        size=encoded.size,
        measurement=measurement,
        rate=rate,
        usage=encoded.usage,
        report=encoded.report,
    )


class Runner:
    """Processes that encode and judge. Use it as a context manager.

    Parameters
    ----------
    jobs
        Processes; each takes about one core and 1 GB.
    progress
        Called after every piece of work.
    """

    def __init__(self, jobs: int, *, progress: Callable[[Progress], None] | None = None) -> None:
        if jobs < 1:
            raise InputError(f"jobs {jobs} must be at least 1")
        # Ctrl-C ends a worker and the program it runs.
        self._pool = Workers(jobs, interrupt=signal.SIG_DFL, begin=_start_worker)
        self._progress = progress

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, panel: Panel, works: Sequence[Work]) -> list[Points]:
        """Do all work; return the points of every source by configuration, in order of rate.

        Raises
        ------
        IdseError
            The first thing that went wrong. What was done before is kept for the next run.
        """
        total = sum(map(_cost, works))
        done = 0
        running: dict[Future[Any], tuple[int, str]] = {}
        for task in self._preparations(panel, works):
            running[task] = 0, "sources"
        self._finish(running, done, total)
        results: list[list[tuple[str, Future[Point]]]] = []
        running = {}
        for work in works:
            row = []
            for configuration in work.configurations:
                for rate in work.rates_of(configuration):
                    task = self._pool.submit(measure_point, panel, work.source, configuration, rate)
                    named = f"{configuration.name}, {configuration.coder.rate_name} {rate:g}"
                    what = f"{work.source.name}, {named}"
                    running[task] = _cost(work, configuration), what
                    row.append((configuration.name, task))
            results.append(row)
        self._finish(running, done, total)
        return [_collected(row) for row in results]

    def _preparations(self, panel: Panel, works: Sequence[Work]) -> list[Future[Any]]:
        """Begin what several encodes or judgements share."""
        tasks: dict[str, Future[Any]] = {}
        submit = self._pool.submit
        for work in works:
            source = work.source
            for model in panel.models:
                key = f"judge {model} {source}"
                if key not in tasks:
                    tasks[key] = submit(panel.judge_source, model, source)
            for item in work.configurations:
                if isinstance(source, Clip):
                    key = f"filter {item.filter} {source.path}"
                    if key not in tasks and item.filter:
                        tasks[key] = submit(coding.prepare_clip, panel.cache, source, item.filter)
                else:
                    filtered = replace(source, filter=item.filter)
                    path = coding.analysis_path(panel.cache, filtered, item.coder)
                    if path is not None and str(path) not in tasks:
                        tasks[str(path)] = submit(
                            coding.prepare_images, panel.cache, filtered, item.coder
                        )
        return list(tasks.values())

    def _finish(self, running: dict[Future[Any], tuple[int, str]], done: int, total: int) -> None:
        """Wait until all work is done, and tell of each piece."""
        left = set(running)
        while left:
            ended, left = wait(left, timeout=0.5, return_when=FIRST_EXCEPTION)
            for task in ended:
                try:
                    task.result()
                except BrokenProcessPool:
                    raise CodecError(
                        "a process of the evaluation was killed, perhaps for its memory: use fewer "
                        "jobs; what was measured is kept for the next run"
                    ) from None
                cost, what = running[task]
                done += cost
                if self._progress is not None:
                    self._progress(Progress(done=done, total=total, what=what))


def _cost(work: Work, configuration: Configuration | None = None) -> int:
    if configuration is None:
        return sum(_cost(work, item) * len(work.rates_of(item)) for item in work.configurations)
    source = work.source
    if isinstance(source, Images):
        return len(source.paths) * (1 + _JUDGED)
    return source.last + _JUDGED * len(range(source.first, source.last, source.step))


def _collected(row: Sequence[tuple[str, Future[Point]]]) -> Points:
    points: Points = {}
    for name, task in row:
        points.setdefault(name, []).append(task.result())
    return points
