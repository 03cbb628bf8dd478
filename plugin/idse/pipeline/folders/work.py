"""What each process does with the pictures of a folder."""

from __future__ import annotations

import errno
import logging
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idse.errors import IdseError, OutputError, describe
from idse.files import output_errors, write_atomically
from idse.pipeline.folders.report import Row
from idse.pipeline.images.encoder import JpegEncoder
from idse.pipeline.images.source import read_image

if TYPE_CHECKING:
    from pathlib import Path

    from idse.pipeline.images.options import ImageSteering, JpegOptions

# Errors after which no other file can be written either.
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One picture.

    Attributes
    ----------
    source, target
        Paths; a task without target only finds the scale that suits the picture.
    name, output
        The same for the report, relative to their folders.
    jpeg
        What is asked for.
    scale
        That the set shares, if any.
    """

    source: Path
    target: Path | None
    name: str
    output: str
    jpeg: JpegOptions
    scale: float | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a task.

    Attributes
    ----------
    row
        For the report; None for a task that only found a scale.
    scale
        None where it was not asked for, or could not be found.
    fatal
        Whether no other file can be written either: the row's error says why.
    """

    row: Row | None = None
    scale: float | None = None
    fatal: bool = False


class _Process:
    """What a process keeps from one task to the next."""

    steering: ImageSteering | None = None
    encoder: JpegEncoder | None = None


def start(steering: ImageSteering | None) -> None:
    """Prepare this process; networks are loaded with the first picture."""
    logging.getLogger("idse").setLevel(logging.ERROR)  # warnings go into the rows instead
    warnings.filterwarnings("ignore", module=r"PIL\.")
    _Process.steering, _Process.encoder = steering, None


def _encoder() -> JpegEncoder:
    if _Process.encoder is None:
        asked = _Process.steering
        if asked is None:
            _Process.encoder = JpegEncoder(model=None)
        else:
            _Process.encoder = JpegEncoder(
                model=asked.models, n_s=asked.n_s, seed=asked.seed, strict=asked.strict
            )
    return _Process.encoder


def work(task: Task) -> Result:
    """Encode a picture, or find its scale; what is wrong with it is in the result."""
    try:
        if task.target is None:
            image = _encoder().analyse(read_image(task.source), task.jpeg)
            return Result(scale=image.matching(task.jpeg.quality_or_default).scale)
        return Result(row=_encoded(task, task.target))
    except IdseError as error:
        fatal = isinstance(error, OutputError) and _errno(error) in _FATAL
        return Result(row=failed(task, " ".join(str(error).split())), fatal=fatal)
    # One picture out of thousands must not end the run, whatever it is.
    except Exception as error:  # noqa: BLE001
        return Result(row=failed(task, describe(error)))


def failed(task: Task, error: str) -> Row:
    """Return the row of a picture that could not be encoded."""
    return Row(source=task.name, output=None, status="failed", error=error)


def _errno(error: OutputError) -> int | None:
    cause = error.__cause__
    return cause.errno if isinstance(cause, OSError) else None


def _encoded(task: Task, target: Path) -> Row:
    made = _encoder().encode_image(read_image(task.source), task.jpeg, scale=task.scale)
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, made.data)
    report = made.report
    return Row(
        source=task.name,
        output=task.output,
        status="encoded",
        width=report.width,
        height=report.height,
        source_bytes=report.source_bytes,
        bytes=report.bytes,
        bpp=report.bpp,
        steered=report.steered,
        scale=report.scale,
        quality=report.quality,
        agreement=report.agreement,
        sampling=report.sampling,
        codec=report.codec,
        seconds=report.seconds,
        warning="; ".join(report.warnings),
    )


def shared_scale(scales: list[float]) -> float | None:
    """Return the scale that a set shares, from those that suit its pictures one by one.

    It is their geometric mean, so that the set as a whole gets the quality; None without any.
    """
    if not scales:
        return None
    return math.exp(math.fsum(map(math.log, scales)) / len(scales))
