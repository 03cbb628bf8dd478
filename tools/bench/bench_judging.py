"""Encode, decode, judge: the measurements behind the BD-rate tables, cached by content.

A measurement is kept under the hash of the bitstream, of the source and of the code that judges, so
that a repeated or interrupted run only encodes again (which is quick) and judges what is new.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import av
from bench_common import ROOT
from PIL import Image

from idse.evaluation.judge import Judge
from idse.evaluation.measure import Measurement, Reference, Verdicts, measure
from idse.pipeline.frames import picture
from idse.vision import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from idse.picture import Picture
    from idse.vision.extractor import FeatureExtractor

CACHE = Path(os.environ.get("IDSE_BENCH_CACHE", Path(tempfile.gettempdir()) / "idse-bench"))
# libswscale's numbers of BT.601 and of limited range: what `ffmpeg -pix_fmt yuv420p` makes of RGB.
_BT601, _LIMITED = 5, 1


def pool() -> ProcessPoolExecutor:
    """Return two processes; torch does not survive a fork."""
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


def digest(*parts: bytes | str) -> str:
    """Return a hash of the parts, each told from its neighbours."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:32]


@dataclass(frozen=True)
class Images:
    """Still images, as 4:2:0 BT.601 pictures of limited range: what a video encoder is given."""

    paths: tuple[Path, ...]

    def pictures(self) -> tuple[Picture, ...]:
        """Return all pictures."""
        return _images(self.paths)

    @property
    def key(self) -> str:
        """Hash of the content."""
        return digest(*(path.read_bytes() for path in self.paths))


@cache
def _images(paths: tuple[Path, ...]) -> tuple[Picture, ...]:
    pictures = []
    for index, path in enumerate(paths):
        with Image.open(path) as image:
            frame = av.VideoFrame.from_image(image.convert("RGB"))
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT601, dst_color_range=_LIMITED)
        pictures.append(picture(frame, index))
    return tuple(pictures)


@dataclass(frozen=True)
class Clip:
    """Frames ``first`` to ``last`` (exclusive), every ``step``-th, of a video file."""

    path: Path
    first: int
    last: int
    step: int = 1

    def pictures(self, path: Path | None = None) -> Iterator[Picture]:
        """Decode the frames, of another encode of the same video where a path is given."""
        with av.open(path or self.path) as container:
            frames = islice(container.decode(video=0), self.first, self.last, self.step)
            for index, frame in enumerate(frames):
                yield picture(frame, index)

    @property
    def key(self) -> str:
        """Hash of the content."""
        return digest(self.path.read_bytes(), f"{self.first} {self.last} {self.step}")


Source = Images | Clip


@cache
def extractor(model: str) -> FeatureExtractor:
    """Load a network once per process."""
    return load_model(model)


def _judging_code() -> str:
    """Return a hash of the sources that decide what a judge says."""
    package = ROOT / "plugin/idse"
    files = [package / "evaluation" / f"{name}.py" for name in ("judge", "measure", "metrics")]
    files += sorted((package / "vision").rglob("*.py"))
    return digest(*(path.read_bytes() for path in files))


@dataclass(frozen=True)
class Panel:
    """The networks that judge, and a hash of the code that they are run by."""

    models: tuple[str, ...]
    code: str = field(default_factory=_judging_code)

    def _stem(self, model: str, source: Source) -> Path:
        return CACHE / "references" / f"{model}-{digest(source.key, model, self.code)}"

    def judge_source(self, model: str, source: Source) -> None:
        """Judge the sources, unless that was done before."""
        stem = self._stem(model, source)
        if not stem.with_suffix(".npz").exists():
            Reference.write(stem, Judge(extractor(model)), source.pictures())

    def judge_sources(self, workers: ProcessPoolExecutor, source: Source) -> None:
        """Judge the sources with all networks side by side."""
        list(workers.map(self.judge_source, self.models, [source] * len(self.models)))

    def reference(self, model: str, source: Source) -> Reference:
        """Return what a model saw in the sources; ``judge_source`` comes first."""
        return _reference(self._stem(model, source))

    def verdicts(self, source: Source) -> dict[str, Verdicts]:
        """Return what all models saw in the sources."""
        return {model: self.reference(model, source).verdicts for model in self.models}

    def measure(
        self,
        source: Source,
        bitstream: bytes,
        decode: Callable[[], Iterator[Picture]],
        *,
        ms_ssim_every: int = 1,
    ) -> Path:
        """Measure a bitstream, unless that was done before; return the measurement's file."""
        key = digest(bitstream, source.key, self.code, *self.models, str(ms_ssim_every))
        path = CACHE / "measurements" / f"{key}.npz"
        if not path.exists():
            judges = {m: (Judge(extractor(m)), self.reference(m, source)) for m in self.models}
            pairs = zip(source.pictures(), decode(), strict=True)
            measure(pairs, judges, ms_ssim_every=ms_ssim_every).write(path)
        return path


@cache
def _reference(stem: Path) -> Reference:
    return Reference(stem)


def read(path: Path) -> Measurement:
    """Return a measurement."""
    return Measurement.read(path)
