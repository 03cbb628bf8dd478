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
from preload_runs import Fed, run, until

from idse.codecs.h264 import read_macroblocks
from idse.server.kserve import ModelClient
from idse.server.paths import http_socket

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

    def encoders(self):
        """What it says of those that are connected, oldest first."""
        return ModelClient(http_socket(self.socket)).status()["encoders"]

    def answered(self, least, *, count=1):
        """Tell, when asked, whether so many encoders have got so many offsets each."""

        def asked():
            steered = [encoder["steered"] for encoder in self.encoders()]
            return len(steered) == count and min(steered) >= least

        return asked

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
    server.start()
    with Fed(output, params={"crf": "28"}, IDSE_SOCKET=server.socket, IDSE_MODE=mode) as encoder:
        encoder.push_until(server.answered(20))
        server.kill()
        encoder.push(10)
        server.start()
        encoder.push_until(server.answered(20))
        done = encoder.end()
    whole(done, output, encoder.pushed)
    assert done.report["sessions"] == 2
    assert done.report["steered"] >= 40 - 2
    assert "the sidecar is there" in done.stderr


def test_eight_encoders_share_one_sidecar_fairly(server, tmp_path):
    """All hand in as many pictures, and get as many analyses, but for those that are under way."""
    server.start()
    settings = {"params": {"crf": "28"}, "IDSE_SOCKET": server.socket, "IDSE_MODE": "live"}
    with contextlib.ExitStack() as stack:
        encoders = [
            stack.enter_context(Fed(tmp_path / f"{number}.h264", **settings)) for number in range(8)
        ]

        def served():
            for encoder in encoders:
                encoder.push()
            time.sleep(0.02)
            analysed[:] = [encoder["analysed"] for encoder in server.encoders()]
            return server.answered(20, count=8)() and min(analysed) >= least

        least, analysed = 1, []
        until(served)
        before, least = list(analysed), max(analysed) + 3
        until(served)
        done = [encoder.end() for encoder in encoders]
    grown = [now - then for now, then in zip(analysed, before, strict=True)]
    assert max(grown) - min(grown) <= 2, grown
    for encoder, found in zip(encoders, done, strict=True):
        whole(found, encoder.output, encoder.pushed)
        assert found.report["sessions"] == 1
        assert found.report["steered"] >= 20


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
    try:
        done = encode(output, server.socket, IDSE_MODE=mode, IDSE_TIMEOUT=1)
    finally:
        beside.join()
    whole(done, output)


def listens(port):
    """Tell, when asked, whether somebody in this network receives by UDP at a port."""
    entry = f":{port:04X} "
    return lambda: any(entry in line for line in Path("/proc/net/udp").read_text().splitlines())


def test_live_over_udp_between_two_ffmpegs(server, tmp_path):
    """A loopback stream: the receiver gets pictures while the sidecar is killed."""
    server.start()
    received = tmp_path / "received.ts"
    port = 20000 + os.getpid() % 20000
    address = f"udp://127.0.0.1:{port}"
    receiver = subprocess.Popen(
        # It ends when nothing has come for eight seconds.
        [
            *["ffmpeg", "-v", "error", "-y", "-timeout", "8000000", "-i", address],
            *["-c", "copy", received],
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        until(listens(port))
        words = ["-tune", "zerolatency", "-g", "10", "-f", "mpegts", f"{address}?pkt_size=1316"]
        settings = {"IDSE_SOCKET": server.socket, "IDSE_MODE": "live"}
        output = tmp_path / "sent"
        with Fed(output, params={"crf": "28"}, words=words, **settings) as encoder:
            encoder.push_until(server.answered(20))
            server.kill()
            for _ in range(20):
                encoder.push_until(lambda: True)
            done = encoder.end()
        receiver.communicate(timeout=120)
    finally:
        receiver.kill()
    assert done.report["frames"] == encoder.pushed
    assert done.report["steered"] > 5
    # The first pictures, by which the receiver learns what comes, may be lost to it.
    assert len(list(read_macroblocks(received))) > encoder.pushed // 2
