"""Train the students that ship: lessons of three networks on research data, kept by content.

    python tools/train/student.py --cache FOLDER --kind video [--without CLIP --out FILE]
    python tools/train/student.py --cache FOLDER --kind stills [--all --out FILE]

First from MobileNetV2's weights with batch normalisation, then on without it, as `idse distill`
does. What was interrupted goes on where it was; the same command makes the same file. ``--without``
leaves a clip out, to see what the student is worth for cameras that it has never seen. ``--all``
learns from what is held out, too: what ships, when figures on what was held out are known.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from idse.learned.student.analyser import student_path
from idse.learned.student.distil import Shown, Step, collect, distil
from idse.learned.student.file import read_student
from idse.learned.student.network import STILLS, VIDEO, Kind
from idse.learned.student.pictures import mosaic, view
from idse.learned.student.teacher import Teacher
from idse.learned.student.train import TrainingPlan
from idse.pipeline.samples import SUFFIXES, Decoder, Sample, image_samples, video_samples
from idse.vision.registry import STUDENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
# bfloat16 halves the time of yolov4-tiny where the CPU has it, and gains nothing with the others.
TEACHERS = {"yolov4-tiny": "bfloat16", "efficientnet-lite0": "float32", "mobilenet_v2": "float32"}
ROWS = 4
# Views of every photograph: itself and crops.
VIEWS = {"coco": 10, "imagenet": 9, "bsds": 3, "budgie": 5, "urban": 5}
# Seconds between the frames that are taken of a clip's first half, each whole and with one crop.
CLIPS = {
    "vtest.avi": 0.25,
    "intel-car-detection.mp4": 0.16,
    "intel-one-by-one-person-detection.mp4": 0.35,
}
# The end of a clip's first half is held out, as is every eighth photograph, with the mosaics that
# show some of it.
CLIP_LEARNED, HELD, EVERY = 0.8, 5, 8
# How often mosaics are of 2, 3 and 4 photographs.
TILES = (0.4, 0.2, 0.4)
# How often a group is shown, whatever the number of its pictures.
SHARES = {"coco": 3.0, "imagenet": 3.0, "bsds": 1.5, "budgie": 0.2, "urban": 0.3, "mosaic": 3.0}
CLIP_SHARE = 1.2


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What differs between the students for video and for still pictures.

    Attributes
    ----------
    kind
        The network, and how gently it is trained.
    clips, mosaics
        Clips that it learns from beside photographs, and how many mosaics of these.
    scene, mixture
        What each teacher counts in the last head, which steers by default: in most pictures, and by
        group where it is otherwise. Scenes of many things are what detectors watch, pictures of one
        thing what classifiers do; some photographs are either.
    settled
        What every head counts in the one that takes the last one's place at the end: those of the
        teachers need not guess what kind of picture they see. None: the last one stays.
    """

    kind: Kind
    clips: tuple[str, ...]
    mosaics: int
    scene: tuple[float, ...]
    mixture: dict[str, tuple[float, ...]]
    settled: tuple[float, ...] | None


_THING = (0.1, 0.55, 0.35)
RECIPES = {
    "video": Recipe(
        kind=VIDEO,
        clips=tuple(CLIPS),
        mosaics=0,
        scene=(0.8, 0.1, 0.1),
        mixture={"imagenet": _THING},
        settled=None,
    ),
    "stills": Recipe(
        kind=STILLS,
        clips=(),
        mosaics=3000,
        scene=(0.9, 0.05, 0.05),
        mixture={"imagenet": _THING, "bsds": (0.5, 0.3, 0.2), "mosaic": (0.6, 0.2, 0.2)},
        settled=(0.2, 0.1, 0.1, 0.6),
    ),
}


def sources(data: Path, clips: Sequence[str]) -> dict[str, list[Sample]]:
    """Even images, first halves of clips, and photographs that nothing is reported on."""
    flat = sorted(p for p in (data / "imagenet").iterdir() if p.suffix.lower() in SUFFIXES)
    photos = data / "train_photos"
    found = {
        "coco": image_samples([data / "coco_val128" / "images"])[::2],
        "imagenet": [Sample(path=path) for path in flat[::2]],
        "bsds": image_samples([photos / "bsds500"]),
        "budgie": [replace(item, halve=True) for item in image_samples([photos / "budgie"])],
        "urban": image_samples([photos / "urban100"]),
    }
    for name in clips:
        path = data / "video" / name
        found[name] = video_samples(path, every=CLIPS[name], most=1000, end=0.5)
    return found


@dataclass(frozen=True, kw_only=True)
class Look:
    """A picture to ask about: a view of a sample, or a mosaic of several."""

    group: str
    samples: tuple[Sample, ...]
    number: int
    held: bool


