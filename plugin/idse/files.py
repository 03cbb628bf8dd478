"""Writing of result files: whole under the final name, or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from idse.errors import OutputError


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
