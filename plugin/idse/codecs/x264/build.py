"""Building libx264 with distortion weights: x264's source, our files beside it, a dozen edits.

What comes out is a libx264 like any other, under the GPL, with one function more. It is a file of
its own on the user's machine: nothing of it is part of this package, which loads it by name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idse.codecs.x264.library import installed_library, load_library
from idse.codecs.x264.source import UnavailableError, unpack_source
from idse.errors import CodecError
from idse.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parents[2]
# In a wheel, and in a checkout.
_RECIPES = (_PACKAGE / "_native/x264-gpl", _PACKAGE.parents[1] / "native/x264-gpl")
_EDITS = "edits.toml"
_SOURCES = ("idse.c", "idse.h", "idse_api.c", "idse_x264.h", "kernels.c", "kernels.h")

_SONAME = "libx264-idse.so"
# The library alone. OpenCL would be loaded into the caller's process at run time.
_CONFIGURE = ("--enable-shared", "--disable-cli", "--disable-opencl")
_LOG_LINES = 15


@dataclass(frozen=True)
class BuildRecord:
    """What a library was built from; kept beside it as JSON.

    Attributes
    ----------
    recipe
        SHA-256 of our files and edits.
    version
        What the library reports, such as ``"164 r3095 baee400"``.
    library
        SHA-256 of the library itself.
    """

    recipe: str
    version: str
    library: str


def recipe_folder() -> Path:
    """Return the folder with our sources and edits.

    Raises
    ------
    CodecError
        The package was installed without them.
    """
    for folder in _RECIPES:
        if (folder / _EDITS).is_file():
            return folder
    raise CodecError(f"{_RECIPES[0]} is missing: install the package again (pip install .)")


def recipe_hash() -> str:
    """Return the SHA-256 of our files and edits: another one makes another library."""
    digest, folder = hashlib.sha256(), recipe_folder()
    for name in (_EDITS, *_SOURCES):
        digest.update(name.encode() + b"\0" + (folder / name).read_bytes() + b"\0")
    return digest.hexdigest()


def record_of(library: Path) -> BuildRecord | None:
    """Return what ``library`` was built from, None where that is not known."""
    try:
        found = json.loads(_record_path(library).read_text(encoding="utf-8"))
        return BuildRecord(**{field.name: str(found[field.name]) for field in fields(BuildRecord)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_current(library: Path) -> bool:
    """Tell whether ``library`` is whole and built from the files that this package has now."""
    record = record_of(library)
    if record is None or record.recipe != recipe_hash() or not library.is_file():
        return False
    return hashlib.sha256(library.read_bytes()).hexdigest() == record.library


def build_library(
    out: str | os.PathLike[str] | None = None,
    *,
    source: str | os.PathLike[str] | None = None,
) -> Path:
    """Build the library and put it, complete and tried, under its name.

    Parameters
    ----------
    out
        The library to write. None is ``installed_library()``, where ``load_library(weighted=True)``
        looks.
    source
        Folder or tarball of x264's source; None as ``unpack_source`` says.

    Returns
    -------
    pathlib.Path
        The library. Processes that have an older one loaded keep that.

    Raises
    ------
    InputError
        ``source`` is no x264, or one whose text our edits do not fit.
    UnavailableError
        The source, a compiler or an assembler is missing; the message says what to run.
    CodecError
        The edits do not fit, or the build fails.
    OutputError
        The library cannot be written.
    """
    target = Path(out) if out is not None else installed_library()
    _need("cc", "gcc")
    _need("make", "make")
    if platform.machine() in {"x86_64", "AMD64"}:
        _need("nasm", "nasm")
    with tempfile.TemporaryDirectory(prefix="idse-x264-") as name:
        folder = Path(name)
        tree = unpack_source(source, folder)
        apply_edits(tree)
        built = _compile(tree)
        version = load_library(built, weighted=True).version
        data = built.read_bytes()
        record = BuildRecord(recipe_hash(), version, hashlib.sha256(data).hexdigest())
        if out is None:
            target.parent.mkdir(parents=True, exist_ok=True)
        # A library without a record is rebuilt; one with a wrong record would not be.
        _record_path(target).unlink(missing_ok=True)
        write_atomically(target, data)
        write_atomically(_record_path(target), json.dumps(asdict(record)).encode())
    return target


def apply_edits(tree: Path) -> None:
    """Put our files into x264's source and make the edits that call them.

    Raises
    ------
    CodecError
        An edit's anchor is not in the source as often as it should be: another x264.
    """
    recipe = recipe_folder()
    ours = tree / "idse"
    ours.mkdir()
    for name in _SOURCES:
        shutil.copyfile(recipe / name, ours / name)
    for edit in tomllib.loads((recipe / _EDITS).read_text(encoding="utf-8"))["edit"]:
        path = tree / edit["file"]
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        path.write_text(_edited(text, edit), encoding="utf-8")


def _edited(text: str, edit: Mapping[str, Any]) -> str:
    if "append" in edit:
        return f"{text}{edit['append']}\n"
    anchor, times = edit.get("find", edit.get("line")), edit.get("times", 1)
    if text.count(anchor) != times:
        raise CodecError(
            f"{edit['file']} of this x264 has {anchor.strip()!r} {text.count(anchor)} times, not "
            f"{times}: its revision is not one that the edits fit (164 r3095 is)"
        )
    if "find" in edit:
        return text.replace(anchor, edit["with"])
    at = text.index(anchor)
    if "before" in edit:
        at, line = text.rfind("\n", 0, at) + 1, edit["before"]
    else:
        at, line = text.index("\n", at) + 1, edit["after"]
    return f"{text[:at]}{line}\n{text[at:]}"


def _compile(tree: Path) -> Path:
    jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    log = tree / "idse-build.log"
    logger.info("compiling libx264 with %d jobs", jobs)
    _logged(["./configure", *_CONFIGURE], tree, log)
    _logged(["make", f"-j{jobs}", "lib-shared", f"SONAME={_SONAME}"], tree, log)
    return tree / _SONAME


def _logged(command: Sequence[str], tree: Path, log: Path) -> None:
    with log.open("ab") as stream:
        done = subprocess.run(command, cwd=tree, stdout=stream, stderr=stream, check=False)
    if done.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise CodecError(
            f"{' '.join(command)} fails in x264's source, last lines: "
            f"{' | '.join(lines[-_LOG_LINES:])}"
        )


def _need(command: str, package: str) -> None:
    """Make sure that ``command`` is there: installed where we are root, else named."""
    if shutil.which(command):
        return
    apt, line = shutil.which("apt-get"), f"apt-get install -y --no-install-recommends {package}"
    if apt and os.geteuid() == 0:
        logger.warning("installing the Debian package %s", package)
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update", "-qq"], [*line.split()[1:], "-qq"]):
            subprocess.run([apt, *arguments], env=environment, capture_output=True, check=False)
    if not shutil.which(command):
        raise UnavailableError(f"{command} is missing, run: sudo {line}")


def _record_path(library: Path) -> Path:
    return library.with_name(library.name + ".json")
