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
from bench_judging import CACHE, Clip, Panel

if TYPE_CHECKING:
    from collections.abc import Sequence


def arguments(options: dict[str, str] | None) -> list[str]:
    """Return the arguments for an unsteered encode with x264 options; None: steered defaults."""
    if options is None:
        return []
    params = ":".join(f"{key}={value}" for key, value in options.items() if key != "tune")
    tune = ["--tune", options["tune"]] if "tune" in options else []
    return ["--no-steer", *tune, *(["--x264-params", params] if params else [])]


def transcode(
    source: Path, out: Path, crf: int, extra: Sequence[str]
) -> tuple[Usage, dict[str, Any]]:
    """Run `idse transcode`; return what it took and its report."""
    facts = out.with_suffix(".json")
    program = [sys.executable, "-m", "idse.cli", "transcode"]
    usage = run([*program, source, out, "--crf", str(crf), "--report", facts, *extra])
    return usage, json.loads(facts.read_text(encoding="utf-8"))


def packets(path: Path) -> list[bytes]:
    """Return the coded frames of a video in presentation order."""
    with av.open(path) as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
        return [bytes(packet) for packet in sorted(found, key=lambda packet: packet.pts)]


def encode_clip(
    clip: Clip, panel: Panel, extra: Sequence[str], crf: int
) -> tuple[npt.NDArray[np.float64], Path, Usage, dict[str, Any]]:
    """Encode the file that a clip is part of by `idse transcode`, and measure the clip.

    Returns the bytes of every judged frame with those that are skipped after it, the file of the
    measurement, what the encode took, and its report.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.mp4"
        usage, facts = transcode(clip.path, out, crf, extra)
        coded = packets(out)
        size = np.array([len(data) for data in coded[clip.first : clip.last]], np.float64)
        size = np.add.reduceat(size, np.arange(0, len(size), clip.step))
        path = panel.measure(clip, b"".join(coded), lambda: clip.pictures(out), ms_ssim_every=10)
    return size, path, usage, facts


def beginning(path: Path, seconds: float) -> Path:
    """Return a copy of the first seconds of a video, for smoke tests."""
    part = CACHE / f"{path.stem}-{seconds:g}s{path.suffix}"
    if not part.exists():
        part.parent.mkdir(parents=True, exist_ok=True)
        quiet = ["ffmpeg", "-v", "error", "-nostdin"]
        run([*quiet, "-i", path, "-t", str(seconds), "-c", "copy", part])
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
