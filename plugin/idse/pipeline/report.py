"""What a run did, as JSON, and the warnings that it gave on the way."""

from __future__ import annotations

import json
import logging
import resource
from dataclasses import asdict, dataclass
from pathlib import Path

from idse.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Facts about one transcode.

    Attributes
    ----------
    frames
        Frames written.
    frames_analysed
        Frames that a network looked at, or that a map file had a map for.
    frames_unsteered
        Frames that went out without a map: before the first analysis of a scene, or where the
        network or the steering failed; all of them without steering.
    bytes
        Size of the output with its container (HLS: playlist and segments).
    seconds
        Wall time of everything.
    analysis_seconds, encode_seconds
        Wall time inside the steering (motion, networks, allocation) and inside libx264. They
        overlap.
    peak_rss_bytes
        Largest resident memory of the process so far.
    x264_build
        Of the library that was loaded, such as 164.
    model
        Names and weights as given, ``"maps FILE"``, or None without steering.
    warnings
        In the order in which they were given.
    frames_measured
        Frames of trial encodes whose losses were measured.
    segments
        What was measured of every segment: ``start`` in seconds, ``change`` of the output distance
        at equal bytes against stock (-0.2 is a fifth less), and whether it is ``steered``.
    scaled_to
        Width and height, as in ``"640x480"``; None where no bound of the resolution was asked for.
    scaled_because
        Why that size.
    parameters_set
        x264 options that steering set because nobody had chosen any of them
        (:mod:`idse.allocation.base`), as in ``"aq-mode=2:qcomp=0.7"``; None where it set none.
    frames_simplified
        Frames that a fallback has replaced (:mod:`idse.pipeline.simplify`).
    segments_simplified
        Where: seconds at which segments of two seconds begin.
    """

    frames: int
    frames_analysed: int
    frames_unsteered: int
    bytes: int
    seconds: float
    analysis_seconds: float
    encode_seconds: float
    peak_rss_bytes: int
    x264_build: int
    model: str | None
    warnings: tuple[str, ...]
    frames_measured: int = 0
    segments: tuple[dict[str, float | bool | None], ...] = ()
    scaled_to: str | None = None
    scaled_because: str | None = None
    parameters_set: str | None = None
    frames_simplified: int = 0
    segments_simplified: tuple[float, ...] = ()

    def to_json(self) -> str:
        """Return the report as one JSON object over several lines."""
        return json.dumps(asdict(self), indent=2) + "\n"


def peak_rss_bytes() -> int:
    """Return the largest resident set of this process so far, in bytes.

    From proc(5) where there is one: getrusage(2) begins with what the process that started this one
    held, as Linux carries its maximum over execve(2).
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(line.split()[1]) * 1024


class Warnings:
    """Collects warnings, each kind once, and logs them.

    Parameters
    ----------
    strict
        Raise InputError instead of warning.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._given: dict[str, str] = {}

    def add(self, kind: str, message: str) -> None:
        """Warn, unless something of this kind was warned of before.

        Raises
        ------
        InputError
            The run is strict.
        """
        if self._strict:
            raise InputError(f"{message} (an error because of --strict)")
        if kind not in self._given:
            self._given[kind] = message
            logger.warning("%s", message)

    @property
    def messages(self) -> tuple[str, ...]:
        """All warnings so far, oldest first."""
        return tuple(self._given.values())
