"""Encodes of other programs with the library preloaded, and what came of them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from preload_peer import offsets_of

import idse
from idse.codecs.h264 import read_macroblocks
from x264_recipes import VERBATIM

LIBRARY = Path(idse.__file__).parent / "_native" / "libidse_preload.so"
PEER = Path(__file__).with_name("preload_peer.py")

# 256 columns: with AVX-512 x264 reads memory that was never written in mbtree where a row of
# macroblocks is no multiple of 16, so that stock itself is not the same from run to run.
ROWS, COLUMNS, PICTURES = 12, 16, 24
CLIP = f"testsrc2=s=256x192:r=10:d={PICTURES / 10:g},noise=alls=20:allf=t"
CRF = int(VERBATIM["crf"])


def x264_params(options):
    return ":".join(f"{name}={value}" for name, value in options.items())


@dataclass
class Run:
    """What a program has written and said."""

    data: bytes
    stderr: str
    reports: list[dict]
    code: int = 0

    @property
    def report(self):
        (report,) = self.reports
        return report


def preloaded(**variables):
    """The environment of a program, with the library and nothing of the tests' own settings."""
    clean = {name: v for name, v in os.environ.items() if not name.startswith("IDSE_")}
    return clean | {"LD_PRELOAD": str(LIBRARY)} | {k: str(v) for k, v in variables.items()}


def run(command, output, *, stock=False, check=True, timeout=120, wrapper=(), **variables):
    """Run a program that writes ``output``; ``variables`` are what the library is told."""
    report = Path(f"{output}.jsonl")
    report.unlink(missing_ok=True)
    environment = preloaded(IDSE_REPORT=report, **variables)
    if stock:
        environment.pop("LD_PRELOAD")
    elif wrapper:
        # Only the program itself: the wrapper's own calls are none of ours.
        wrapper = [*wrapper, "env", f"LD_PRELOAD={environment.pop('LD_PRELOAD')}"]
    done = subprocess.run(
        [str(word) for word in (*wrapper, *command)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout,
    )
    assert not check or done.returncode == 0, done.stderr
    lines = report.read_text().splitlines() if report.exists() else []
    data = Path(output).read_bytes() if Path(output).is_file() else b""
    return Run(data, done.stderr, [json.loads(line) for line in lines], done.returncode)


def ffmpeg(output, *, params=VERBATIM, source=CLIP, before=(), after=(), **settings):
    """Encode the clip by the system's ffmpeg."""
    command = [
        *["ffmpeg", "-v", "error", "-y", *before, "-f", "lavfi", "-i", source],
        *["-c:v", "libx264", "-x264-params", x264_params(params), *after, output],
    ]
    return run(command, output, **settings)


@contextlib.contextmanager
def peer(folder, *arguments):
    """A scripted sidecar; its socket and its process."""
    path = Path(folder) / "s.sock"
    path.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, PEER, path, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "listening\n"
        yield path, process
    finally:
        process.kill()
        process.communicate()


def wanted(pictures=PICTURES, rows=ROWS, columns=COLUMNS):
    return [offsets_of(index, rows, columns) for index in range(pictures)]


def write_offsets(path, asked):
    rows, columns = asked[0].shape
    head = b"IDSEQPO1" + np.array([columns, rows, len(asked), 0], "<u4").tobytes()
    path.write_bytes(head + np.stack(asked).astype("<f4").tobytes())
    return path


def before(qp, *, pairs):
    """The QP of each macroblock's predecessor in coding order: pair by pair where interlaced."""
    rows, columns = qp.shape
    order = np.arange(qp.size).reshape(qp.shape)
    if pairs:
        order = order.reshape(rows // 2, 2, columns).transpose(0, 2, 1)
    order = order.ravel()
    found = np.empty(qp.size, int)
    found[order] = np.concatenate([[-1], qp.ravel()[order][:-1]])
    return found.reshape(qp.shape)


def misses(path, asked, *, base=CRF, pairs=False):
    """Macroblocks with another QP than asked for, of those that carry one, and how many those are.

    An Intra16x16 macroblock without coefficients keeps its predecessor's lower QP, and is left out.
    """
    wrong = coded = 0
    frames = list(read_macroblocks(path))
    assert len(frames) == len(asked)
    for frame, offsets in zip(frames, asked, strict=True):
        kept = frame.intra & (frame.qp == before(frame.qp, pairs=pairs))
        kept &= frame.qp < base + offsets
        wrong += int((frame.coded & ~kept & (frame.qp != base + offsets)).sum())
        coded += int((frame.coded & ~kept).sum())
    return wrong, coded
