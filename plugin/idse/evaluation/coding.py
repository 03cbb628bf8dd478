"""Encoding a source in one configuration at one rate, as a user would; kept by content."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt

from idse.errors import InputError
from idse.evaluation.decoding import need_ffmpeg
from idse.evaluation.fingerprint import (
    code_digest,
    digest,
    file_digest,
    machine_digest,
    model_digest,
)
from idse.evaluation.sources import Clip, Images
from idse.files import write_atomically
from idse.pipeline import stills

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from idse.evaluation.configuration import Configuration
    from idse.pipeline.loading import SteeringOptions

# What has a say in an encode that no network steers, and what more in one that a network does.
_STOCK = ("codecs", "allocation", "pipeline", "picture.py")
_STEERED = (*_STOCK, "vision", "importance", "kernels.py", "background_kernels.py", "_native")
# With nothing but these a transcode is libx264's own, bit for bit, whatever else the package does.
_X264S_OWN = {"--no-steer", "--preset", "--tune", "--profile", "--x264-params", "--threads"}
_START_CODE = b"\0\0\1"
_SLICES = {1, 5}


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a program took: seconds of wall and processor time, peak resident bytes."""

    wall: float
    cpu: float
    peak: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """One encode.

    Attributes
    ----------
    path
        The file that holds it: a video, or the streams of all images one after the other.
    lengths
        Bytes of every image's stream in it; empty for a clip.
    size
        float64 ``(n,)``: bytes of every judged picture: its slices, without parameter sets and
        x264's message, which a video has once; with those of the frames after it that are not
        judged.
    usage
        What `idse transcode` took; None for images.
    report
        What it told; empty for images.
    """

    path: Path
    lengths: tuple[int, ...]
    size: npt.NDArray[np.float64]
    usage: Usage | None
    report: dict[str, Any]

    def streams(self) -> list[bytes]:
        """Return every image's stream."""
        data = self.path.read_bytes()
        ends = np.cumsum(self.lengths)
        return [data[end - length : end] for end, length in zip(ends, self.lengths, strict=True)]


