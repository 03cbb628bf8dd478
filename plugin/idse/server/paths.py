"""Where the sidecar listens for processes of the same machine."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import tempfile
from pathlib import Path

from idse.errors import AccessError, InputError, OutputError

ENVIRONMENT_VARIABLE = "IDSE_SOCKET"
# sun_path of sockaddr_un, with the zero that ends it.
_LONGEST = 107
# Beside the socket of encoders: that of KServe's clients.
_HTTP_SUFFIX = ".http"


def default_socket() -> Path:
    """Return the socket of encoders: ``IDSE_SOCKET``, else one in a folder of the user's own.

    Raises
    ------
    AccessError
        That folder is another user's: whoever listens there would be shown pictures.
    """
    given = os.environ.get(ENVIRONMENT_VARIABLE)
    if given:
        return Path(given)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "idse" / "serve.sock"
    folder = Path(tempfile.gettempdir()) / f"idse-{os.getuid()}"
    if folder.exists():
        _check_folder(folder)
    return folder / "serve.sock"


def http_socket(path: Path) -> Path:
    """Return the socket of KServe's clients that belongs to a socket of encoders."""
    return path.with_name(path.name + _HTTP_SUFFIX)


class SocketFile:
    """A Unix socket that listens under a name, which nobody else's server has.

    Parameters
    ----------
    path
        Its folder is made, for this user alone, where it is missing.

    Raises
    ------
    InputError
        The path is too long, or another server listens there.
    AccessError
        The folder belongs to somebody else, who could put another socket there.
    OutputError
        It cannot be made, or is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if len(os.fsencode(path)) > _LONGEST:
            raise InputError(f"socket {path} has more than {_LONGEST} bytes: choose a shorter one")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_folder(path.parent)
            if path.exists() and not path.is_socket():
                raise OutputError(f"cannot listen on {path}, which is no socket: name another path")
            self._lock = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if isinstance(error, AccessError | OutputError):
                raise
            raise OutputError(f"cannot listen on {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise InputError(f"another server listens on {path}: use it, or stop it") from error
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            if path.is_socket():
                path.unlink()  # of a server that was killed: its lock is gone
            before = os.umask(0o177)
            try:
                self.socket.bind(os.fspath(path))
            finally:
                os.umask(before)
            self.socket.listen(64)
        except OSError as error:
            self.socket.close()
            os.close(self._lock)
            raise OutputError(f"cannot listen on {path}: {error.strerror}") from error

    def close(self) -> None:
        """Stop listening, and take the name away."""
        self.socket.close()
        self.path.unlink(missing_ok=True)
        _lock_of(self.path).unlink(missing_ok=True)
        os.close(self._lock)


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _check_folder(folder: Path) -> None:
    found = folder.stat()
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
    if found.st_uid not in (os.getuid(), 0) or others:
        raise AccessError(
            f"folder {folder} is another user's, or writable by others: choose another socket "
            f"(--socket, {ENVIRONMENT_VARIABLE})"
        )
