"""What one sidecar costs eight live encoders, against eight that are stock, and how it is shared.

    python tools/bench/sidecar_cost.py [--turns 3] [--nice 5 0] [--model NAME] [--clip FILE]

Eight ffmpegs encode different parts of a clip at once, each with one thread. Sets of eight take
turns: stock, steered live by a sidecar that gives way to them as far as `idse serve` does, and by
one that does not (`--nice`). Each set runs in two ways: as fast as it can, where the sidecar
competes with the encoders for every core, and at the clip's own speed, as live encoders do. What an
encoder works itself is its process' processor time, whatever else the machine does; how fast it
gets on is wall time. Other offsets make x264 itself work more or less: the library's own share is
measured in the library. Analyses are counted by the sidecar, encoder by encoder.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_common import command_line, data, machine, parser

from idse.dropin.launch import environment
from idse.evaluation.table import markdown_table, write_results
from idse.server.priority import NICENESS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

ENCODERS = 8
WIDTH, HEIGHT, RATE = 640, 360, 25
STOCK = "stock"
FAST, LIVE = "as fast as it can", "at its own speed"


class Sidecar:
    """`idse serve` as a process of its own, and what it says of each encoder in the end."""

    def __init__(self, folder: Path, model: str | None, niceness: int) -> None:
        self.socket = folder / "s"
        self._log = (folder / "log").open("w+", encoding="utf-8")
        command = [sys.executable, "-m", "idse.cli", "serve", "--json", "--nice", str(niceness)]
        command += ["--socket", str(self.socket), *(["--model", model] if model else [])]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log)
        assert self._process.stdout is not None
        json.loads(self._process.stdout.readline())

    def worked(self) -> float:
        """Return the processor seconds that it has taken so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def told(self) -> dict[int, dict[str, Any]]:
        """Return what its log says of encoders that are gone, by process."""
        self._log.seek(0)
        lines = [json.loads(line) for line in self._log if '"analysed"' in line]
        return {line["pid"]: line for line in lines}

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait()
        self._log.close()


@contextmanager
def sidecars(
    folder: Path, model: str | None, nice: list[int]
) -> Iterator[dict[str, Sidecar | None]]:
    """Yield what encoders are steered by, by the name of their set."""
    made: dict[str, Sidecar | None] = {STOCK: None}
    try:
        for niceness in nice:
            own = folder / str(niceness)
            own.mkdir()
            made[f"steered, --nice {niceness}"] = Sidecar(own, model, niceness)
        yield made
    finally:
        for sidecar in made.values():
            if sidecar is not None:
                sidecar.end()


def raw(clip: Path, pictures: int, folder: Path) -> list[Path]:
    """Write a part of the clip for each encoder, unpacked."""
    paths = [folder / f"{number}.yuv" for number in range(ENCODERS)]
    for number, path in enumerate(paths):
        chosen = f"select=gte(n\\,{7 * number}),scale={WIDTH}:{HEIGHT},format=yuv420p"
        command = ["ffmpeg", "-v", "error", "-i", str(clip), "-vf", chosen, "-vsync", "0"]
        command += ["-frames:v", str(pictures), "-f", "rawvideo", str(path)]
        subprocess.run(command, check=True)
    return paths


def encode(source: Path, variables: dict[str, str], *, paced: bool) -> dict[str, Any]:
    """Encode with one thread; return processor and wall seconds."""
    command = ["ffmpeg", "-v", "error", "-nostdin", *(["-re"] if paced else [])]
    command += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE)]
    command += ["-i", str(source), "-c:v", "libx264", "-preset", "veryfast" if paced else "medium"]
    command += ["-threads", "1", "-f", "null", "-"]
    begin = time.monotonic()
    process = subprocess.Popen(command, env=variables)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    seconds = time.monotonic() - begin
    return {"pid": process.pid, "cpu": usage.ru_utime + usage.ru_stime, "wall": seconds}


def together(sources: list[Path], sidecar: Sidecar | None, *, paced: bool) -> list[dict[str, Any]]:
    """Run eight encoders at once; return what came of each."""
    found: list[dict[str, Any]] = [{} for _ in sources]
    reports = [source.with_suffix(".report") for source in sources]

    def one(number: int) -> None:
        variables = dict(os.environ)
        if sidecar is not None:
            reports[number].unlink(missing_ok=True)
            variables = environment(
                os.environ, socket=sidecar.socket, live=True, report=reports[number]
            )
        found[number] = encode(sources[number], variables, paced=paced)

    before = 0.0 if sidecar is None else sidecar.worked()
    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if sidecar is None:
        return found
    worked = sidecar.worked() - before
    for item, report in zip(found, reports, strict=True):
        item["report"] = json.loads(report.read_text())
        item["sidecar_cpu"] = worked / len(found)
    return found


def count_analyses(found: list[dict[str, Any]], sidecar: Sidecar) -> None:
    """Add how often each encoder's pictures were analysed, once the sidecar has said so."""
    end = time.monotonic() + 30
    while not {item["pid"] for item in found} <= sidecar.told().keys():
        assert time.monotonic() < end, "the sidecar says nothing of an encoder"
        time.sleep(0.05)
    for item in found:
        item["analysed"] = sidecar.told()[item["pid"]]["analysed"]


