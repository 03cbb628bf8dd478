"""What the command line does before it does anything."""

import os
import subprocess
import sys

import pytest

from idse.cli import build_parser

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
