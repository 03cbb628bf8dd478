"""Whatever becomes of the sidecar, the encode ends and has every picture; steering comes back."""

import os
import re
import shutil
import signal
import socket as sockets
import subprocess
import threading
import time

import pytest
from preload_runs import PICTURES, ffmpeg, misses, peer, wanted

from idse.codecs.h264 import read_macroblocks

DEFAULTS = {"crf": "26"}
# Long enough at twenty pictures a second for somebody to interfere.
LONG = "testsrc2=s=256x192:r=20:d=4"
LONG_PICTURES = 80


def encode(output, socket, **settings):
    return ffmpeg(output, params=DEFAULTS, IDSE_SOCKET=socket, **settings)


def whole(run, output, pictures=PICTURES):
    """Every picture is there, once."""
    assert run.report["frames"] == pictures
    assert len(list(read_macroblocks(output))) == pictures


def interfere(output, socket, action, **settings):
    """Encode at the source's own speed while ``action`` runs beside it."""
    beside = threading.Thread(target=action)
    beside.start()
    try:
        return encode(output, socket, source=LONG, before=["-re"], **settings)
    finally:
        beside.join()


@pytest.mark.fast
def test_without_a_sidecar_the_stream_is_that_of_stock(tmp_path):
    stock = ffmpeg(tmp_path / "stock.h264", params=DEFAULTS, stock=True)
    alone = encode(tmp_path / "alone.h264", tmp_path / "nobody")
    assert alone.data == stock.data
    assert alone.stderr.count("\n") == 1
    assert "no sidecar" in alone.stderr
    assert alone.report["lost"] == PICTURES
    strict = encode(tmp_path / "strict.h264", tmp_path / "nobody", IDSE_STRICT=1, check=False)
    assert strict.code != 0
    assert "IDSE_STRICT" in strict.stderr


@pytest.mark.fast
@pytest.mark.parametrize(
    ("misbehaviour", "said"),
    [
        ("--never", "the test says so"),
        ("--busy", "the test says so"),
        ("--wrong-slot", "nobody understands"),
        ("--bad", "no QP offsets"),
    ],
)
def test_a_sidecar_that_refuses_or_errs(misbehaviour, said, tmp_path):
    stock = ffmpeg(tmp_path / "stock.h264", params=DEFAULTS, stock=True)
    with peer(tmp_path, "--lookahead", 5, misbehaviour) as (socket, _):
        run = encode(tmp_path / "out.h264", socket)
    assert said in run.stderr
    assert run.stderr.count("\n") == 1
    assert run.data == stock.data
    whole(run, tmp_path / "out.h264")


@pytest.mark.fast
@pytest.mark.parametrize(
    "misbehaviour", ["--garbage-after", "--drop-after", "--silent-after", "--mute"]
)
def test_a_sidecar_that_breaks_off(misbehaviour, tmp_path):
    how = [misbehaviour] if misbehaviour == "--mute" else [misbehaviour, 6]
    with peer(tmp_path, "--lookahead", 5, *how) as (socket, _):
        run = encode(tmp_path / "out.h264", socket, IDSE_TIMEOUT=0.5)
    whole(run, tmp_path / "out.h264")
    steered = 0 if misbehaviour == "--mute" else 6
    assert run.report["steered"] == steered
    assert run.report["lost"] == PICTURES - steered
    assert run.stderr.count("\n") == 1


@pytest.mark.full
@pytest.mark.parametrize("mode", ["wait", "live"])
def test_killed_and_started_again(mode, tmp_path):
    output = tmp_path / "out.h264"
    with peer(tmp_path, "--lookahead", 5 if mode == "wait" else 0) as (socket, first):

        def act():
            time.sleep(1)
            first.kill()

        def restart():
            act()
            time.sleep(0.5)
            with peer(tmp_path, "--lookahead", 5 if mode == "wait" else 0):
                done.wait()

        done = threading.Event()
        second = threading.Thread(target=restart)
        second.start()
        try:
            run = encode(output, socket, source=LONG, before=["-re"], IDSE_MODE=mode)
        finally:
            done.set()
            second.join()
    whole(run, output, LONG_PICTURES)
    assert run.report["sessions"] == 2
    assert run.report["lost"] < 50
    assert run.report["steered"] + run.report["lost"] == LONG_PICTURES
    assert "the sidecar is there" in run.stderr


@pytest.mark.full
@pytest.mark.parametrize("mode", ["wait", "live"])
def test_stopped_and_continued(mode, tmp_path):
    output = tmp_path / "out.h264"
    with peer(tmp_path, "--lookahead", 5 if mode == "wait" else 0) as (socket, process):

        def act():
            time.sleep(1)
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(1)
            os.kill(process.pid, signal.SIGCONT)

        began = time.monotonic()
        run = interfere(output, socket, act, IDSE_MODE=mode, IDSE_TIMEOUT=0.3)
        assert time.monotonic() - began < 30
    whole(run, output, LONG_PICTURES)
    assert 0 < run.report["steered"] < LONG_PICTURES
    if mode == "wait":
        assert run.report["sessions"] == 2