def measure(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return what came of every encoder, by way and by set."""
    pictures = round(args.seconds * RATE)
    found: dict[str, dict[str, Any]] = {way: {} for way in (FAST, LIVE)}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        sources = raw(args.clip or data("video/vtest.avi"), pictures, folder)
        with sidecars(folder, args.model, args.nice) as steered:
            for way, sets in found.items():
                for turn in range(-1 if way == FAST else 0, args.turns):
                    for what, sidecar in steered.items():
                        items = together(sources, sidecar, paced=way == LIVE)
                        if sidecar is not None:
                            count_analyses(items, sidecar)
                        for item in items:
                            assert sidecar is None or item["report"]["frames"] == pictures
                            item.update(turn=turn, pictures=pictures)
                        if turn >= 0:  # the first one warms up
                            sets.setdefault(what, []).extend(items)
    return found


def own(item: dict[str, Any]) -> float:
    """Return the milliseconds of processor time per picture of an encoder."""
    return 1e3 * float(item["cpu"]) / int(item["pictures"])


def speed(item: dict[str, Any]) -> float:
    """Return the pictures per second of wall time of an encoder."""
    return int(item["pictures"]) / float(item["wall"])


def share(items: list[dict[str, Any]]) -> float:
    """Return the milliseconds per picture that encoders spend in the library."""
    return statistics.median(
        float(item["report"]["own_ns"]) / 1e6 / int(item["pictures"]) for item in items
    )


def against(
    items: list[dict[str, Any]],
    stock: list[dict[str, Any]],
    what: Callable[[dict[str, Any]], float],
) -> str:
    """Return the median change of encoders from those of the same turn that are stock."""
    pairs = zip(items, stock, strict=True)
    return f"{100 * (statistics.median(what(i) / what(s) for i, s in pairs) - 1):+.1f} %"


HEAD = [
    "encoders",
    "own CPU, ms a picture",
    "of stock",
    "the library's",
    "pictures/s each",
    "slowest",
    "of stock",
]
HEAD += ["analyses each", "analyses/s", "steered", "sidecar's CPU, ms a picture"]


def row(what: str, items: list[dict[str, Any]], stock: list[dict[str, Any]]) -> list[str]:
    """Return one set's row."""
    speeds = [speed(item) for item in items]
    cells = [what, f"{statistics.median(map(own, items)):.2f}"]
    cells += ["", ""] if what == STOCK else [against(items, stock, own), f"{share(items):.3f}"]
    cells += [f"{statistics.median(speeds):.1f}", f"{min(speeds):.1f}"]
    cells += ["" if what == STOCK else against(items, stock, speed)]
    if what == STOCK:
        return [*cells, "", "", "", ""]
    analysed = [int(item["analysed"]) for item in items]
    rate = sum(analysed) / sum(float(item["wall"]) for item in items) * ENCODERS
    pictures = sum(int(item["pictures"]) for item in items)
    steered = sum(int(item["report"]["steered"]) for item in items) / pictures
    work = 1e3 * sum(float(item["sidecar_cpu"]) for item in items) / pictures
    cells += [f"{min(analysed)} to {max(analysed)}", f"{rate:.1f}", f"{100 * steered:.0f} %"]
    return [*cells, f"{work:.2f}"]


def told(found: dict[str, dict[str, Any]], facts: dict[str, Any], seconds: float) -> str:
    """Return the results as Markdown."""
    text = (
        f"# Eight live encoders on one sidecar\n\n`{command_line()}`, {facts['processor']}, "
        f"{facts['cores']} cores, load {facts['load_before']:.1f} before. Each of "
        f"{ENCODERS} ffmpegs encodes {seconds:g} s of {WIDTH}x{HEIGHT} at {RATE} pictures/s with "
        "one thread; sets take turns. `of stock` is the median over encoders and turns of the "
        "change from the same encoder of the same turn's stock set.\n"
    )
    for way, preset in ((FAST, "medium"), (LIVE, "veryfast")):
        rows = [row(what, items, found[way][STOCK]) for what, items in found[way].items()]
        text += f"\n## {way.capitalize()}, preset {preset}\n\n" + markdown_table(HEAD, rows)
    return text


def main() -> None:
    """Measure, and write a table and JSON."""
    options = parser(__doc__)
    options.add_argument("--turns", type=int, default=3)
    options.add_argument("--seconds", type=float, default=10.0, help="of each encoder's clip")
    options.add_argument("--model", default=None, help="of the sidecars, else their own default")
    options.add_argument("--nice", type=int, nargs="+", default=[NICENESS, 0], metavar="N")
    options.add_argument("--clip", type=Path, default=None)
    args = options.parse_args()
    facts = machine()
    found = measure(args)
    text = told(found, facts, args.seconds)
    print(text)
    results = {"command": command_line(), "machine": facts, "encoders": found}
    write_results(args.results / "sidecar_cost", data=results, markdown=text)


if __name__ == "__main__":
    main()
