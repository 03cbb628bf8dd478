"""What the preloaded library costs an encoder, against stock, at 1080p and preset medium.

    python tools/bench/preload_cost.py [--runs 7] [--clip FILE]

ffmpeg encodes the same raw pictures with one thread, configurations take turns, and the processor
time of the process is compared run by run with stock's of the same turn. Offsets are zeros, which
x264 is not handed: what it does is what stock does, so that all that is left is the library's own.
The sidecar is one that thinks nothing and answers at once, in a process of its own. The time that
the library spends in itself (copies included, waiting excluded) it measures, too. Run it on an
otherwise idle machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import command_line, data, machine, parser

from idse.dropin.launch import environment
from idse.evaluation.table import markdown_table, write_results

WIDTH, HEIGHT = 1920, 1080
ROWS, COLUMNS = 68, 120
STOCK = "stock"
PEER = Path(__file__).parents[2] / "tests" / "preload" / "preload_peer.py"


def raw(clip: Path, pictures: int, target: Path) -> None:
    """Write pictures of 1080p, unpacked."""
    scale = f"scale={WIDTH}:{HEIGHT}:flags=lanczos,format=yuv420p"
    command = ["ffmpeg", "-v", "error", "-i", str(clip), "-vf", scale]
    command += ["-frames:v", str(pictures), "-f", "rawvideo", str(target)]
    subprocess.run(command, check=True)


def encode(source: Path, variables: dict[str, str]) -> float:
    """Encode with one thread; return the processor seconds of the process."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
    command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", str(source), "-c:v", "libx264"]
    command += ["-preset", "medium", "-threads", "1", "-f", "null", "-"]
    process = subprocess.Popen(command, env=variables)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def zeros(path: Path, pictures: int) -> Path:
    """Write offsets that are nothing."""
    header = np.array([COLUMNS, ROWS, pictures, 0], "<u4").tobytes()
    nothing = np.zeros((pictures, ROWS, COLUMNS), "<f4").tobytes()
    path.write_bytes(b"IDSEQPO1" + header + nothing)
    return path


def configurations(folder: Path, socket: Path, pictures: int) -> dict[str, dict[str, str] | None]:
    """Return what is compared: environments, None for stock's."""
    report = folder / "report"
    offsets = zeros(folder / "zeros", pictures)
    return {
        STOCK: None,
        "preloaded, nothing asked for": environment(os.environ),
        "offsets from a file in memory": environment(os.environ, offsets=offsets, report=report),
        "sidecar, waiting": environment(os.environ, socket=socket, report=report),
        "sidecar, live": environment(os.environ, socket=socket, report=report, live=True),
    }


def measure(runs: int, pictures: int, clip: Path) -> dict[str, dict[str, Any]]:
    """Return processor seconds and the library's own, by configuration."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        source, socket = folder / "clip.yuv", folder / "s.sock"
        raw(clip, pictures, source)
        environments = configurations(folder, socket, pictures)
        found: dict[str, dict[str, Any]] = {
            what: {"seconds": [], "own_ms": [], "waited_ms": []} for what in environments
        }
        peer = subprocess.Popen(
            [sys.executable, PEER, socket, "--lookahead", "8", "--neutral"],
            stdout=subprocess.PIPE,
        )
        assert peer.stdout is not None
        peer.stdout.readline()  # it listens
        try:
            for turn in range(-1, runs):
                for what, variables in environments.items():
                    report = folder / "report"
                    report.unlink(missing_ok=True)
                    seconds = encode(source, dict(os.environ) if variables is None else variables)
                    if turn < 0:
                        continue  # warms up caches
                    found[what]["seconds"].append(seconds)
                    if report.exists():
                        facts = json.loads(report.read_text())
                        assert facts["frames"] == pictures
                        # An encoder that went without its sidecar would cost nothing.
                        assert facts["mode"] == "file" or facts["sessions"] == 1
                        assert facts["mode"] == "live" or facts["lost"] == 0
                        found[what]["own_ms"].append(facts["own_ns"] / 1e6 / pictures)
                        found[what]["waited_ms"].append(facts["waited_ns"] / 1e6 / pictures)
        finally:
            peer.kill()
            peer.communicate()
    return found


HEAD = ["encoder", "CPU ms a picture", "against stock, median", "of turns", "own ms", "own share"]


def summarised(found: dict[str, dict[str, Any]], pictures: int) -> list[list[str]]:
    """Return rows of a table."""
    rows = []
    whole = 1e3 * statistics.median(found[STOCK]["seconds"]) / pictures
    for what, taken in found.items():
        pairs = zip(taken["seconds"], found[STOCK]["seconds"], strict=True)
        shares = [100 * (ours / stock - 1) for ours, stock in pairs]
        own = statistics.median(taken["own_ms"]) if taken["own_ms"] else None
        rows.append(
            [
                what,
                f"{1e3 * statistics.median(taken['seconds']) / pictures:.2f}",
                "" if what == STOCK else f"{statistics.median(shares):+.2f} %",
                "" if what == STOCK else f"{min(shares):+.2f} to {max(shares):+.2f} %",
                "" if own is None else f"{own:.3f}",
                "" if own is None else f"{100 * own / whole:.2f} %",
            ]
        )
    return rows


def told(rows: list[list[str]], command: str, facts: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    return (
        f"# Cost of the preloaded library\n\n`{command}`, {facts['processor']}, "
        f"{facts['cores']} cores, load {facts['load_before']:.1f} before. Pictures of 1080p are "
        "encoded at preset medium by one thread; offsets are zeros, so that x264 does what it does "
        "alone. What is ours is measured in the library itself, by the processor time of the "
        "thread that encodes; where the machine is busy, the difference from stock says less.\n\n"
        + markdown_table(HEAD, rows)
    )


def main() -> None:
    """Measure, and write a table and JSON."""
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=7)
    options.add_argument("--pictures", type=int, default=120)
    options.add_argument("--clip", type=Path, default=None)
    args = options.parse_args()
    facts = machine()
    found = measure(args.runs, args.pictures, args.clip or data("video/vtest.avi"))
    text = told(summarised(found, args.pictures), command_line(), facts)
    print(text)
    results = {"command": command_line(), "machine": facts, "encoders": found}
    write_results(args.results / "preload_cost", data=results, markdown=text)


if __name__ == "__main__":
    main()
