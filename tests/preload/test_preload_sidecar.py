"""Encodes with the real sidecar: killed, stopped, late, starved; several encoders at once."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from preload_runs import preloaded, run

from idse.codecs.h264 import read_macroblocks

pytestmark = pytest.mark.full

NETWORKS = Path(__file__).parents[1] / "server"
PICTURES = 60
# Three seconds at the clip's own speed.
CLIP = ["-re", "-f", "lavfi", "-i", "testsrc2=s=256x192:r=20:d=3"]
# A hundred runs: IDSE_CHAOS_RUNS=100.
RUNS = int(os.environ.get("IDSE_CHAOS_RUNS", "6"))


class Server:
    """`idse serve` with a tiny network, which can be started again on the same socket."""

    def __init__(self, socket):
        self.socket = socket
        self.process = None

    def start(self, *, wait=True):
        words = ["serve", "--socket", self.socket, "--model", "tiny_networks:sees_left", "--json"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "idse.cli", *map(str, words)],
            env=os.environ | {"PYTHONPATH": str(NETWORKS)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if wait:
            json.loads(self.process.stdout.readline())

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    @contextlib.contextmanager
    def stopped(self, seconds):
        os.kill(self.process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.process.pid, signal.SIGCONT)
        yield


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path / "s.sock")
    try:
        yield made
    finally:
        made.kill()


def encode(output, socket, *, clip=CLIP, **settings):
    command = ["ffmpeg", "-v", "error", "-y", *clip, "-c:v", "libx264", "-crf", "28", output]
    return run(command, output, IDSE_SOCKET=socket, **settings)


def whole(done, output, pictures=PICTURES):
    assert done.report["frames"] == pictures
    assert len(list(read_macroblocks(output))) == pictures


@pytest.mark.parametrize("mode", ["wait", "live"])
def test_a_sidecar_that_is_killed_and_comes_back(mode, server, tmp_path):
    """The same process of the encoder: the picture where it went is where it goes on."""
    output = tmp_path / "out.h264"
    clip = [word.replace("d=3", "d=20") for word in CLIP]
    server.start()

    def act():
        time.sleep(2)
        server.kill()
        server.start()

    beside = threading.Thread(target=act)
    beside.start()
    done = encode(output, server.socket, clip=clip, IDSE_MODE=mode)
    beside.join()
    whole(done, output, 400)
    assert done.report["sessions"] == 2
    assert done.report["steered"] > 40
    assert "the sidecar is there" in done.stderr


def test_eight_encoders_share_one_sidecar_fairly(server, tmp_path):
    server.start()
    done = {}

    def one(number):
        output = tmp_path / f"{number}.h264"
        done[number] = encode(output, server.socket, IDSE_MODE="live")
        whole(done[number], output)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 8
    assert all(run.report["sessions"] == 1 for run in done.values())
    assert all(run.report["steered"] > PICTURES // 3 for run in done.values())


@pytest.mark.parametrize("number", range(RUNS))
def test_whatever_happens_the_encode_ends(number, server, tmp_path):
    """At random: killed, stopped, late, absent, restarted; any mode. No picture is lost."""
    dice = random.Random(number)
    mode = dice.choice(["wait", "live"])
    output = tmp_path / "out.h264"
    late = dice.random() < 0.3
    if not late:
        server.start()

    def act():
        if late:
            time.sleep(dice.uniform(0, 1))
            server.start()
        time.sleep(dice.uniform(0.1, 2))
        what = dice.choice(["kill", "restart", "stop", "stop and kill"])
        if what.startswith("stop"):
            with server.stopped(dice.uniform(0.2, 1.5)):
                if what == "stop and kill":
                    server.kill()
        else:
            server.kill()
            if what == "restart":
                server.start(wait=False)

    beside = threading.Thread(target=act)
    beside.start()
    begin = time.monotonic()
    try:
        done = encode(output, server.socket, IDSE_MODE=mode, IDSE_TIMEOUT=1)
    finally:
        beside.join()
    assert time.monotonic() - begin < 60
    whole(done, output)


def test_live_over_udp_between_two_ffmpegs(server, tmp_path):
    """A loopback stream: the receiver gets pictures while the sidecar is killed."""
    server.start()
    received = tmp_path / "received.ts"
    port = 20000 + os.getpid() % 20000
    address = f"udp://127.0.0.1:{port}"
    receiver = subprocess.Popen(
        [
            "ffmpeg",
            "-v",
            "error",
            "-y",
            "-timeout",
            "4000000",
            "-i",
            address,
            "-c",
            "copy",
            received,
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    command = ["ffmpeg", "-v", "error", *CLIP, "-c:v", "libx264", "-tune", "zerolatency"]
    command += ["-g", "10", "-f", "mpegts", f"{address}?pkt_size=1316"]
    report = tmp_path / "report"
    sender = subprocess.Popen(
        command,
        env=preloaded(IDSE_SOCKET=server.socket, IDSE_MODE="live", IDSE_REPORT=report),
        stdin=subprocess.DEVNULL,
    )
    time.sleep(1.5)
    server.kill()
    assert sender.wait(30) == 0
    receiver.communicate(timeout=30)
    facts = json.loads(report.read_text())
    assert facts["frames"] == PICTURES
    assert facts["steered"] > 5
    # The first pictures may come before the receiver listens.
    assert len(list(read_macroblocks(received))) > PICTURES // 2
