"""Pools of processes, and Ctrl-C while they begin."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.fast

PROGRAM = """
import pathlib, signal, sys, time

if __name__ == "__mp_main__":  # what a process imports before it can do anything
    pathlib.Path("begun").touch()
    time.sleep(0.5)

if __name__ == "__main__":
    from idse.processes import Workers

    try:
        with Workers(1, interrupt=signal.Handlers[sys.argv[1]], begin=print) as workers:
            print(workers.submit(abs, -3).result())
    except KeyboardInterrupt:
        sys.exit("interrupted")
"""


@pytest.mark.parametrize("interrupt", ["SIG_DFL", "SIG_IGN"])
def test_processes_say_nothing_to_ctrl_c_while_they_begin(interrupt, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "program.py", interrupt],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A test run in the background ignores Ctrl-C, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert said == "interrupted\n"
    assert process.returncode == 1
