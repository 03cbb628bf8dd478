"""Whether this machine does what is promised: every program encodes, and its QPs are read back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from idse.dropin.launch import environment, library, read_outcome
from idse.errors import IdseError, InputError, describe
from idse.picture import Picture, PictureFormat

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from idse.codecs.h264 import FrameMacroblocks
    from idse.dropin.launch import Outcome

_FORM = PictureFormat(width=128, height=96)
_PICTURES = 12
_RATE = 10
_CRF = 20
# The settings in which x264 adds nothing of its own to a macroblock's QP.
_RECIPE = "qcomp=1:ipratio=1:pbratio=1:mbtree=0:aq-mode=1:aq-strength=0.0001"
_SECONDS = 60

# PyAV as its users write it: it knows nothing of idse.
_PYAV = """
import sys
import av, numpy as np
source, target, columns, rows, rate, crf, recipe = sys.argv[1:]
columns, rows = int(columns), int(rows)
frames = np.fromfile(source, np.uint8).reshape(-1, rows * 3 // 2, columns)
with av.open(target, "w", format="h264") as container:
    stream = container.add_stream("libx264", rate=int(rate))
    stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
    stream.options = {"crf": crf, "x264-params": recipe}
    for number, planes in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = number
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
"""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name
        What it is.
    works
        True, False where it should and does not, None where it is not there.
    detail
        What was found, or what is wrong and what to do.
    """

    name: str
    works: bool | None
    detail: str


def examine() -> Iterator[Check]:
    """Look at everything, one after the other. Nothing raises for what is broken."""
    try:
        path = library()
    except IdseError as error:
        yield Check(name="preloaded library", works=False, detail=str(error))
        return
    yield Check(name="preloaded library", works=True, detail=str(path))
    with tempfile.TemporaryDirectory(prefix="idse-doctor-") as folder:
        bench = _Bench(Path(folder))
        for name, program in bench.programs():
            yield bench.tried(name, program)
        yield _guarded("sidecar's answers", bench.session)
    yield _guarded("idse serve", _server)
    yield _guarded("student", _student)
    yield _guarded("networks", _networks)
    yield _guarded("weights inside macroblocks", _weights)


class _MissingError(Exception):
    """What is looked at is not installed."""


class _BrokenError(Exception):
    """What is looked at does not do what it should."""


def _guarded(name: str, look: Any) -> Check:  # noqa: ANN401
    try:
        return Check(name=name, works=True, detail=look())
    except _MissingError as error:
        return Check(name=name, works=None, detail=str(error))
    except _BrokenError as error:
        return Check(name=name, works=False, detail=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, this is what was looked for
        return Check(name=name, works=False, detail=describe(error))


class _Bench:
    """A clip of patches that move, under noise that has to be coded, and programs that encode."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clip = folder / "clip.yuv"
        rng = np.random.default_rng(0)
        rows, columns = _FORM.height, _FORM.width
        patches = rng.integers(40, 216, (rows // 8 + 2, columns // 8 + 2)).repeat(8, 0).repeat(8, 1)
        moved = np.stack([patches[n : n + rows, n : n + columns] for n in range(_PICTURES)])
        self._luma = (moved + rng.integers(-24, 25, moved.shape)).astype(np.uint8)
        chroma = np.full((_PICTURES, rows // 2, columns), 128, np.uint8)
        np.concatenate([self._luma, chroma], axis=1).tofile(self._clip)
        # Even steps: x264 lets a macroblock that is 1 from its predecessor have its predecessor's.
        shape = (_PICTURES, *_FORM.mb_shape)
        self._asked = (2 * rng.integers(-3, 4, shape)).astype(np.float32)
        self._offsets = folder / "offsets"
        header = np.array([shape[2], shape[1], _PICTURES, 0], "<u4").tobytes()
        self._offsets.write_bytes(b"IDSEQPO1" + header + self._asked.astype("<f4").tobytes())

    def programs(self) -> Iterator[tuple[str, Sequence[str] | None]]:
        """Yield what encodes, and how; None where it is not installed. ``{}`` is the output."""
        size, rate = f"{_FORM.width}x{_FORM.height}", str(_RATE)
        found = shutil.which("ffmpeg")
        raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-r", rate]
        encode = ["-c:v", "libx264", "-crf", str(_CRF), "-x264-params", _RECIPE]
        ffmpeg = ["ffmpeg", "-v", "error", "-y", *raw, "-i", os.fspath(self._clip), *encode, "{}"]
        yield "ffmpeg", ffmpeg if found else None
        facts = [str(_FORM.width), str(_FORM.height), rate, str(_CRF), _RECIPE]
        yield "PyAV", [sys.executable, "-c", _PYAV, os.fspath(self._clip), "{}", *facts]
        caps = f"format=i420 width={_FORM.width} height={_FORM.height} framerate={rate}/1"
        pipeline = f"filesrc location={self._clip} ! rawvideoparse {caps} ! x264enc pass=qual "
        pipeline += f"quantizer={_CRF} vbv-buf-capacity=0 option-string={_RECIPE} ! "
        pipeline += "video/x-h264,stream-format=byte-stream ! filesink location={}"
        yield "GStreamer", ["gst-launch-1.0", "-q", *pipeline.split()] if _has_x264enc() else None

    def tried(self, name: str, command: Sequence[str] | None) -> Check:
        """Let a program encode with known offsets and read its QPs back."""

        def look() -> str:
            if command is None:
                raise _MissingError("not installed, or without libx264")
            outcome = self._run(name, command, offsets=self._offsets)
            if not outcome.encoders:
                raise _BrokenError(
                    "its libx264 is not reached: linked into the program? It encodes unsteered"
                )
            (encoder,) = outcome.encoders
            if encoder["problem"]:
                raise _BrokenError(encoder["problem"])
            exact, coded = self._exact(name)
            if exact < coded:
                raise _BrokenError(f"{coded - exact} of {coded} QPs are not those asked for")
            return f"libx264 build {encoder['build']}: {coded} of {coded} QPs as asked for"

        return _guarded(name, look)

    def session(self) -> str:
        """Let a sidecar that needs no network steer the first program."""
        from idse.dropin.sidecar import Wish, sidecar
        from idse.importance.maps import ImportanceMap, MapMetadata, write_maps

        grey = np.full((_FORM.height // 2, _FORM.width // 2), 128, np.uint8)
        first = Picture(planes=(self._luma[0], grey, grey), format=_FORM, pts=0)
        energy = ImportanceMap.neutral(first).energy.copy()
        energy[..., : _FORM.mb_shape[1] // 2] *= 64
        maps = self._folder / "maps.safetensors"
        metadata = MapMetadata(model="doctor", n_s=1, seed=0, dtype="float32")
        write_maps(maps, [ImportanceMap.of(first, energy)], metadata)
        name, command = next((n, c) for n, c in self.programs() if c is not None)
        wish = Wish(maps=maps)
        with sidecar(wish) as socket:
            outcome = self._run(f"{name} steered", command, socket=socket, options=wish.options)
        if not outcome.whole or outcome.steered != _PICTURES:
            raise _BrokenError(f"{name}: {outcome.summary()}")
        return f"{name}: {outcome.summary()}"

    def _output(self, name: str) -> Path:
        return self._folder / f"{name.replace(' ', '-')}.h264"

    def _run(self, name: str, command: Sequence[str], **how: Any) -> Outcome:  # noqa: ANN401
        output = self._output(name)
        report = output.with_suffix(".jsonl")
        words = [word.replace("{}", os.fspath(output)) for word in command]
        variables = environment(os.environ, report=report, **how)
        try:
            done = subprocess.run(
                words,
                env=variables,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise _BrokenError(f"did not end within {_SECONDS} s") from error
        if done.returncode:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise _BrokenError(f"exit code {done.returncode}: {last}")
        return read_outcome(report)

    def _exact(self, name: str) -> tuple[int, int]:
        """Return how many macroblocks have the QP asked for, of how many that carry one."""
        from idse.codecs.h264 import read_macroblocks

        frames = list(read_macroblocks(self._output(name)))
        if len(frames) != _PICTURES:
            raise _BrokenError(f"wrote {len(frames)} of {_PICTURES} pictures")
        exact = coded = 0
        for frame, offsets in zip(frames, self._asked, strict=True):
            told = frame.coded & ~_kept(frame)
            exact += int((told & (frame.qp == _CRF + offsets)).sum())
            coded += int(told.sum())
        return exact, coded


def _kept(frame: FrameMacroblocks) -> npt.NDArray[np.bool_]:
    """Return macroblocks that may have kept their predecessor's QP, for want of coefficients."""
    before = np.concatenate([[-1], frame.qp.ravel()[:-1]]).reshape(frame.qp.shape)
    kept: npt.NDArray[np.bool_] = frame.intra & (frame.qp == before)
    return kept


def _has_x264enc() -> bool:
    tool = shutil.which("gst-inspect-1.0")
    if tool is None or shutil.which("gst-launch-1.0") is None:
        return False
    try:
        done = subprocess.run([tool, "x264enc"], check=False, capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _server() -> str:
    from idse.dropin.sidecar import serves
    from idse.server.paths import default_socket

    path = default_socket()
    if serves(path, ()):
        return f"listens on {path}"
    raise _MissingError(f"none listens on {path}: idse ffmpeg loads networks for each run")


def _student() -> str:
    from idse.learned.student.analyser import load_student
    from idse.vision.registry import STUDENT

    said = []
    for stills, what in ((False, "video"), (True, "stills")):
        try:
            found = load_student(STUDENT, stills=stills)
        except IdseError as error:
            raise _BrokenError(str(error)) from error
        said.append(f"{what} by {', '.join(found.heads)}")
    return f"{', '.join(said)}; runs by {found.isa}"


def _networks() -> str:
    from importlib.util import find_spec

    from idse.vision import EXACT_MODEL, registry

    if find_spec("torch") is None:
        raise _MissingError(
            "torch is not installed (pip install 'idse[torch]'): only the student and --maps steer"
        )
    state = registry.check(EXACT_MODEL)
    if state == "damaged":
        raise _BrokenError(f"{EXACT_MODEL} is damaged: idse models install {EXACT_MODEL}")
    if state == "missing":
        raise _MissingError(f"{EXACT_MODEL} is not there yet: it is downloaded on first use")
    return f"torch and {EXACT_MODEL}"


def _weights() -> str:
    from idse.codecs.x264 import load_library
    from idse.codecs.x264.library import installed_library

    if not installed_library().is_file():
        raise _MissingError("for --weighted: idse build-x264")
    try:
        found = load_library(weighted=True)
    except IdseError as error:
        raise _BrokenError(str(error)) from error
    return f"{found.path}, build {found.build}"


def verdict(checks: Sequence[Check]) -> None:
    """Raise unless everything that is there works.

    Raises
    ------
    InputError
        Something does not; it is named.
    """
    broken = [check.name for check in checks if check.works is False]
    if broken:
        raise InputError(f"broken here: {', '.join(broken)}")
