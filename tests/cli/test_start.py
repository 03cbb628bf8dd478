"""What the command line does before it does anything."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from PIL import Image

from idse.cli import build_parser, main


def commands(words):
    actions = build_parser(words)._subparsers._group_actions
    return set(actions[0].choices)


@pytest.mark.fast
def test_a_command_brings_no_other_command_s_parser():
    assert commands(["-v", "transcode", "a.mp4", "b.mp4"]) == {"transcode"}
    assert {"transcode", "map", "build-x264"} < commands([])
    assert commands(["no-such-command"]) == commands(["--help"]) == commands([])


@pytest.mark.fast
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


@pytest.mark.fast
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


@pytest.mark.fast
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


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_what_waits_inside_a_library(number, tmp_path):
    # A server that takes connections and never answers.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/in.mp4"
        with subprocess.Popen(
            [sys.executable, "-m", "idse.cli", "transcode", url, "out.mp4", "--no-steer"],
            cwd=tmp_path,
        ) as process:
            listener.settimeout(30)
            connection, _ = listener.accept()
            with connection:
                process.send_signal(number)
                assert process.wait(30) == 128 + number
    assert not list(tmp_path.iterdir())


END = """
import os, signal, sys, time
from idse.cli._signals import end_in_order

ended = end_in_order()
numbers = [signal.Signals[name] for name in sys.argv[1:]]
try:
    os.kill(os.getpid(), numbers[0])
except KeyboardInterrupt:
    for number in numbers[1:]:  # while what is half done is removed
        os.kill(os.getpid(), number)
print(*ended)
"""


@pytest.mark.fast
@pytest.mark.parametrize(
    ("names", "code", "said"),
    [
        (["SIGTERM"], 0, "15\n"),
        (["SIGHUP", "SIGHUP"], 0, "1\n"),
        (["SIGTERM", "SIGHUP"], 0, "15\n"),
        (["SIGTERM", "SIGTERM"], -signal.SIGTERM, ""),
        (["SIGHUP", "SIGTERM"], -signal.SIGTERM, ""),
    ],
)
def test_a_second_sigterm_ends_at_once_and_hang_ups_let_it_tidy_up(names, code, said):
    done = subprocess.run(
        [sys.executable, "-c", END, *names], stdout=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, said)


@pytest.mark.fast
def test_what_is_told_to_nobody_may_be_any_text(tmp_path):
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m idse.cli transcode '\udcff.mp4' o.mp4 2>&-"],
        cwd=tmp_path,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        check=False,
    )
    assert done.returncode == 2
