"""Pools of processes: Ctrl-C and hang-ups while they begin, and an end with their parent."""

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

    signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        interrupt = signal.Handlers[sys.argv[1]]
        with Workers(1, interrupt=interrupt, begin=abs, arguments=(0,)) as workers:
            print(workers.submit(abs, -3).result())
    except KeyboardInterrupt:
        sys.exit("interrupted")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("interrupt", ["SIG_DFL", "SIG_IGN"])
def test_processes_say_nothing_to_a_terminal_while_they_begin(interrupt, number, tmp_path):
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
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=30)
    assert said == "interrupted\n"
    assert process.returncode == 1


ORPHAN = """
import os, signal, sys

if __name__ == "__main__":
    from idse.processes import Workers

    with Workers(1, interrupt=signal.SIG_DFL, begin=abs, arguments=(0,)) as workers:
        print(workers.submit(os.getpid).result(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "program.py").write_text(ORPHAN)
    # Ends when nobody can write any more: neither the parent nor the process.
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == -signal.SIGKILL
    assert int(done.stdout) > 0
