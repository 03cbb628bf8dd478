"""Result files: whole under their name, or not at all; pipes and devices in place."""

import contextlib
import os
import stat
import threading

import pytest

from idse.errors import InputError, OutputError
from idse.files import check_results, is_same_file, open_atomically, write_atomically

pytestmark = pytest.mark.fast


def test_a_file_gets_its_name_at_the_end_and_keeps_its_old_content_after_an_error(tmp_path):
    path = tmp_path / "result"
    path.write_bytes(b"before")
    with contextlib.suppress(ZeroDivisionError), open_atomically(path) as file:
        file.write(b"half")
        assert path.read_bytes() == b"before"
        raise ZeroDivisionError
    assert path.read_bytes() == b"before"
    write_atomically(path, b"after")
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_named_pipe_is_written_and_stays_one(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    with open_atomically(path) as file:
        file.write(b"for ")
        file.write(b"whoever reads")
    reader.join(10)
    assert read == [b"for whoever reads"]
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="it is a folder"):
        write_atomically(tmp_path, b"")
    with pytest.raises(OutputError, match="No such file"):
        write_atomically(tmp_path / "no" / "folder", b"")


def test_a_result_is_no_file_of_the_name_of_standard_output():
    with pytest.raises(InputError, match="name one, or /dev/stdout"):
        check_results(["-"], keep=[])
    check_results(["/dev/stdout", None], keep=["-"])


def test_files_are_the_same_by_any_name_and_what_is_no_file_is_none(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.touch()
    link.symlink_to(path)
    assert is_same_file(str(path), str(link))
    assert not is_same_file(str(path), str(tmp_path / "other"))
    assert not is_same_file(os.devnull, os.devnull)
    endless = "concat:" + 300 * "a|"
    assert not is_same_file(endless, endless)
