"""Encodes of other programs with the library preloaded, and what came of them."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
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


def started(command, output, *, stock=False, wrapper=(), stdin=None, **variables):
    """Start a program that writes ``output``; ``variables`` are what the library is told."""
    report = Path(f"{output}.jsonl")
    report.unlink(missing_ok=True)
    environment = preloaded(IDSE_REPORT=report, **variables)
    if stock:
        environment.pop("LD_PRELOAD")
    elif wrapper:
        # Only the program itself: the wrapper's own calls are none of ours.
        wrapper = [*wrapper, "env", f"LD_PRELOAD={environment.pop('LD_PRELOAD')}"]
    return subprocess.Popen(
        [str(word) for word in (*wrapper, *command)],
        env=environment,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def ended(process, output, *, check=True, timeout=120):
    """Wait for a program, and read what it has written and said."""
    try:
        stderr = process.communicate(timeout=timeout)[1].decode()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    assert not check or process.returncode == 0, stderr
    report = Path(f"{output}.jsonl")
    lines = report.read_text().splitlines() if report.exists() else []
    data = Path(output).read_bytes() if Path(output).is_file() else b""
    return Run(data, stderr, [json.loads(line) for line in lines], process.returncode)


def run(command, output, *, check=True, timeout=120, **settings):
    """Run a program to its end; settings as for `started`."""
    process = started(command, output, stdin=subprocess.DEVNULL, **settings)
    return ended(process, output, check=check, timeout=timeout)


def ffmpeg(output, *, params=VERBATIM, source=CLIP, before=(), after=(), **settings):
    """Encode the clip by the system's ffmpeg."""
    command = [
        *["ffmpeg", "-v", "error", "-y", *before, "-f", "lavfi", "-i", source],
        *["-c:v", "libx264", "-x264-params", x264_params(params), *after, output],
    ]
    return run(command, output, **settings)


def until(condition, seconds=120):
    """Wait for something to become true, which may take long on a busy machine."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.01)


@functools.cache
def samples():
    """A few seconds of the clip's pictures, as an encoder's program reads them."""
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", CLIP, "-pix_fmt", "yuv420p"]
    command += ["-f", "rawvideo", "-"]
    data = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    size = 16 * ROWS * 16 * COLUMNS * 3 // 2
    return [data[at : at + size] for at in range(0, len(data), size)]


class Fed:
    """The system's ffmpeg, which encodes what the test hands it, when the test hands it.

    ``words`` are what it is told of the output, the file ``output`` where there are none.
    """

    def __init__(self, output, *, params, words=(), rate=20, **settings):
        size = f"{16 * COLUMNS}x{16 * ROWS}"
        raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-r", rate]
        command = ["ffmpeg", "-v", "error", "-y", "-probesize", 32, *raw, "-i", "pipe:0"]
        command += ["-c:v", "libx264", "-x264-params", x264_params(params), *(words or [output])]
        self.output = output
        self.pushed = 0
        self._process = started(command, output, stdin=subprocess.PIPE, **settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def push(self, count=1):
        """Hand in pictures as fast as they are taken."""
        for _ in range(count):
            self._process.stdin.write(samples()[self.pushed % len(samples())])
            self._process.stdin.flush()
            self.pushed += 1

    def push_until(self, condition):
        """Hand in twenty a second until something becomes true; return how many."""
        before = self.pushed

        def pushed():
            self.push()
            time.sleep(0.05)
            return condition()

        until(pushed)
        return self.pushed - before

    def keep_pace(self, count, shown):
        """Hand in pictures, each as soon as the one before was shown to the sidecar.

        Until ``shown`` has counted so many. Those that are not shown at all, for the sidecar was
        not there yet, only take time.
        """
        first = shown()

        def pushed():
            before, end = shown(), time.monotonic() + 0.5
            self.push()
            while shown() == before and time.monotonic() < end:
                time.sleep(0.005)
            return shown() - first >= count

        until(pushed)

    def end(self):
        """Hand in nothing more; return what came of it."""
        return ended(self._process, self.output)


def shown(path):
    """How many pictures a peer has seen that writes them down."""
    return lambda: len(path.read_text().splitlines()) if path.exists() else 0


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
