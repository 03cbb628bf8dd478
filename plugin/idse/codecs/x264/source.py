"""x264's source: from a folder or tarball that the user names, or from the distribution.

Nothing of it is part of this package. It is fetched where the library is built, with the machine's
own package manager, which checks it against the distribution's signatures.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from idse.errors import CodecError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

ENVIRONMENT_VARIABLE = "IDSE_X264_SOURCE"

# The builds whose structures the binding knows, and that serve each other's callers.
BUILDS = (164, 165)

_ESSENTIAL = ("configure", "version.sh", "x264.h", "encoder/rdo.c")
# What an earlier build in the user's folder left: x264 would link it.
_LEFT_OVERS = (".git", "*.o", "*.a", "*.so", "*.so.*", ".depend", "config.mak", "config.h")
_TIMEOUT_S = 600


class UnavailableError(CodecError):
    """What a build needs is not on this machine; the message says what to run."""


def unpack_source(named: str | os.PathLike[str] | None, folder: Path) -> Path:
    """Put x264's source into ``folder`` and return where it lies.

    Parameters
    ----------
    named
        A folder or tarball. None takes the one that ``IDSE_X264_SOURCE`` names, else the source
        package of this distribution, through apt, with no change to the system's own lists.
    folder
        An empty folder of our own.

    Raises
    ------
    InputError
        What was named is no source of x264.
    UnavailableError
        The distribution's source cannot be had.
    """
    if named is None:
        named = os.environ.get(ENVIRONMENT_VARIABLE) or None
    tree = folder / "x264"
    if named is None:
        _unpack(_from_distribution(folder / "apt"), tree)
    elif Path(named).is_dir():
        _check(Path(named), named)
        version = _version(Path(named))
        shutil.copytree(named, tree, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OVERS))
        _pin_version(tree, version)
        return tree
    elif Path(named).is_file():
        _unpack(Path(named), tree)
    else:
        raise InputError(f"{os.fspath(named)} is neither a folder nor a tarball of x264's source")
    _check(tree, named or "the distribution's source package")
    _pin_version(tree, _version(tree))
    return tree


def build_number(tree: Path) -> int:
    """Return ``X264_BUILD`` of a source folder, 0 without one."""
    match = re.search(r"^#define X264_BUILD (\d+)", (tree / "x264.h").read_text(), re.MULTILINE)
    return int(match.group(1)) if match else 0


def _check(tree: Path, named: str | os.PathLike[str]) -> None:
    missing = [name for name in _ESSENTIAL if not (tree / name).is_file()]
    if missing:
        raise InputError(f"{os.fspath(named)} is no source of x264: it has no {missing[0]}")
    build = build_number(tree)
    if build not in BUILDS:
        known = " and ".join(map(str, BUILDS))
        raise InputError(f"{os.fspath(named)} is build {build} of x264; known are {known}")


def _version(tree: Path) -> str:
    done = subprocess.run(
        ["sh", "version.sh"], cwd=tree, capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode or "X264_VERSION" not in done.stdout:
        raise UnavailableError(f"version.sh of x264 in {tree} fails: {done.stderr.strip()}")
    return done.stdout


def _pin_version(tree: Path, version: str) -> None:
    """Let the build report what the source was: edited, it would call itself modified.

    x264 writes its version into every stream, and an unweighted stream is to be stock's.
    """
    (tree / "version.sh").write_text(f"#!/bin/sh\ncat <<'END'\n{version}END\n")


def _unpack(tarball: Path, tree: Path) -> None:
    unpacked = tree.with_name("unpacked")
    unpacked.mkdir()
    try:
        with tarfile.open(tarball) as archive:
            # Python before 3.11.4 has no filters.
            if hasattr(tarfile, "data_filter"):
                archive.extractall(unpacked, filter="data")
            else:
                archive.extractall(unpacked)  # noqa: S202
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{tarball} cannot be unpacked: {error}") from error
    inside = list(unpacked.iterdir())
    (inside[0] if len(inside) == 1 and inside[0].is_dir() else unpacked).rename(tree)


# -- the distribution's package


def _from_distribution(folder: Path) -> Path:
    apt = shutil.which("apt-get")
    if apt is None:
        raise UnavailableError(
            "this system has no apt-get to fetch x264's source with: fetch it yourself and name "
            f"the folder or tarball with --source or {ENVIRONMENT_VARIABLE}"
        )
    options = _private_apt(folder)
    downloads = folder / "downloads"
    downloads.mkdir()
    update = _run([apt, *options, "update"], downloads)
    fetch = _run([apt, *options, "source", "--download-only", "x264"], downloads)
    found = sorted(downloads.glob("x264_*.orig.tar.*"))
    found = [path for path in found if path.suffix != ".asc"]
    if fetch.returncode or not found:
        said = (fetch.stderr.strip() or update.stderr.strip()).splitlines()
        raise UnavailableError(
            f"apt-get does not fetch x264's source: {said[-1] if said else 'no x264_*.orig.tar'}. "
            "On a machine with network and deb-src sources run: apt-get source --download-only "
            "x264; then here: idse build-x264 --source x264_*.orig.tar.gz"
        )
    return found[0]


def _private_apt(folder: Path) -> list[str]:
    """Return apt's options for lists and sources of our own: needs no root and changes nothing."""
    parts = folder / "sources.d"
    for directory in (parts, folder / "lists" / "partial", folder / "cache" / "archives/partial"):
        directory.mkdir(parents=True)
    (folder / "sources.list").write_text("")
    count = 0
    etc = Path("/etc/apt")
    for path in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))):
        if not path.is_file() or path.suffix not in {".list", ".sources"}:
            continue
        convert = _source_lines if path.suffix == ".list" else _source_stanzas
        text = convert(path.read_text(encoding="utf-8", errors="replace"))
        if text:
            (parts / f"{count}{path.suffix}").write_text(text)
            count += 1
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": parts,
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Debug::NoLocking": "true",
        "Acquire::Languages": "none",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
        # As root apt would download as another user, who may not write here.
        **({"APT::Sandbox::User": "root"} if os.geteuid() == 0 else {}),
    }
    return [word for key, value in options.items() for word in ("-o", f"{key}={value}")]


def _source_lines(text: str) -> str:
    """Return one-line sources as deb-src."""
    lines = (line.strip() for line in text.splitlines())
    return "".join(f"deb-src {line[4:]}\n" for line in lines if line.startswith(("deb ", "deb\t")))


def _source_stanzas(text: str) -> str:
    """Return deb822 sources as deb-src."""
    stanzas = []
    for stanza in re.split(r"\n\s*\n", text):
        types = re.search(r"^Types:(.*)$", stanza, re.MULTILINE | re.IGNORECASE)
        disabled = re.search(r"^Enabled:\s*no\b", stanza, re.MULTILINE | re.IGNORECASE)
        if types and not disabled and "deb" in types.group(1).split():
            stanzas.append(stanza.replace(types.group(0), "Types: deb-src").strip() + "\n")
    return "\n".join(stanzas)


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{' '.join(command[-2:])} took more than {_TIMEOUT_S} s") from error