@pytest.mark.full
@pytest.mark.parametrize("mode", ["wait", "live"])
def test_started_late(mode, tmp_path):
    output = tmp_path / "out.h264"
    done = threading.Event()

    def late():
        time.sleep(1)
        with peer(tmp_path, "--lookahead", 5 if mode == "wait" else 0):
            done.wait()

    beside = threading.Thread(target=late)
    beside.start()
    try:
        run = encode(output, tmp_path / "s.sock", source=LONG, before=["-re"], IDSE_MODE=mode)
    finally:
        done.set()
        beside.join()
    whole(run, output, LONG_PICTURES)
    assert run.report["steered"] > 15
    assert run.stderr.count("\n") == 2


@pytest.mark.full
def test_offsets_come_after_a_break_as_before_it(tmp_path):
    """Pictures that were in flight go out unsteered; those before and after are exact."""
    output = tmp_path / "out.h264"
    with peer(tmp_path, "--lookahead", 3, "--drop-after", 30) as (socket, _):
        run = ffmpeg(output, source=LONG, before=["-re"], IDSE_SOCKET=socket)
    whole(run, output, LONG_PICTURES)
    asked = wanted(LONG_PICTURES)
    exact = [
        not (frame.coded & ~frame.intra & (frame.qp != 20 + offsets)).any()
        for frame, offsets in zip(read_macroblocks(output), asked, strict=True)
    ]
    assert all(exact[:30])
    assert run.report["sessions"] == 2
    assert sum(exact[30:]) >= run.report["steered"] - 30 > 10


@pytest.mark.fast
@pytest.mark.parametrize("mode", ["wait", "live"])
def test_nobody_accepts(mode, tmp_path):
    """A socket whose queue is full: connecting would block."""
    path = tmp_path / "s.sock"
    listener = sockets.socket(sockets.AF_UNIX)
    listener.bind(str(path))
    listener.listen(0)
    waiting = sockets.socket(sockets.AF_UNIX)
    waiting.connect(str(path))
    run = encode(tmp_path / "out.h264", path, IDSE_MODE=mode)
    whole(run, tmp_path / "out.h264")
    assert "no sidecar" in run.stderr
    waiting.close()
    listener.close()


@pytest.mark.fast
def test_a_slow_sidecar_is_waited_for(tmp_path):
    output = tmp_path / "out.h264"
    with peer(tmp_path, "--lookahead", 5, "--delay", 0.03) as (socket, _):
        run = ffmpeg(output, IDSE_SOCKET=socket)
    assert misses(output, wanted())[0] == 0
    assert run.report["waited_ns"] > 0.2e9


@pytest.mark.full
def test_a_sidecar_that_gets_on_is_waited_for_longer(tmp_path):
    """Each answer takes twice the timeout, but the sidecar says that it is at work."""
    output = tmp_path / "out.h264"
    with peer(tmp_path, "--working", 3) as (socket, _):
        run = ffmpeg(output, IDSE_SOCKET=socket, IDSE_TIMEOUT=0.3)
    assert misses(output, wanted())[0] == 0
    assert run.report["lost"] == 0


@pytest.mark.full
def test_live_makes_no_call_that_blocks(tmp_path):
    """A trace of every system call on the connection, with a sidecar that never answers."""
    trace = tmp_path / "trace"
    calls = "trace=socket,connect,sendmsg,sendto,recvfrom,recvmsg,poll,ppoll,select,pselect6"
    command = ["strace", "-f", "-o", trace, "-e", calls]
    if not shutil.which("strace") or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("strace is missing, or may not trace here")
    with peer(tmp_path, "--silent-after", 3) as (socket, _):
        run = encode(
            tmp_path / "out.h264", socket, wrapper=command, before=["-re"], IDSE_MODE="live"
        )
    whole(run, tmp_path / "out.h264")
    lines = trace.read_text().splitlines()
    opened = [line for line in lines if "socket(AF_UNIX" in line]
    assert len(opened) == 1
    assert "SOCK_NONBLOCK" in opened[0]
    descriptor = opened[0].rsplit("= ", 1)[1]
    talk = [line for line in lines if re.search(rf" (send|recv)\w+\({descriptor},", line)]
    assert len(talk) > PICTURES
    assert all("MSG_DONTWAIT" in line for line in talk)
    assert not [line for line in lines if f"{{fd={descriptor}," in line]
