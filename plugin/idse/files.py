"""Writing of result files: whole under the final name, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from idse.errors import InputError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO


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
        A result would replace the input or another result, or has no name but ``"-"``.
    OutputError
        It is a folder, or its folder does not exist.
    """
    taken = {os.path.realpath(path) for path in keep}
    for result in results:
        if result is None:
            continue
        if result == "-":
            raise InputError("-: this goes into a file: name one, or /dev/stdout")
        path = Path(os.path.realpath(result))
        if _is_stream(path):
            continue  # a pipe or a device takes any number of results
        if os.fspath(path) in taken:
            raise InputError(f"{result} is the input or another result: name another file to write")
        if path.is_dir():
            raise OutputError(f"cannot write {result}: it is a folder")
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {result}: there is no folder {path.parent}")
        taken.add(os.fspath(path))


def is_same_file(one: str, other: str) -> bool:
    """Tell whether two names, links among them, are of one file; devices and pipes are none."""
    # Path's raises where a name is too long for a file's, and a source may be named as it likes.
    return os.path.isfile(one) and os.path.realpath(one) == os.path.realpath(other)  # noqa: PTH113


def _is_stream(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def part_of(target: Path) -> Path:
    """Return the name that a result has, beside its final one, while it is being written."""
    return target.with_name(f".{target.name}.{os.getpid()}.part")


@contextlib.contextmanager
def output_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what goes wrong with an output into OutputError."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error


@contextlib.contextmanager
def open_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name at the end of the ``with`` block.

    Until then the bytes go to a file beside it; they reach the disk before it is renamed. After an
    exception nothing is left, and a file that was there before still is. What is no regular file
    (``/dev/stdout``, a named pipe) is written in place.

    Raises
    ------
    OutputError
        It cannot be opened (no such folder, no permission) or completed (disk full).
    """
    target = Path(os.path.realpath(path))
    if _is_stream(target):
        with output_errors(path):
            stream = target.open("wb")
        with stream:
            yield stream
            with output_errors(path):
                stream.flush()
        return
    part = part_of(target)
    with output_errors(path):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        file = part.open("xb")
    try:
        yield file
        with output_errors(path):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            part.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` so that no reader ever sees a part of it.

    Raises
    ------
    OutputError
        As `open_atomically`.
    """
    with output_errors(path), open_atomically(path) as file:
        file.write(data)