def run(command: Sequence[object]) -> Usage:
    """Run a program to its end.

    Raises
    ------
    InputError
        It fails; its messages are quoted.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        if process.returncode:
            messages.seek(0)
            text = messages.read().decode(errors="replace").strip()
            raise InputError(f"{shlex.join(map(str, command))} failed: {text}")
    return Usage(wall=wall, cpu=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss * 1024)


def _key(source: Images | Clip, configuration: Configuration, rate: float) -> str:
    content = source.key if isinstance(source, Images) else file_digest(source.path)
    steering = configuration.steering
    networks = [] if steering is None else [model_digest(spec) for spec in steering.models]
    if steering is not None and steering.maps is not None:
        networks.append(file_digest(steering.maps))
    return digest(
        content,
        shlex.join(configuration.words),
        configuration.filter,
        f"{rate:g}",
        code_digest(_code(source, configuration)),
        machine_digest(weighted=steering is not None and steering.weighted),
        *networks,
    )


def _code(source: Images | Clip, configuration: Configuration) -> tuple[str, ...]:
    """Return the parts of the package that have a say in an encode."""
    if configuration.steering is not None:
        return _STEERED
    options = {word.partition("=")[0] for word in configuration.words if word.startswith("--")}
    own = options <= _X264S_OWN and not any(w.endswith("machine") for w in configuration.words)
    return () if own and isinstance(source, Clip) else _STOCK


# Images --------------------------------------------------------------------------------------


def _analysis_path(cache: Path, source: Images, steering: SteeringOptions) -> Path:
    code = code_digest(("vision", "importance", "_native", "pipeline/stills.py"))
    networks = map(model_digest, steering.models)
    key = digest(source.key, stills.analysis_key(steering), code, *networks)
    return cache / "analyses" / f"{key}.npz"


def prepare_images(cache: Path, source: Images, steering: SteeringOptions) -> None:
    """Analyse a set of images, unless that was done before."""
    path = _analysis_path(cache, source, steering)
    if path.exists():
        return
    found = stills.analyse(source.pictures(), steering)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as file:
        np.savez(file, **found)  # type: ignore[arg-type]  # no array is named allow_pickle
        file.seek(0)
        write_atomically(path, file.read())


def encode_images(
    cache: Path, source: Images, configuration: Configuration, rate: float
) -> Encoded:
    """Encode a set of images, unless that was done before; ``prepare_images`` comes first.

    Parameters
    ----------
    cache
        Folder.
    source
        Already filtered.
    configuration, rate
        How, and the CRF.
    """
    stem = cache / "encodes" / _key(source, configuration, rate)
    path, facts = stem.with_suffix(".h264"), stem.with_suffix(".json")
    if not facts.exists():
        steering, analysis = configuration.steering, None
        if steering is not None:
            with np.load(_analysis_path(cache, source, steering)) as file:
                analysis = {name: file[name] for name in file.files}
        streams = stills.encode_set(
            source.pictures(),
            configuration.encode,
            crf=rate,
            steering=steering,
            analysis=analysis,
        )
        stem.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, b"".join(streams))
        told = {"lengths": list(map(len, streams)), "size": list(map(slice_bytes, streams))}
        write_atomically(facts, json.dumps(told).encode())
    told = json.loads(facts.read_text(encoding="utf-8"))
    return Encoded(
        path=path,
        lengths=tuple(told["lengths"]),
        size=np.array(told["size"], np.float64),
        usage=None,
        report={},
    )


def slice_bytes(stream: bytes) -> int:
    """Return the bytes of the slices of an Annex B stream, each with a length of four bytes."""
    starts = []
    position = stream.find(_START_CODE)
    while position >= 0:
        starts.append(position)
        position = stream.find(_START_CODE, position + 3)
    ends = [*starts[1:], len(stream)]
    total = 0
    for start, end in zip(starts, ends, strict=True):
        # The zero before the next start code is its own; a NAL unit never ends in one.
        body = stream[start + 3 : end].rstrip(b"\0")
        if body and body[0] & 31 in _SLICES:
            total += 4 + len(body)
    return total


# Clips ---------------------------------------------------------------------------------------


def filtered_path(cache: Path, source: Clip, chain: str) -> Path:
    """Return the file to encode: the source, or its filtered copy (``prepare_clip`` makes it)."""
    if not chain:
        return source.path
    return cache / "filtered" / f"{digest(file_digest(source.path), chain)}.nut"


def prepare_clip(cache: Path, source: Clip, chain: str) -> None:
    """Filter a clip into a lossless file, unless that was done before."""
    path = filtered_path(cache, source, chain)
    if chain:
        _filter(source.path, path, chain)


def cut(cache: Path, source: Clip) -> Clip:
    """Return the judged part of a clip as a clip of its own, without loss."""
    chain = f"trim=start_frame={source.first}:end_frame={source.last},setpts=PTS-STARTPTS"
    path = filtered_path(cache, source, chain)
    _filter(source.path, path, chain)
    frames = source.last - source.first
    return replace(source, path=path, first=0, last=frames, frames=frames)


def _filter(source: Path, path: Path, chain: str) -> None:
    """Write the filtered frames of a clip, unless that was done before."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.nut")
    quiet = [need_ffmpeg(), "-nostdin", "-v", "error", "-y"]
    lossless = ["-map", "0:v:0", "-vf", chain, "-fps_mode", "passthrough", "-c:v", "ffv1"]
    try:
        run([*quiet, "-noautorotate", "-i", source, *lossless, part])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def encode_clip(cache: Path, source: Clip, configuration: Configuration, rate: float) -> Encoded:
    """Encode a clip by `idse transcode` in a process of its own, unless that was done before.

    ``prepare_clip`` comes first.
    """
    stem = cache / "encodes" / _key(source, configuration, rate)
    path, facts = stem.with_suffix(".mp4"), stem.with_suffix(".json")
    if not facts.exists():
        stem.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
        report = part.with_suffix(".report")
        program: list[object] = [
            sys.executable,
            "-m",
            "idse.cli",
            "transcode",
            "-y",
            "--crf",
            f"{rate:g}",
        ]
        files = [filtered_path(cache, source, configuration.filter), part, "--report", report]
        try:
            usage = run([*program, *files, *configuration.words])
            told = {"usage": usage.__dict__, "report": json.loads(report.read_text("utf-8"))}
            part.replace(path)
            write_atomically(facts, json.dumps(told).encode())
        finally:
            part.unlink(missing_ok=True)
            report.unlink(missing_ok=True)
    told = json.loads(facts.read_text(encoding="utf-8"))
    size = np.array([len(data) for data in packets(path)], np.float64)
    if len(size) != source.frames:
        raise InputError(
            f"configuration {configuration.name!r} made {len(size)} frames of the {source.frames} "
            f"of {source.path}: they cannot be compared one by one"
        )
    size = size[source.first : source.last]
    return Encoded(
        path=path,
        lengths=(),
        size=np.add.reduceat(size, np.arange(0, len(size), source.step)),
        usage=Usage(**told["usage"]),
        report=told["report"],
    )


def packets(path: Path) -> list[bytes]:
    """Return the coded frames of a video in presentation order."""
    with av.open(path) as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
        return [bytes(packet) for packet in sorted(found, key=lambda packet: packet.pts or 0)]
