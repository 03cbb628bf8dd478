"""Train what JPEG control needs: the model of file sizes, examples, the control network.

python tools/train/control.py size [--pictures N]
python tools/train/control.py examples
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from idse.learned.jpeg import examples, size_model, size_training
from idse.vision import load_model

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
WEIGHTS = ROOT / "plugin" / "idse" / "weights"
CACHE = Path(tempfile.gettempdir()) / "idse-train-control"
TEACHERS = ("efficientnet-lite0", "yolov4-tiny")


def training_pictures(count: int | None = None) -> list[Path]:
    """Return pictures to train on: train_photos, and even ones of imagenet and COCO, mixed."""
    even = [
        path
        for folder in ("imagenet", "coco_val128/images")
        for path in sorted((DATA / folder).glob("*.[jJ]*"))[::2]
    ]
    photos = sorted(
        path
        for path in (DATA / "train_photos").rglob("*")
        if path.suffix.lower() in {".jpg", ".jpeg", ".webp", ".png"}
    )
    found = photos + even
    np.random.default_rng(0).shuffle(found)
    return found[:count]


def half(path: Path, longest: int) -> np.ndarray:
    """Return a picture at half its size, so that its block edges are not learned."""
    picture = Image.open(path).convert("RGB")
    factor = min(0.5, longest / max(picture.size))
    size = [max(16, round(side * factor)) for side in picture.size]
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def train_size(args: argparse.Namespace) -> int:
    paths = training_pictures(args.pictures)
    # Small and large ones, for codes cost more where there are few symbols.
    pictures = (half(path, longest) for path in paths for longest in (160, 480))
    samples = size_training.samples(pictures, seed=0, tables_each=3)
    model = size_training.fit(samples)
    found = size_training.joined(samples)
    actual = torch.tensor([float(sample.size) for sample in samples])
    predicted = model.of_statistics(found)
    facts = {
        "data": "train_photos, even pictures of imagenet and coco_val128, at half their size",
        "pictures": len(paths),
        "files": len(samples),
        "seed": 0,
        "relative error on them": float(size_model.relative_error(predicted, actual)),
    }
    args.weights.mkdir(parents=True, exist_ok=True)
    path = args.weights / "jpeg-size.safetensors"
    save_file(model.state_dict(), path, size_model.card(model, facts))
    print(f"{path}: {facts}")
    return 0


def crop(path: Path) -> np.ndarray:
    """Return the 224x224 centre of a picture whose short side was made 256."""
    picture = Image.open(path).convert("RGB")
    factor = 256 / min(picture.size)
    width, height = (max(224, round(side * factor)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 224) // 2, (height - 224) // 2
    return np.asarray(picture.crop((left, top, left + 224, top + 224)))


def whole(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def make_examples(args: argparse.Namespace) -> int:
    """Let teachers look at even pictures and at train_photos; what is there already stays."""
    sets = {
        "imagenet": ("imagenet", crop, 96, 2),
        "coco": ("coco_val128/images", whole, 48, 2),
        "bsds": ("train_photos/bsds500", lambda path: half(path, 480), 24, 1),
    }
    args.cache.mkdir(parents=True, exist_ok=True)
    teachers = {name: load_model(name) for name in TEACHERS}
    found = []
    for name, (folder, read, count, step) in sets.items():
        paths = sorted((DATA / folder).glob("*.[jJ]*"))[::step]
        chosen = [paths[i * len(paths) // count] for i in range(min(count, len(paths)))]
        found += [(args.cache / f"{name}-{path.stem}.npz", path, read) for path in chosen]
    # Mixed, so that training can begin on what is there.
    for i in np.random.default_rng(0).permutation(len(found)):
        target, path, read = found[i]
        if not target.exists():
            examples.save(target, examples.weigh(read(path), teachers))
            print(target.name, flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder to write to")
    parts = parser.add_subparsers(required=True)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of examples")
    made = parts.add_parser("examples", help="pictures, and what errors in them cost teachers")
    made.set_defaults(run=make_examples)
    size = parts.add_parser("size", help="the model of file sizes")
    size.add_argument("--pictures", type=int, default=None)
    size.set_defaults(run=train_size)
    args = parser.parse_args()
    torch.set_num_threads(1)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
