"""``idse info``: what this installation finds: libraries, versions, and what they can do."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_PACKAGES = ("av", "numpy", "pillow", "safetensors", "torch", "onnx", "scipy")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "info",
        help="libx264s found and what they can do, libjpeg-turbo, ffmpeg, packages",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    facts = gather()
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        _print(facts)
    return 0


def gather() -> dict[str, Any]:
    """Return everything that the command prints; nothing raises for what is missing."""
    from idse import __version__

    return {
        "idse": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: _package(name) for name in _PACKAGES},
        "native": dict(_native()),
        "ffmpeg": _ffmpeg(),
        "libjpeg_turbo": _libjpeg(),
        "x264": list(_libraries()),
        "weighted_distortion": _weighted(),
    }


def _package(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _native() -> Iterator[tuple[str, str]]:
    """Yield each library of the package itself with "loads" or what is wrong with it."""
    import ctypes

    import idse

    for path in sorted((Path(idse.__file__).parent / "_native").glob("*.so")):
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            yield path.name, str(error)
        else:
            yield path.name, "loads"


def _ffmpeg() -> dict[str, str] | None:
    path = shutil.which("ffmpeg")
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "-version"], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"path": path, "version": f"cannot be run: {error}"}
    first = done.stdout.partition("\n")[0].removeprefix("ffmpeg version ")
    return {"path": path, "version": first.partition(" Copyright")[0]}


def _libjpeg() -> dict[str, str]:
    """Return the version that reads and writes JPEG, or why none does."""
    from idse.codecs.jpeg import library_version
    from idse.errors import LibraryLoadError

    try:
        return {"version": library_version()}
    except LibraryLoadError as error:
        return {"error": str(error)}


def _libraries() -> Iterator[dict[str, Any]]:
    """Yield every libx264 there is; the first usable one is what encodes by default."""
    import os

    from idse.codecs.x264.library import (
        ENVIRONMENT_VARIABLE,
        installed_library,
        library_candidates,
    )

    named = os.environ.get(ENVIRONMENT_VARIABLE)
    found = False
    origins = [(Path(named), ENVIRONMENT_VARIABLE)] if named else []
    origins += [(path, "found") for path in library_candidates()]
    for path, origin in origins:
        facts = _library(path, origin)
        # A library that was named is never replaced by another one.
        facts["default"] = not found and "error" not in facts
        found = found or facts["default"] or origin == ENVIRONMENT_VARIABLE
        yield facts
    if installed_library().is_file():
        yield _library(installed_library(), "idse build-x264") | {"default": False}


def _library(path: Path, origin: str) -> dict[str, Any]:
    from idse.codecs.x264 import load_library
    from idse.errors import LibraryLoadError

    facts: dict[str, Any] = {"path": str(path), "origin": origin}
    try:
        library = load_library(path)
    except LibraryLoadError as error:
        return facts | {"error": str(error)}
    return facts | {
        "build": library.build,
        "version": library.version,
        "weighted": library.weighted,
    }


def _weighted() -> dict[str, Any]:
    """Return whether an encode can have distortion weights, with what, or why not."""
    from idse.codecs.x264 import load_library
    from idse.codecs.x264.build import is_current, record_of
    from idse.errors import IdseError

    try:
        path = load_library(weighted=True).path
        facts: dict[str, Any] = {"available": True, "path": str(path)}
        if record_of(path) is not None and not is_current(path):
            facts["note"] = "built from other sources than this package has: idse build-x264"
    except IdseError as error:
        return {"available": False, "reason": str(error)}
    return facts


def _print(facts: dict[str, Any]) -> None:
    print(f"idse {facts['idse']}, Python {facts['python']} on {facts['machine']}")
    for name, version in facts["packages"].items():
        print(f"  {name:12} {version or 'not installed'}")
    print(
        "native parts" if facts["native"] else "native parts: none, pip install the package again"
    )
    for name, state in facts["native"].items():
        print(f"  {name}: {state}")
    ffmpeg = facts["ffmpeg"]
    print(f"ffmpeg: {ffmpeg['version']} ({ffmpeg['path']})" if ffmpeg else "ffmpeg: not found")
    libjpeg = facts["libjpeg_turbo"]
    print(f"libjpeg-turbo: {libjpeg.get('version') or libjpeg['error']}")
    print("libx264" if facts["x264"] else "libx264: none found")
    for library in facts["x264"]:
        mark = "*" if library["default"] else " "
        what = library.get("error") or f"{library['version']}" + (
            ", takes distortion weights" if library["weighted"] else ""
        )
        print(f"{mark} {library['path']} ({library['origin']}): {what}")
    weighted = facts["weighted_distortion"]
    told = weighted.get("path") or weighted["reason"]
    note = f" ({weighted['note']})" if "note" in weighted else ""
    print(f"distortion weights: {'yes' if weighted['available'] else 'no'}, {told}{note}")
