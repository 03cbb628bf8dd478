"""What the command line does before it does anything."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from idse.cli import build_parser, main

pytestmark = pytest.mark.fast


def commands(words):
    actions = build_parser(words)._subparsers._group_actions
    return set(actions[0].choices)


def test_a_command_brings_no_other_command_s_parser():
    assert commands(["-v", "transcode", "a.mp4", "b.mp4"]) == {"transcode"}
    assert {"transcode", "map", "build-x264"} < commands([])
    assert commands(["no-such-command"]) == commands(["--help"]) == commands([])


def test_numpy_starts_no_threads_and_programs_know_nothing_of_it():
    code = (
        "import os; from idse.cli.__main__ import _load_numpy; _load_numpy();"
        "import numpy; print(len(os.listdir('/proc/self/task')), *os.environ)"
    )
    bare = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True
    )
    threads, *names = done.stdout.split()
    assert threads == "1"
    assert "OPENBLAS_NUM_THREADS" not in names


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("image - out.jpg <&-", 2, "idse image: cannot read standard input: it is no picture"),
        ("image in.png - --no-steer >&-", 2, "idse image: [Errno 9] Bad file descriptor"),
        ("transcode in.png out.mp4 --no-steer <&- >&-", 0, ""),
        ("transcode missing.mp4 out.mp4 --no-steer 2>&-", 2, ""),
    ],
)
def test_standard_streams_may_be_closed(words, code, said, tmp_path):
    Image.new("RGB", (64, 48), "grey").save(tmp_path / "in.png")
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m idse.cli {words}"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == bool(said)


@pytest.mark.parametrize(
    "words",
    [["image", "", "out"], ["transcode", "a.mp4", ""], ["inspect", ""], ["decode", "", "-"]],
)
def test_empty_names_are_none(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48), "grey").save("in.png")
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "the name is empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]
