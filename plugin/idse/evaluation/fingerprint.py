"""Hashes of what a result depends on: files, code, networks, libx264."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from functools import lru_cache
from pathlib import Path

import idse
from idse.codecs.x264 import load_library
from idse.importance.naming import split_weight
from idse.learned.student.analyser import student_path
from idse.vision.registry import is_student

_PACKAGE = Path(idse.__file__).parent
_STUDENT = tuple(
    f"learned/student/{name}.py"
    for name in ("analyser", "engine", "file", "resize", "rounding", "spectrum")
)


def digest(*parts: bytes | str) -> str:
    """Return a hash of the parts, each told from its neighbours."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:32]


def file_digest(path: Path) -> str:
    """Return a hash of a file's content, computed once as long as the file stays as it is."""
    facts = path.stat()
    return _file_digest(path.resolve(), facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=4096)
def _file_digest(path: Path, _changed: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=16)
def code_digest(names: tuple[str, ...]) -> str:
    """Return a hash of files of the package, and of all code in its folders, named relative to it.

    Computed once in a process, which also loads its code once.
    """
    found = []
    for name in names:
        path = _PACKAGE / name
        files = [path] if path.is_file() else [*path.rglob("*.py"), *path.rglob("*.so")]
        found += sorted(files)
    return digest(*(f"{path.relative_to(_PACKAGE)} {file_digest(path)}" for path in found))


def model_digest(spec: str, *, stills: bool = False) -> str:
    """Return a hash of a network's name and of the file that it comes from, if that is the user's.

    ``spec`` is ``MODEL`` or ``MODEL=WEIGHT``, as `idse.importance.load_networks` takes it, or a
    student's name, whose hash is also of the code that runs it. ``stills`` tells whether the model
    looks at still pictures, for which the built-in student has a file of its own.

    Built-in networks have hashes of their own, checked when they are loaded.
    """
    student, _ = split_weight(spec)
    if is_student(student):
        weights = student_path(student, stills=stills)
        content = file_digest(weights) if weights.is_file() else ""
        return digest(spec, content, code_digest(_STUDENT))
    name = (spec.rpartition("=")[0] or spec).partition("@")[0]
    path = Path(name)
    if path.suffix == ".onnx" and path.is_file():
        return digest(spec, file_digest(path))
    module, separator, _ = name.partition(":")
    origin = _origin(module) if separator else None
    return digest(spec) if origin is None else digest(spec, file_digest(origin))


def _origin(module: str) -> Path | None:
    """Return the file of a module, looked for where ``load_model`` finds it."""
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # loading it will say what is wrong
        found = None
    if found is not None and found.origin:
        origin = Path(found.origin)
    else:
        origin = Path(*module.split(".")).with_suffix(".py")
    return origin if origin.is_file() else None


@lru_cache(maxsize=2)
def machine_digest(*, weighted: bool = False) -> str:
    """Return a hash of libx264 and the number of threads that it takes by itself.

    x264's frame threads change its rate control a little. ``weighted``: of the libx264 that takes
    distortion weights.

    Raises
    ------
    LibraryLoadError
        There is none.
    """
    library = load_library(weighted=weighted)
    content = file_digest(library.path) if library.path.is_file() else os.fspath(library.path)
    return digest(content, f"{library.build} {len(os.sched_getaffinity(0))}")
