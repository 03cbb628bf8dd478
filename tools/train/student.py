"""Train the student that ships: lessons of three networks on research data, kept by content."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from idse.learned.student.distil import Shown, Step, collect, distil
from idse.learned.student.pictures import view
from idse.learned.student.teacher import Teacher
from idse.learned.student.train import TrainingPlan
from idse.pipeline.samples import SUFFIXES, Decoder, Sample, image_samples, video_samples

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
# bfloat16 halves the time of yolov4-tiny where the CPU has it, and gains nothing with the others.
TEACHERS = {"yolov4-tiny": "bfloat16", "efficientnet-lite0": "float32", "mobilenet_v2": "float32"}
ROWS = 4
# Views of every picture: itself and crops. Of a clip every view takes other frames.
VIEWS = {"coco": 6, "imagenet": 6, "bsds": 1, "budgie": 1, "urban": 2}
CLIPS = {
    "vtest.avi": 0.5,
    "intel-car-detection.mp4": 0.25,
    "intel-one-by-one-person-detection.mp4": 0.7,
}
CLIP_VIEWS = 3


def sources(data: Path) -> dict[str, list[Sample]]:
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
    for name, every in CLIPS.items():
        found[name] = video_samples(data / "video" / name, every=every, most=1000, end=0.5)
    return found


def views(found: dict[str, list[Sample]], passes: int) -> list[tuple[str, Sample, int, bool]]:
    """Group, sample, number of the view, and whether it is held out; kinds mixed evenly."""
    listed = []
    for number in range(passes):
        row = []
        for group, samples in found.items():
            clip = group in CLIPS
            if number >= (CLIP_VIEWS if clip else VIEWS[group]):
                continue
            numbered = list(enumerate(samples))[number % CLIP_VIEWS :: CLIP_VIEWS if clip else 1]
            for place, (i, sample) in enumerate(numbered):
                held = i >= 0.8 * len(samples) if clip else i % 8 == 5
                row.append(((place + 0.5) / len(numbered), group, sample, number, held))
        row.sort(key=lambda item: item[:2])
        listed += [item[1:] for item in row]
    return listed


def pictures(listed: list[tuple[str, Sample, int, bool]]) -> Iterator[Shown]:
    decoders = {group: Decoder() for group, *_ in listed}
    for group, sample, number, held in listed:
        picture = view(decoders[group].picture(sample), number)
        yield Shown(picture=picture, group=group, held=held)


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "plugin/idse/weights/student.safetensors"
    )
    parser.add_argument("--passes", type=int, default=6, help="views of a picture, at most")
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--blend", type=float, nargs=3, default=(0.7, 0.15, 0.15))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    listed = views(sources(args.data), args.passes)
    teachers = [Teacher(name, n_s=ROWS, dtype=dtype) for name, dtype in TEACHERS.items()]
    told = Told()
    raws = collect(teachers, pictures(listed), len(listed), args.cache, progress=told)
    card = distil(
        teachers,
        raws,
        TrainingPlan(steps=args.steps, seed=args.seed),
        args.out,
        blend=args.blend,
        cache=args.cache,
        facts={"command": " ".join(["tools/train/student.py", *sys.argv[1:]])},
        progress=told,
    )
    for group, heads in card["held_out"].items():
        for name, found in heads.items():
            print(f"{group:12} {name:20}", *(f"{key} {value:.3f}" for key, value in found.items()))


if __name__ == "__main__":
    main()
