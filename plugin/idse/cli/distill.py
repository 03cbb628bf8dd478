"""``idse distill``: train a student that predicts the maps of networks, for any network."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idse.cli._progress import PhaseLine, clock
from idse.vision import EXACT_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from idse.learned.student.distil import Shown, Step
    from idse.pipeline.samples import Sample

_DESCRIPTION = """\
Train a student: a small network that predicts in milliseconds, without torch, what sketches of one
or several networks say about a picture. It takes minutes on a CPU, goes on where it was interrupted
when it is started again, and says on every eighth picture, which it does not learn from, how near
it came. Give pictures like those that will be coded, some hundreds and as different as they get.
It starts from the built-in student: from that for still pictures where there is no --video, else
from that for video.
"""
_EPILOG = """\
examples:
  idse distill --model yolov4-tiny --video street.mp4 --out street.safetensors
  idse distill --model my.onnx=2 --model package.module:factory --images photos --out a.safetensors
  idse transcode in.mp4 out.mp4 --model street.safetensors

Lessons are kept by content in IDSE_HOME: other steps or seeds cost only the training. What is kept
of the gain in bytes, idse eval says, on pictures that were not learned from:

  idse eval others --config "exact: --model my.onnx" --config "student: --model my.safetensors" \\
      --config "stock: --no-steer" --anchor stock --judge my.onnx

Exit code 0, 2 for an error, 130 for Ctrl-C.
"""
# A picture of this many is held out, and the end of a video.
_HELD = 8
# Seconds between two frames of a video, at least.
_EVERY = 0.5
_PROGRESS_SECONDS = 0.5


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "distill",
        help="train a student that predicts the maps of networks in milliseconds",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME[=WEIGHT]",
        help="teacher, as for idse map --model; repeat it for a student of several, whose map is "
        f"their weighted mean ({EXACT_MODEL})",
    )
    parser.add_argument(
        "--images", action="append", default=[], metavar="DIR", help="folder of images; repeat it"
    )
    parser.add_argument(
        "--video", action="append", default=[], metavar="FILE", help="video; repeat it"
    )
    parser.add_argument("--out", required=True, metavar="STUDENT.safetensors")
    parser.add_argument(
        "--pictures",
        type=int,
        default=400,
        metavar="N",
        help="to learn from: where there are fewer, crops make up for it (default %(default)s)",
    )
    parser.add_argument(
        "--steps", type=int, default=600, metavar="N", help="of the training (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the training (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the student's card as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from idse.errors import InputError
    from idse.files import check_results
    from idse.importance.naming import split_weight
    from idse.learned.student import distil
    from idse.learned.student.analyser import student_path
    from idse.learned.student.file import read_student
    from idse.learned.student.network import STILLS, VIDEO
    from idse.learned.student.teacher import Teacher
    from idse.learned.student.train import TrainingPlan
    from idse.vision.registry import STUDENT, cache_dir

    if Path(args.out).suffix != ".safetensors":
        raise InputError(f"--out {args.out} must end in .safetensors: that is how it is used")
    if args.pictures < _HELD:
        raise InputError(f"--pictures {args.pictures}: at least {_HELD}, some hundreds do well")
    check_results([args.out], keep=args.video)
    stills = not args.video
    kind = STILLS if stills else VIDEO
    # A gentle rate: what the built-in student knows is not to be forgotten first.
    plan = TrainingPlan(
        steps=args.steps, rate=1e-3, seed=args.seed, gentle=kind.gentle, dropout=kind.dropout
    )
    specs = [split_weight(spec) for spec in args.model or [EXACT_MODEL]]
    if len({name for name, _ in specs}) < len(specs):
        raise InputError("a network is given twice: name each --model once")
    shown = _shown(args)
    start = read_student(student_path(STUDENT, stills=stills))
    teachers = [Teacher(name, n_s=4) for name, _ in specs]
    cache = cache_dir() / "distill"
    line = _ProgressLine() if sys.stderr.isatty() else None
    try:
        raws = distil.collect(
            teachers, _pictures(shown), len(shown), cache, area=start.area, progress=line
        )
        card = distil.distil(
            teachers,
            raws,
            plan,
            Path(args.out),
            blend=[weight for _, weight in specs],
            cache=cache,
            kind=kind,
            start=start,
            facts={"data": sorted({*args.images, *args.video})},
            progress=line,
        )
    finally:
        if line is not None:
            line.clear()
    if args.json:
        print(json.dumps(card, indent=2))
    else:
        print(_summary(args.out, card))
    return 0


def _shown(args: argparse.Namespace) -> list[tuple[Sample, int, bool]]:
    """Return the views that are learned from: a sample, the view's number, whether it is held."""
    from idse.errors import InputError
    from idse.pipeline.samples import image_samples, video_samples

    if not args.images and not args.video:
        raise InputError("there is nothing to learn from: give --images DIR or --video FILE")
    samples: list[tuple[Sample, bool]] = []
    if args.images:
        images = image_samples([Path(name) for name in args.images])
        samples += [(item, i % _HELD == _HELD // 2) for i, item in enumerate(images)]
    for name in args.video:
        frames = video_samples(Path(name), every=_EVERY, most=args.pictures)
        held = len(frames) - len(frames) // _HELD
        samples += [(item, i >= held) for i, item in enumerate(frames)]
    if len(samples) > args.pictures:
        samples = [samples[i * len(samples) // args.pictures] for i in range(args.pictures)]
    if len(samples) < _HELD:
        raise InputError(f"{len(samples)} pictures are too few: give {_HELD} at least")
    numbered = (divmod(k, len(samples)) for k in range(args.pictures))
    return [(samples[i][0], number, samples[i][1]) for number, i in numbered]


def _pictures(shown: Sequence[tuple[Sample, int, bool]]) -> Iterator[Shown]:
    from idse.learned.student.distil import Shown
    from idse.learned.student.pictures import view
    from idse.pipeline.samples import Decoder

    with Decoder() as decoder:
        for sample, number, held in shown:
            group = "images" if sample.frame is None else sample.path.name
            picture = view(decoder.picture(sample), number)
            yield Shown(picture=picture, group=group, held=held)


def _summary(out: str, card: dict[str, Any]) -> str:
    lines = [f"{out}: learned from {card['pictures']} pictures; on those held out:"]
    for group, heads in card["held_out"].items():
        for name, found in heads.items():
            lines.append(
                f"  {name} on {found['pictures']} of {group}: rank correlation "
                f"{found['rank']:.2f} within and {found['levels']:.2f} between pictures, "
                f"{found['gain_kept']:.0%} of the expected gain kept"
            )
    return "\n".join(lines)


class _ProgressLine(PhaseLine):
    """How far a distillation is."""

    def __init__(self) -> None:
        super().__init__(_PROGRESS_SECONDS)

    def __call__(self, step: Step) -> None:
        elapsed = self.elapsed(step.what)
        if not self.due():
            return
        parts = [f"{step.what} {step.done}/{step.total}"]
        if step.loss is not None:
            parts.append(f"loss {step.loss:.3f}")
        if step.done > 1:
            parts.append(f"ETA {clock(elapsed / step.done * (step.total - step.done))}")
        self.show(parts)
