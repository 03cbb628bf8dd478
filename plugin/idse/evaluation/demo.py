"""The main job on two photographs: stock against steered at equal size, measured and drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import av
import numpy as np

from idse.allocation import OffsetPolicy
from idse.allocation.compensation import HALVING_QP
from idse.codecs.h264 import read_macroblocks
from idse.errors import CodecError, InputError
from idse.evaluation.average_precision import confident, match
from idse.evaluation.clip import moving_camera_clip
from idse.evaluation.judge import Judge, output_distance
from idse.evaluation.sheet import Shown, draw_sheet
from idse.importance import Analyser
from idse.importance.overlay import save_png
from idse.pipeline.frames import picture, rgb
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.options import EncodeOptions
from idse.pipeline.transcode import transcode
from idse.vision import EXACT_MODEL, load_model
from idse.vision.registry import sample_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from idse.evaluation.judge import Observation
    from idse.picture import Picture
    from idse.pipeline.report import Report
    from idse.vision import Detections, FeatureExtractor

# A rate at which stock x264 visibly harms what the detector sees, as a busy camera's uplink does.
CRF = 36.0
# The steered file may fall short of stock's size by this much at most, and never exceed it.
_TOLERANCE = 0.01
_SEARCH_STEPS = 6


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One encode of the demo clip, judged.

    Attributes
    ----------
    name
        ``"stock"`` or ``"steered"``.
    crf
        That it was encoded with.
    bytes
        Size of the file.
    kept, detections
        Detections of the source (score >= 0.25) that are found again (same class, IoU >= 0.5,
        score >= 0.25), and how many there are.
    distance
        Mean squared distance of the detector's gated outputs from those on the source, per frame.
    fps
        Frames per second of the whole transcode, networks included.
    """

    name: str
    crf: float
    bytes: int
    kept: int
    detections: int
    distance: float
    fps: float


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo shows."""

    stock: Outcome
    steered: Outcome
    frames: int
    picture: Path


def run_demo(directory: Path, tell: Callable[[str], None]) -> DemoResult:
    """Make the clip, transcode it stock and steered to equal size, judge and draw both.

    Parameters
    ----------
    directory
        Existing folder for ``source.mkv``, ``stock.mp4``, ``steered.mp4`` and ``demo.png``.
    tell
        Is told what happens next.

    Raises
    ------
    ModelError
        The default model is not installed and cannot be downloaded.
    CodecError
        No CRF gives the steered file stock's size.
    OutputError
        The folder cannot be written to.
    """
    tell(f"loading {EXACT_MODEL}")
    network = load_model(EXACT_MODEL)
    source, stock, steered = (directory / n for n in ("source.mkv", "stock.mp4", "steered.mp4"))
    tell("making a moving-camera clip of two photographs")
    moving_camera_clip(sample_images(EXACT_MODEL), source)
    tell(f"transcoding it with stock x264, CRF {CRF:g}")
    plain = _encode(source, stock, CRF, steer=False)
    crf, report = _encode_to_size(source, steered, plain.bytes, tell)
    tell("judging both by the detector")
    judge = Judge(network)
    seen = [judge.observe(p) for p in _pictures(source)]
    results = {path: [judge.observe(p) for p in _pictures(path)] for path in (stock, steered)}
    path = directory / "demo.png"
    _draw(network, directory, (seen, results[stock], results[steered]), path)
    return DemoResult(
        stock=_outcome("stock", CRF, plain, seen, results[stock]),
        steered=_outcome("steered", crf, report, seen, results[steered]),
        frames=plain.frames,
        picture=path,
    )


def _encode(source: Path, target: Path, crf: float, *, steer: bool) -> Report:
    return transcode(
        str(source),
        str(target),
        encode=EncodeOptions(options={"crf": f"{crf:.3f}"}),
        steering=SteeringOptions(policy=OffsetPolicy(), models=[EXACT_MODEL]) if steer else None,
        overwrite=True,
    )


def _encode_to_size(
    source: Path, target: Path, size: int, tell: Callable[[str], None]
) -> tuple[float, Report]:
    """Encode steered with the CRF that comes closest to ``size`` bytes from below.

    The size falls with CRF, in steps too small to see: a secant search, kept inside the bracket of
    the largest CRF known to be too large a file and the smallest known to fit.
    """
    crf, too_large, fits = CRF, -math.inf, math.inf
    best: tuple[float, Report] | None = None
    for _ in range(_SEARCH_STEPS):
        tell(f"transcoding it steered, CRF {crf:.2f}, for the same size")
        report = _encode(source, target, crf, steer=True)
        if report.bytes <= size:
            fits, best = crf, (crf, report)
            if report.bytes >= (1 - _TOLERANCE) * size:
                return crf, report
        else:
            too_large = crf
        # Aims at the middle of what is tolerated.
        aim = math.log2(report.bytes / (size * (1 - _TOLERANCE / 2)))
        crf += HALVING_QP * aim
        if not too_large < crf < fits:
            crf = (too_large + fits) / 2
    if best is None:
        raise CodecError(f"no CRF up to {crf:.2f} makes the steered clip {size} bytes or less")
    return best[0], _encode(source, target, best[0], steer=True)


def _frames(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(path) as container:
        yield from container.decode(video=0)


def _pictures(path: Path) -> Iterator[Picture]:
    return (picture(frame, index) for index, frame in enumerate(_frames(path)))


def _outcome(
    name: str,
    crf: float,
    report: Report,
    source: Sequence[Observation],
    decoded: Sequence[Observation],
) -> Outcome:
    if len(source) != len(decoded):
        raise InputError(f"{name} has {len(decoded)} frames, its source {len(source)}")
    matches = [match(_shown(a), _shown(b)) for a, b in zip(source, decoded, strict=True)]
    return Outcome(
        name=name,
        crf=crf,
        bytes=report.bytes,
        kept=sum(int(m.hits[0].sum()) for m in matches),
        detections=sum(len(m.truth) for m in matches),
        distance=float(
            np.mean(
                [
                    output_distance(a.features, b.features)
                    for a, b in zip(source, decoded, strict=True)
                ]
            )
        ),
        fps=report.frames / report.seconds,
    )


def _shown(observation: Observation) -> Detections:
    assert observation.found is not None  # the demo's network is a detector
    return confident(observation.found)


def _draw(
    network: FeatureExtractor,
    directory: Path,
    observations: tuple[Sequence[Observation], Sequence[Observation], Sequence[Observation]],
    path: Path,
) -> None:
    """Draw the I frame in which the detector finds most: there every macroblock has a QP."""
    coded, plain = (list(read_macroblocks(directory / n)) for n in ("steered.mp4", "stock.mp4"))
    index = max(
        (i for i, frame in enumerate(coded) if frame.pict_type == "I"),
        key=lambda i: len(_shown(observations[0][i])),
    )
    panels = []
    for name, seen in zip(("source.mkv", "stock.mp4", "steered.mp4"), observations, strict=True):
        frame = next(islice(_frames(directory / name), index, None))
        panels.append((frame, Shown(rgb(frame), _shown(seen[index]))))
    importance = Analyser([(network, 1.0)]).analyse(picture(panels[0][0], index))
    labels = getattr(network.head, "labels", ())
    source, stock, steered = (shown for _, shown in panels)
    sheet = draw_sheet(
        source,
        stock,
        steered,
        weight=importance.weight(),
        qp=(plain[index].qp_array, coded[index].qp_array),
        labels=labels,
    )
    save_png(path, sheet)
