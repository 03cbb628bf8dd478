"""Pictures that JPEG control is trained on: even-numbered ones, and photographs for training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from idse.learned.jpeg.examples import SAMPLINGS

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
LONGEST = 640


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


def crop(path: Path) -> np.ndarray:
    """Return the 224x224 centre of a picture whose short side was made 256."""
    picture = Image.open(path).convert("RGB")
    factor = 256 / min(picture.size)
    width, height = (max(224, round(side * factor)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 224) // 2, (height - 224) // 2
    return np.asarray(picture.crop((left, top, left + 224, top + 224)))


def whole(path: Path) -> np.ndarray:
    """Return a picture, made smaller where it is longer than COCO's."""
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def example_pictures(cache: Path) -> dict[Path, Callable[[], np.ndarray]]:
    """Return the names of all pictures' files, mixed, and how the pictures are read.

    As networks see them: crops of the size of a classifier's input, and whole photographs, of which
    a detector sees a smaller copy.
    """
    sets = {
        "imagenet": ("imagenet", crop, 125, 2),
        "part": ("coco_val128/images", crop, 32, 2),
        "coco": ("coco_val128/images", whole, 64, 2),
        "photo": ("imagenet", whole, 20, 2),
        "bsds": ("train_photos/bsds500", partial(half, longest=480), 32, 1),
    }
    found: list[tuple[Path, Callable[[], np.ndarray]]] = []
    for name, (folder, read, count, step) in sets.items():
        paths = sorted((DATA / folder).glob("*.[jJ]*"))[::step]
        chosen = [paths[i * len(paths) // count] for i in range(min(count, len(paths)))]
        found += [(cache / f"{name}-{path.stem}", partial(read, path)) for path in chosen]
    return dict(found[i] for i in np.random.default_rng(0).permutation(len(found)))


def example_path(picture: Path, sampling: str) -> Path:
    """Return the file of the example of a picture, named as by `example_pictures`."""
    return picture.with_name(f"{picture.name}-{sampling.replace(':', '')}.npz")


def known_examples(cache: Path) -> dict[str, list[Path]]:
    """Return the files of each picture of which there is an example in every sampling.

    Others are left alone: what was interrupted, and those from before examples had a sampling.
    """
    end = example_path(Path("-"), SAMPLINGS[0]).name[1:]
    found = {}
    for first in sorted(cache.glob(f"*{end}")):
        picture = first.with_name(first.name.removesuffix(end))
        paths = [example_path(picture, name) for name in SAMPLINGS]
        if all(path.exists() for path in paths):
            found[picture.name] = paths
    return found
