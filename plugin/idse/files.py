"""Writing of result files: whole under the final name, or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from idse.errors import InputError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_results(results: Iterable[str | None], *, keep: Iterable[str]) -> None:
    """Check the names of files that are to be written, before any work is put into them.

    Parameters
    ----------
    results
        Paths; None for a file that nobody asked for.
    keep
        What none of them may replace: the input, and other results.

    Raises
    ------
    InputError
        A result would replace the input or another result.
    OutputError
        It is a folder, or its folder does not exist.
    """
    taken = {os.path.realpath(path) for path in keep}
    for result in results:
        if result is None:
            continue
        path = Path(os.path.realpath(result))
        if path.exists() and not path.is_file() and not path.is_dir():
            continue  # a pipe or a device takes any number of results
        if os.fspath(path) in taken:
            raise InputError(f"{result} is the input or another result: name another file to write")
        if path.is_dir():
            raise OutputError(f"cannot write {result}: it is a folder")
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {result}: there is no folder {path.parent}")
        taken.add(os.fspath(path))


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` so that no reader ever sees a part of it.

    The bytes go to a file beside it, reach the disk, and are then renamed. What is no regular file
    (``/dev/stdout``, a named pipe) is written in place.

    Raises
    ------
    OutputError
        It cannot be written (no such folder, no permission, disk full). A file that was there
        before is still there; nothing else is left.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if target.exists() and not target.is_file() and not target.is_dir():
            target.write_bytes(data)
            return
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise OutputError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