def views(found: dict[str, list[Sample]]) -> list[Look]:
    """List the views of all samples."""
    listed = []
    for group, samples in found.items():
        for i, sample in enumerate(samples):
            if group in CLIPS:
                held, numbers = i >= CLIP_LEARNED * len(samples), [0, 1 if i % 2 else 2]
            else:
                held, numbers = i % EVERY == HELD, list(range(VIEWS[group]))
            listed += [Look(group=group, samples=(sample,), number=n, held=held) for n in numbers]
    return listed


def mosaics(found: dict[str, list[Sample]], count: int) -> list[Look]:
    """List mosaics of photographs, in which groups have their shares.

    One that shows a photograph that is held out is held out, too.
    """
    groups = [group for group in found if group not in CLIPS]
    shares = np.array([SHARES[group] for group in groups])
    listed = []
    for number in range(count):
        random = np.random.default_rng((0, number, 0))
        tiles = 2 + random.choice(len(TILES), p=TILES)
        chosen = [groups[k] for k in random.choice(len(groups), tiles, p=shares / shares.sum())]
        places = [int(random.integers(len(found[group]))) for group in chosen]
        samples = tuple(found[group][i] for group, i in zip(chosen, places, strict=True))
        held = any(i % EVERY == HELD for i in places)
        listed.append(Look(group="mosaic", samples=samples, number=number, held=held))
    return listed


def pictures(listed: list[Look]) -> Iterator[Shown]:
    """Decode what is listed; every group's weights add up to its share."""
    learned = [look.group for look in listed if not look.held]
    with Decoder() as decoder:
        decoded = lru_cache(maxsize=64)(decoder.picture)
        for look in listed:
            one, *others = (decoded(sample) for sample in look.samples)
            picture = mosaic([one, *others], look.number) if others else view(one, look.number)
            weight = SHARES.get(look.group, CLIP_SHARE) / learned.count(look.group)
            yield Shown(picture=picture, group=look.group, held=look.held, weight=weight)


class Told:
    """Says every minute how far it is."""

    def __init__(self) -> None:
        self._shown = 0.0

    def __call__(self, step: Step) -> None:
        if time.monotonic() - self._shown < 60 and step.done < step.total:
            return
        self._shown = time.monotonic()
        loss = "" if step.loss is None else f" loss {step.loss:.4f}"
        print(f"{time.strftime('%H:%M:%S')} {step.what} {step.done}/{step.total}{loss}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--kind", choices=list(RECIPES), default="video", help="what it is for")
    parser.add_argument("--out", type=Path, help="default: the built-in student of this kind")
    parser.add_argument("--without", choices=list(CLIPS), help="leave this clip out")
    parser.add_argument("--all", action="store_true", help="hold nothing out")
    parser.add_argument("--steps", type=int, default=1000, help="of either part of the training")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    recipe = RECIPES[args.kind]
    if args.without is not None and args.without not in recipe.clips:
        parser.error(f"--without {args.without}: --kind {args.kind} has no clips")
    out = args.out or student_path(STUDENT, stills=args.kind == "stills")
    found = sources(args.data, [name for name in recipe.clips if name != args.without])
    listed = views(found) + mosaics(found, recipe.mosaics)
    if args.all:
        listed = [replace(look, held=False) for look in listed]
    else:
        listed = [look for look in listed if look.group != "mosaic" or not look.held]
    teachers = [Teacher(name, n_s=ROWS, dtype=dtype) for name, dtype in TEACHERS.items()]
    told = Told()
    raws = collect(teachers, pictures(listed), len(listed), args.cache, progress=told)
    command = f"tools/train/student.py --kind {args.kind} --steps {args.steps} --seed {args.seed}"
    command += " --all" if args.all else ""
    facts = {"command": command, "without": args.without or "nothing"}
    first = args.cache / f"{out.stem}-first.safetensors"
    kind, start = recipe.kind, None
    plan = TrainingPlan(steps=args.steps, seed=args.seed, gentle=kind.gentle, dropout=kind.dropout)
    for rate, made, settled in ((3e-3, first, None), (1e-3, out, recipe.settled)):
        card = distil(
            teachers,
            raws,
            replace(plan, rate=rate),
            made,
            blend=[0.0] * len(teachers) + [1.0],
            cache=args.cache,
            mixture={look.group: recipe.mixture.get(look.group, recipe.scene) for look in listed},
            settled=settled,
            kind=kind,
            start=start,
            facts=facts,
            progress=told,
        )
        start = read_student(made)
    for group, heads in card["held_out"].items():
        for name, judged in heads.items():
            print(f"{group:12} {name:20}", *(f"{key} {value:.3f}" for key, value in judged.items()))


if __name__ == "__main__":
    main()
