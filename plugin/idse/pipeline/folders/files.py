"""Which pictures a folder holds, and what their JPEGs are called."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
SUFFIXES = JPEG_SUFFIXES | {
    *(".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".jp2", ".avif"),
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a folder holds.

    Attributes
    ----------
    pictures
        Relative paths, sorted.
    others
        How many other files there are.
    """

    pictures: tuple[Path, ...]
    others: int


def find_pictures(folder: Path, *, leave_out: Path) -> Found:
    """List the pictures in a folder and its subfolders, by their names' endings.

    Hidden files and folders are passed over.

    Parameters
    ----------
    folder
        To look in.
    leave_out
        A folder in it whose files are no input: the one that is written to.

    Raises
    ------
    InputError
        The folder, or one in it, cannot be read.
    """

    def fail(error: OSError) -> None:
        raise InputError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    pictures: list[Path] = []
    others = 0
    hidden = leave_out.resolve()
    for root, folders, names in os.walk(folder, onerror=fail):
        here = Path(root)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and (here / name).resolve() != hidden
        ]
        for name in names:
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in SUFFIXES:
                pictures.append((here / name).relative_to(folder))
            else:
                others += 1
    return Found(pictures=tuple(sorted(pictures)), others=others)


def output_names(pictures: Iterable[Path]) -> dict[Path, Path]:
    """Return what every picture's JPEG is called, relative to the folder that is written to.

    JPEGs keep their names, so that what refers to them still does. Others end in ``.jpg`` instead;
    where two would then share a name, in ``.png.jpg`` and so on. A name depends only on which files
    there are.

    Parameters
    ----------
    pictures
        Relative paths, each once.
    """
    known = list(pictures)
    wanted = {path: _wanted(path) for path in known}
    claims = Counter(wanted.values())
    names = {}
    for path in known:
        if path.suffix.lower() in JPEG_SUFFIXES or claims[wanted[path]] == 1:
            names[path] = wanted[path]
        else:
            names[path] = path.with_name(f"{path.name}.jpg")
    # A JPEG may be called a.png.jpg already: count on from there.
    taken = Counter(names.values())
    for path, name in names.items():
        if taken[name] > 1 and path.suffix.lower() not in JPEG_SUFFIXES:
            names[path] = _free(path, taken)
    return names


def _wanted(path: Path) -> Path:
    return path if path.suffix.lower() in JPEG_SUFFIXES else path.with_suffix(".jpg")


def _free(path: Path, taken: Counter[Path]) -> Path:
    number = 2
    while (name := path.with_name(f"{path.name}.{number}.jpg")) in taken:
        number += 1
    taken[name] += 1
    return name
