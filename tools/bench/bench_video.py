"""A clip through `idse transcode`, in a process of its own, as a user runs it."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt
from bench_common import Usage, run
from bench_judging import CACHE, Clip, measured

if TYPE_CHECKING:
    from collections.abc import Sequence


def transcode(
    clip: Clip, out: Path, options: dict[str, str] | None, crf: int, extra: Sequence[str] = ()
) -> tuple[Usage, dict[str, Any]]:
    """Encode the whole file that a clip is part of; return what it took and its report.

    ``options`` are x264's, of an unsteered encode; None steers with the defaults.
    """
    command: list[str | Path] = [sys.executable, "-m", "idse.cli", "transcode"]
    command += [clip.path, out, "--crf", str(crf), "--report", out.with_suffix(".json"), *extra]
    if options is not None:
        given = dict(options)
        command.append("--no-steer")
        if "tune" in given:
            command += ["--tune", given.pop("tune")]
        if given:
            command += ["--x264-params", ":".join(f"{k}={v}" for k, v in given.items())]
    usage = run(command)
    return usage, json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))


def packets(path: Path) -> list[bytes]:
    """Return the coded frames of a video in presentation order."""
    with av.open(path) as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
        return [bytes(packet) for packet in sorted(found, key=lambda packet: packet.pts)]


def encode_clip(
    clip: Clip,
    models: tuple[str, ...],
    options: dict[str, str] | None,
    crf: int,
    extra: Sequence[str] = (),
) -> tuple[npt.NDArray[np.float64], Path, Usage, dict[str, Any]]:
    """Encode and measure a clip.

    Returns the bytes of every judged frame with those that are skipped after it, the file of the
    measurement, what the encode took, and its report.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.mp4"
        usage, facts = transcode(clip, out, options, crf, extra)
        coded = packets(out)
        size = np.array([len(data) for data in coded[clip.first : clip.last]], np.float64)
        size = np.add.reduceat(size, np.arange(0, len(size), clip.step))
        path = measured(clip, models, b"".join(coded), lambda: clip.pictures(out), ms_ssim_every=10)
    return size, path, usage, facts


def beginning(path: Path, seconds: float) -> Path:
    """Return a copy of the first seconds of a video, for smoke tests."""
    part = CACHE / f"{path.stem}-{seconds:g}s{path.suffix}"
    if not part.exists():
        part.parent.mkdir(parents=True, exist_ok=True)
        run(
            [
                "ffmpeg",
                "-v",
                "error",
                "-nostdin",
                "-i",
                path,
                "-t",
                str(seconds),
                "-c",
                "copy",
                part,
            ]
        )
    return part


def blocks(clip: Clip, *, seconds: float) -> npt.NDArray[np.int64]:
    """Return the number of the block of contiguous seconds that every judged frame is in.

    A block at the end that is under half as long joins the one before it.
    """
    with av.open(clip.path) as container:
        rate = container.streams.video[0].average_rate
        assert rate is not None
    length = round(float(rate) * seconds)
    block = np.arange(0, clip.last - clip.first, clip.step) // length
    if np.count_nonzero(block == block[-1]) * clip.step < length / 2 and block[-1]:
        block[block == block[-1]] -= 1
    return block
