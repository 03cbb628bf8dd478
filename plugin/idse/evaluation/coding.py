"""Encoding a source in one configuration at one rate, as a user would; kept by content."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt

from idse.errors import InputError
from idse.evaluation.decoding import need_ffmpeg
from idse.evaluation.fingerprint import digest, file_digest
from idse.evaluation.sources import Clip, Images
from idse.evaluation.usage import Usage, run
from idse.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from idse.evaluation.coders.base import Analysis, Coder
    from idse.evaluation.configuration import Configuration


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """One encode.

    Attributes
    ----------
    path
        The file that holds it: a video, or the files of all images one after the other.
    lengths
        Bytes of every image's file in it; empty for a clip.
    size
        float64 ``(n,)``: bytes of every judged picture that count: those of a JPEG file, or of the
        slices, without parameter sets and x264's message, which a video has once; with those of
        the frames after it that are not judged.
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
        """Return every image's file."""
        data = self.path.read_bytes()
        ends = np.cumsum(self.lengths)
        return [data[end - length : end] for end, length in zip(ends, self.lengths, strict=True)]


def _key(source: Images | Clip, configuration: Configuration, rate: float) -> str:
    content = source.key if isinstance(source, Images) else file_digest(source.path)
    return digest(
        content,
        shlex.join(configuration.words),
        configuration.filter,
        f"{rate:g}",
        *configuration.coder.key(source),
    )


# Images --------------------------------------------------------------------------------------


def analysis_path(cache: Path, source: Images, coder: Coder) -> Path | None:
    """Return where the analysis of a set of images is kept; None where a coder needs none."""
    key = coder.analysis_key(source)
    return None if key is None else cache / "analyses" / f"{digest(source.key, *key)}.npz"


def prepare_images(cache: Path, source: Images, coder: Coder) -> None:
    """Analyse a set of images, unless that was done before."""
    path = analysis_path(cache, source, coder)
    if path is None or path.exists():
        return
    found = coder.analyse(source)
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
        How, and at what.
    """
    coder = configuration.coder
    stem = cache / "encodes" / _key(source, configuration, rate)
    path, facts = stem.with_suffix(coder.suffix), stem.with_suffix(".json")
    if not facts.exists():
        analysis: Analysis = {}
        kept = analysis_path(cache, source, coder)
        if kept is not None:
            with np.load(kept) as file:
                analysis = {name: file[name] for name in file.files}
        files = coder.encode(source, rate, analysis)
        stem.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, b"".join(files))
        told = {"lengths": list(map(len, files)), "size": list(map(coder.size, files))}
        write_atomically(facts, json.dumps(told).encode())
    told = json.loads(facts.read_text(encoding="utf-8"))
    return Encoded(
        path=path,
        lengths=tuple(told["lengths"]),
        size=np.array(told["size"], np.float64),
        usage=None,
        report={},
    )


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
