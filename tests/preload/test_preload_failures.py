"""Whatever becomes of the sidecar, the encode ends and has every picture; steering comes back."""

import os
import re
import shutil
import signal
import socket as sockets
import subprocess

import pytest
from preload_runs import PICTURES, Fed, ffmpeg, misses, peer, shown, wanted

from idse.codecs.h264 import read_macroblocks
from x264_recipes import VERBATIM

DEFAULTS = {"crf": "26"}
# Pictures that a sidecar may have been shown, and the encoder may hold back, when it goes.
LOOKAHEAD = 5
IN_FLIGHT = 2 * LOOKAHEAD


def encode(output, socket, **settings):
    return ffmpeg(output, params=DEFAULTS, IDSE_SOCKET=socket, **settings)


def whole(run, output, pictures=PICTURES):
    """Every picture is there, once."""
    assert run.report["frames"] == pictures
    assert len(list(read_macroblocks(output))) == pictures


def fed(output, socket, **settings):
    return Fed(output, params=DEFAULTS, IDSE_SOCKET=socket, **settings)


def looking(mode):
    return ["--lookahead", LOOKAHEAD if mode == "wait" else 0]


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
    # Silence is known by the time that it takes alone.
    patience = 1.5 if misbehaviour in {"--silent-after", "--mute"} else 60
    with peer(tmp_path, "--lookahead", 5, "--once", *how) as (socket, _):
        run = encode(tmp_path / "out.h264", socket, IDSE_TIMEOUT=patience)
    whole(run, tmp_path / "out.h264")
    steered = 0 if misbehaviour == "--mute" else 6
    assert run.report["steered"] == steered
    assert run.report["lost"] == PICTURES - steered
    assert run.stderr.count("\n") == 1


@pytest.mark.fast
def test_a_program_that_may_write_small_files_only(tmp_path):
    """Memory for pictures is a file, too, and a file that is too large ends a process."""
    output = tmp_path / "out.h264"
    small = ["sh", "-c", 'ulimit -f 2000; exec "$@"', "sh"]
    with peer(tmp_path) as (socket, _):
        run = encode(output, socket, wrapper=small)
    whole(run, output)
    assert "no memory for pictures" in run.stderr


@pytest.mark.full
@pytest.mark.parametrize("mode", ["wait", "live"])
def test_killed_and_started_again(mode, tmp_path):
    output = tmp_path / "out.h264"
    seen = [shown(tmp_path / name) for name in ("first", "second")]
    with (
        peer(tmp_path, *looking(mode), "--seen", tmp_path / "first") as (socket, first),
        fed(output, socket, IDSE_MODE=mode) as encoder,
    ):
        begun = encoder.push_until(seen[0])
        encoder.keep_pace(20, seen[0])
        first.kill()
        first.wait()
        encoder.push(5)
        with peer(tmp_path, *looking(mode), "--seen", tmp_path / "second"):
            missed = encoder.push_until(seen[1])
            encoder.keep_pace(20, seen[1])
            run = encoder.end()
    whole(run, output, encoder.pushed)
    assert run.report["sessions"] == 2
    assert run.report["lost"] < begun + 5 + missed + IN_FLIGHT
    assert run.report["steered"] + run.report["lost"] == encoder.pushed
    assert "the sidecar is there" in run.stderr


@pytest.mark.full
@pytest.mark.parametrize("mode", ["wait", "live"])
def test_stopped_and_continued(mode, tmp_path):
    output, seen = tmp_path / "out.h264", tmp_path / "seen"
    with (
        peer(tmp_path, *looking(mode), "--seen", seen) as (socket, process),
        fed(output, socket, IDSE_MODE=mode, IDSE_TIMEOUT=2) as encoder,
    ):
        encoder.keep_pace(20, shown(seen))
        os.kill(process.pid, signal.SIGSTOP)
        # Without waiting, and far more than offsets are used for (two seconds, which are 50): some
        # may still be on their way to the encoder when the sidecar goes on.
        encoder.push(120)
        os.kill(process.pid, signal.SIGCONT)
        before = shown(seen)()
        encoder.push_until(lambda: shown(seen)() > before + IN_FLIGHT)
        encoder.keep_pace(10, shown(seen))
        run = encoder.end()
    whole(run, output, encoder.pushed)
    assert run.report["steered"] + run.report["lost"] == encoder.pushed
    assert run.report["steered"] > 20
    assert run.report["lost"] > 10
    assert run.report["sessions"] == (2 if mode == "wait" else 1)


@pytest.mark.full
@pytest.mark.parametrize("mode", ["wait", "live"])
def test_started_late(mode, tmp_path):
    output, seen = tmp_path / "out.h264", tmp_path / "seen"
    with fed(output, tmp_path / "s.sock", IDSE_MODE=mode) as encoder:
        encoder.push(10)
        with peer(tmp_path, *looking(mode), "--seen", seen):
            encoder.push_until(shown(seen))
            encoder.keep_pace(20, shown(seen))
            run = encoder.end()
    whole(run, output, encoder.pushed)
    assert run.report["steered"] > 15
    assert run.stderr.count("\n") == 2


@pytest.mark.full
def test_offsets_come_after_a_break_as_before_it(tmp_path):
    """Pictures that were in flight go out unsteered; those before and after are exact."""
    output, seen = tmp_path / "out.h264", tmp_path / "seen"
    how = ["--lookahead", 3, "--drop-after", 30, "--seen", seen]
    with (
        peer(tmp_path, *how) as (socket, _),
        Fed(output, params=VERBATIM, IDSE_SOCKET=socket) as encoder,
    ):
        encoder.keep_pace(33, shown(seen))
        encoder.push_until(lambda: shown(seen)() > 40)
        encoder.keep_pace(10, shown(seen))
        run = encoder.end()
    whole(run, output, encoder.pushed)
    asked = wanted(encoder.pushed)
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
    with peer(tmp_path, "--lookahead", 5, "--delay", 0.06) as (socket, _):
        run = ffmpeg(output, IDSE_SOCKET=socket)
    assert misses(output, wanted())[0] == 0
    assert run.report["waited_ns"] > 0.2e9


@pytest.mark.full
def test_a_sidecar_that_gets_on_is_waited_for_longer(tmp_path):
    """Each answer takes longer than the timeout, but the sidecar says that it is at work."""
    output = tmp_path / "out.h264"
    source = "testsrc2=s=256x192:r=10:d=0.4,noise=alls=20:allf=t"
    with peer(tmp_path, "--working", 10) as (socket, _):
        run = ffmpeg(output, source=source, IDSE_SOCKET=socket, IDSE_TIMEOUT=1.5)
    assert misses(output, wanted(4))[0] == 0
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
