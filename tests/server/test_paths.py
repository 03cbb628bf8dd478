"""Sockets under names: one server each, this user's folders, nothing left over."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from idse.errors import AccessError, InputError, OutputError
from idse.server.paths import SocketFile, default_socket, http_socket

pytestmark = pytest.mark.fast


def test_a_socket_is_this_users_and_goes_with_its_server(tmp_path):
    path = tmp_path / "made" / "s"
    made = SocketFile(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(os.fspath(path))
    made.close()
    assert list(path.parent.iterdir()) == []


def test_one_server_at_a_time_and_what_a_killed_one_left_is_no_hindrance(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(os.fspath(path))
    made = SocketFile(path)
    with pytest.raises(InputError, match="another server listens"):
        SocketFile(path)
    made.close()
    SocketFile(path).close()


def test_what_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(OutputError, match="which is no socket: name another path"):
        SocketFile(path)
    assert not list(tmp_path.glob("*.lock"))
    assert path.read_text() == "mine"
    with pytest.raises(OutputError, match="cannot listen"):
        SocketFile(path / "below")


def test_a_folder_that_others_may_write_is_refused(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(AccessError, match="writable by others"):
        SocketFile(shared / "s")
    with pytest.raises(InputError, match="more than 107 bytes"):
        SocketFile(tmp_path / ("s" * 120))


def test_the_usual_socket_is_where_users_keep_theirs(monkeypatch, tmp_path):
    monkeypatch.setenv("IDSE_SOCKET", "/somewhere/s")
    assert default_socket() == Path("/somewhere/s")
    assert http_socket(default_socket()) == Path("/somewhere/s.http")
    monkeypatch.delenv("IDSE_SOCKET")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert default_socket() == Path("/run/user/7/idse/serve.sock")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert default_socket() == tmp_path / f"idse-{os.getuid()}" / "serve.sock"


def test_pictures_are_not_shown_to_whoever_has_made_the_usual_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("IDSE_SOCKET", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / f"idse-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o700)
    assert default_socket().parent == folder
    folder.chmod(0o777)
    with pytest.raises(AccessError, match="writable by others"):
        default_socket()
