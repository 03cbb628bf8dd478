"""What the benchmarks share: where data and results are, the machine, and how they are started."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from idse.evaluation.usage import run

if TYPE_CHECKING:
    from idse.evaluation.runner import Progress

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
RESULTS = Path(__file__).resolve().parent / "results"
CACHE = Path(os.environ.get("IDSE_BENCH_CACHE", Path(tempfile.gettempdir()) / "idse-bench"))
JOBS = 2
ANCHOR = "stock default"


def data(relative: str) -> Path:
    """Return a file or folder of the benchmark data, or say what is missing."""
    path = DATA / relative
    if not path.exists():
        sys.exit(f"benchmark data {path} is missing")
    return path


def parser(doc: str | None, *, quick: bool = False) -> argparse.ArgumentParser:
    """Return a parser with what the benchmarks take, described by the first line of ``doc``."""
    made = argparse.ArgumentParser(description=(doc or "").split("\n", maxsplit=1)[0])
    if quick:
        made.add_argument("--quick", action="store_true", help="a smoke test that proves nothing")
    made.add_argument("--results", type=Path, default=RESULTS)
    return made


def command_line() -> str:
    """Return how this benchmark was called, from the repository's root."""
    return shlex.join(["python", f"tools/bench/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def machine() -> dict[str, str | int | float]:
    """Return what timings depend on: processor, cores, other load, versions."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    ffmpeg = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True)
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "ffmpeg": ffmpeg.stdout.split()[2],
        "python": platform.python_version(),
    }


def need(program: str) -> None:
    """Leave with a message where a program is not installed."""
    if shutil.which(program) is None:
        sys.exit(f"{program} is needed and was not found on PATH")


def told(progress: Progress) -> None:
    """Say now and then how far an evaluation is."""
    share = progress.done / max(progress.total, 1)
    print(f"{time.strftime('%H:%M:%S')} {share:4.0%} {progress.what}", file=sys.stderr, flush=True)


def beginning(path: Path, seconds: float) -> Path:
    """Return a copy of the first seconds of a video."""
    part = CACHE / f"{path.stem}-{seconds:g}s{path.suffix}"
    if not part.exists():
        part.parent.mkdir(parents=True, exist_ok=True)
        quiet = ["ffmpeg", "-v", "error", "-nostdin"]
        run([*quiet, "-i", path, "-t", str(seconds), "-c", "copy", part])
    return part
