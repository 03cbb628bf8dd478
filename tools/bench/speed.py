"""What steering costs: whole programs against stock ffmpeg, by size and preset, and where it goes.

One command prepares a real clip at 480p, 1080p and 2160p, nearly lossless and quick to decode, and
lets the programs take turns on it, so that a slow minute of the machine hits all of them. Stock is
the system's ffmpeg with its own libx264 and the parameters that steered video starts from
(``idse.allocation.base``): the same AQ and qcomp, CRF, threads. Every ratio is the median over the
turns, of processor time in user and system mode, children included. Run it on an idle machine.

    python tools/bench/speed.py [--runs 3] [--student MODEL]
"""

from __future__ import annotations

import json
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_common import CACHE, RESULTS, command_line, data, machine, need, parser

from idse.allocation.base import BASE_OPTIONS
from idse.evaluation.table import markdown_table, write_results
from idse.evaluation.usage import Usage, run

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

MIB = 1 << 20
STOCK, UNSTEERED, EVERY, CARRIED = (
    "ffmpeg",
    "--no-steer",
    "a map every frame",
    "carried, every 0.5 s",
)
EXACT, FFMPEG = "yolov4-tiny, every 0.5 s", "idse ffmpeg"
QUIET = ("ffmpeg", "-v", "error", "-nostdin", "-y")
PRESETS = ("veryfast", "medium", "slow")
# Programs that are compared at one preset only: nothing of theirs depends on it.
AT_MEDIUM = (UNSTEERED, EXACT, FFMPEG)
PERF_HERTZ = 997

Command = list[str | Path]


@dataclass(frozen=True, kw_only=True)
class Size:
    """A clip's width, height and frames."""

    width: int
    height: int
    frames: int

    @property
    def name(self) -> str:
        """As people call it."""
        return f"{self.height}p"


# As many frames as ten minutes have room for.
SIZES = (
    Size(width=854, height=480, frames=377),
    Size(width=1920, height=1080, frames=250),
    Size(width=3840, height=2160, frames=60),
)
QUICK = (Size(width=320, height=180, frames=12),)


def prepare(source: Path, size: Size) -> Path:
    """Return the clip at a size: made once, by x264 at its fastest and nearly without loss."""
    path = CACHE / f"speed-{source.stem}-{size.name}-{size.frames}.mp4"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{os.getpid()}-{path.name}")
        scale = f"scale={size.width}:{size.height}:flags=lanczos,format=yuv420p"
        cheap = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-an"]
        run([*QUIET, "-i", source, "-vf", scale, "-frames:v", size.frames, *cheap, part])
        part.replace(path)
    return path


def stock(clip: Path, preset: str, out: Path) -> Command:
    """Return stock ffmpeg's command."""
    base = ":".join(f"{name}={value}" for name, value in BASE_OPTIONS.items())
    coded = ["-c:v", "libx264", "-preset", preset, "-crf", "23", "-x264-params", base]
    return [*QUIET, "-i", clip, *coded, out]


def programs(clip: Path, preset: str, out: Path, student: str) -> dict[str, Command]:
    """Return the commands that are compared, by name."""
    idse: Command = [sys.executable, "-m", "idse.cli"]
    ours: Command = [*idse, "transcode", "-y", "--preset", preset, clip, out]
    model = ["--model", student, "--analyse-every"]
    exact = ["--model", "yolov4-tiny", "--analyse-every", "0.5"]
    found = {
        STOCK: stock(clip, preset, out),
        UNSTEERED: [*ours, "--no-steer"],
        EVERY: [*ours, *model, "0"],
        CARRIED: [*ours, *model, "0.5"],
        EXACT: [*ours, *exact],
        FFMPEG: [*idse, "ffmpeg", *model, "0", "--", *stock(clip, preset, out)[1:]],
    }
    if preset == "medium":
        return found
    return {name: command for name, command in found.items() if name not in AT_MEDIUM}


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One run of a program."""

    usage: Usage
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The turns of all programs at one size and preset; the first program is stock."""

    size: Size
    preset: str
    turns: dict[str, list[Turn]]

    def median(self, name: str, field: str) -> float:
        """Return the median of a field of `Usage`."""
        values: list[float] = [getattr(turn.usage, field) for turn in self.turns[name]]
        return statistics.median(values)

    def ratio(self, name: str, field: str) -> float:
        """Return the median over the turns of a program's field over stock's."""
        pairs = zip(self.turns[name], self.turns[STOCK], strict=True)
        ratios: list[float] = [
            getattr(ours.usage, field) / getattr(theirs.usage, field) for ours, theirs in pairs
        ]
        return statistics.median(ratios)

    def rows(self) -> Iterator[list[str]]:
        """Return the table's rows."""
        for name, turns in self.turns.items():
            own, base = turns[0].bytes, self.turns[STOCK][0].bytes
            yield [
                f"{self.size.name} {self.preset}",
                name,
                f"{1e3 * self.median(name, 'cpu') / self.size.frames:.1f}",
                "" if name == STOCK else f"{100 * (self.ratio(name, 'cpu') - 1):+.1f} %",
                f"{self.median(name, 'wall'):.1f}",
                "" if name == STOCK else f"{100 * (self.ratio(name, 'wall') - 1):+.1f} %",
                f"{self.median(name, 'peak') / MIB:.0f}",
                "" if name == STOCK else f"{100 * (own / base - 1):+.0f} %",
            ]


HEAD = ["", "", "CPU ms a frame", "over stock", "wall s", "over stock", "peak MiB", "bytes"]


def compare(
    clips: dict[Size, Path], presets: Iterable[str], runs: int, student: str, scratch: Path
) -> list[Comparison]:
    """Let the programs take turns at everything."""
    found = []
    out = scratch / "out.mp4"
    for size, clip in clips.items():
        for preset in presets:
            commands = programs(clip, preset, out, student)
            turns: dict[str, list[Turn]] = {name: [] for name in commands}
            for turn in range(runs):
                for name, command in commands.items():
                    told(f"{size.name} {preset}, turn {turn + 1} of {runs}: {name}")
                    usage = run(command)
                    turns[name].append(Turn(usage=usage, bytes=out.stat().st_size))
            found.append(Comparison(size=size, preset=preset, turns=turns))
    return found


def told(what: str) -> None:
    """Say what is being done."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


# Starting --------------------------------------------------------------------------------------


def first_packet(command: Command) -> float:
    """Return the seconds until a program writes to its standard output; it is then stopped."""
    begin = time.perf_counter()
    with subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        select.select([process.stdout], [], [], 60)
        seconds = time.perf_counter() - begin
        wrote = bool(os.read(process.stdout.fileno(), 1))
        process.kill()
    if not wrote:
        sys.exit(f"{command} wrote nothing")
    return seconds


def starts(clip: Path, runs: int, student: str, scratch: Path) -> dict[str, dict[str, float]]:
    """Return, by program, medians of seconds to the first packet and of what a frame alone takes.

    x264's own lookahead of 40 frames is left out (tune zerolatency): what is seen is starting,
    the network and the first frame.
    """
    one = scratch / "one.mp4"
    run([*QUIET, "-i", clip, "-frames:v", "1", "-c", "copy", one])
    told("starts")
    found: dict[str, dict[str, float]] = {}
    seconds: dict[str, list[float]] = {}
    usages: dict[str, list[Usage]] = {}
    for _ in range(runs):
        for name, command in programs(one, "medium", scratch / "one-out.mp4", student).items():
            usages.setdefault(name, []).append(run(command))
        for name, command in programs(clip, "medium", Path("-"), student).items():
            if name == FFMPEG:
                continue  # ffmpeg's own packets, behind the start of the server
            live: Command = ["-tune", "zerolatency", "-f", "mpegts"]
            if name == STOCK:
                shown = [*command[:-1], *live, "-"]
            else:
                shown = [*command, "--tune", "zerolatency", "--format", "ts"]
            seconds.setdefault(name, []).append(first_packet(shown))
    for name, usage in usages.items():
        found[name] = {"cpu": statistics.median(u.cpu for u in usage)}
        if name in seconds:
            found[name]["first_packet"] = statistics.median(seconds[name])
    return found


def start_rows(found: dict[str, dict[str, float]]) -> list[list[str]]:
    """Return the table's rows."""
    return [
        [
            name,
            f"{facts['first_packet']:.2f}" if "first_packet" in facts else "",
            f"{facts['cpu']:.2f}",
        ]
        for name, facts in found.items()
    ]


# Where it goes ---------------------------------------------------------------------------------

# Parts of a program by the names of the files that its code lies in, first match first.
PARTS = (
    ("x264", "libx264"),
    ("decoder", "libavcodec"),
    ("demux, mux, scale", "libav"),
    ("demux, mux, scale", "libsw"),
    ("student", "libidse_student"),
    ("motion, rate, carrying", "libidse_kernels"),
    ("torch", "libtorch"),
    ("torch", "libc10"),
    ("numpy", "_multiarray_umath"),
    ("numpy", "openblas"),
    ("Python", "python"),
    ("Python", "_ctypes"),
    ("kernel (memory, threads)", "kernel"),
)
OTHER = "the rest"


def profile(commands: dict[str, Command], frames: int, scratch: Path) -> dict[str, Any] | None:
    """Return milliseconds of processor time a frame by part of each program; None without perf."""
    if shutil.which("perf") is None:
        return None
    found: dict[str, Any] = {}
    for name, command in commands.items():
        told(f"profile: {name}")
        record = scratch / "perf.data"
        shown = subprocess.run(
            ["perf", "record", "-q", "-F", str(PERF_HERTZ), "-o", str(record), *map(str, command)],
            capture_output=True,
            check=False,
        )
        if shown.returncode:
            return None  # no permission to look
        report = ["perf", "report", "-i", str(record), "--stdio", "-g", "none"]
        report += ["--sort", "dso", "--fields", "period,dso", "-t", "|"]
        text = subprocess.run(report, capture_output=True, text=True, check=True)
        found[name] = parts_of(text.stdout, frames)
    return found


def parts_of(report: str, frames: int) -> dict[str, float]:
    """Return milliseconds a frame by part, of perf's report of nanoseconds by file."""
    parts: dict[str, float] = {}
    for line in report.splitlines():
        period, bar, file = line.partition("|")
        if line.startswith("#") or not bar or not period.strip().isdigit():
            continue
        part = next((part for part, mark in PARTS if mark in file), OTHER)
        parts[part] = parts.get(part, 0.0) + int(period) / 1e6 / frames
    return parts


def profile_table(found: dict[str, dict[str, float]]) -> str:
    """Return a Markdown table: parts by programs, in milliseconds a frame."""
    names = dict.fromkeys(part for part, _ in PARTS) | {OTHER: None}
    rows = [
        [part, *(f"{parts[part]:.2f}" if part in parts else "" for parts in found.values())]
        for part in names
        if any(part in parts for parts in found.values())
    ]
    rows.append(["all", *(f"{sum(parts.values()):.2f}" for parts in found.values())])
    return markdown_table(["CPU ms a frame", *found], rows)


# Telling ---------------------------------------------------------------------------------------


def options() -> argparse.Namespace:
    """Read the command line."""
    made = parser(__doc__, quick=True)
    made.add_argument("--input", type=Path, help="clip (default: intel-car-detection.mp4)")
    made.add_argument("--runs", type=int, default=3)
    made.add_argument("--student", default="student", metavar="MODEL")
    before = RESULTS / "speed_before.json"
    made.add_argument(
        "--before", type=Path, default=before, help="earlier results, whose profile is shown, too"
    )
    return made.parse_args()


def text_of(results: dict[str, Any], comparisons: list[Comparison]) -> str:
    """Return the results as Markdown."""
    facts = results["machine"]
    base = ":".join(f"{name}={value}" for name, value in BASE_OPTIONS.items())
    text = (
        f"# Speed\n\n`{results['command']}`\n\n{results['clip']}, scaled; {facts['cores']} cores "
    )
    text += f"of {facts['processor']}, load {facts['load_before']:.2f} before. Stock is ffmpeg "
    text += f"{facts['ffmpeg']} with libx264 at `-crf 23 -x264-params {base}`, threads as many as "
    text += f"each chooses. Medians of {results['runs']} turns; ratios are to stock in the same "
    text += "turn, of whole processes, their start included. The last column is what is written: "
    text += "x264 takes less time for fewer bits.\n\n"
    text += markdown_table(HEAD, [row for found in comparisons for row in found.rows()])
    text += (
        "\n## Starting\n\nSeconds to the first packet (1080p, tune zerolatency, to a pipe), and "
    )
    text += "of processor time for one frame.\n\n"
    text += markdown_table(["", "first packet", "CPU"], start_rows(results["starts"]))
    if results["profile"]:
        text += "\n## Where the time goes\n\n1080p, preset medium, by perf.\n\n"
        text += profile_table(results["profile"])
        text += "\nBefore this was looked into, with maps from a file for every frame:\n\n"
        text += profile_table(results["before"])
    return text


def main() -> None:
    """Measure, print and write ``results/speed.{json,md}``."""
    args = options()
    need("ffmpeg")
    source = args.input or data("video/intel-car-detection.mp4")
    sizes, runs = (QUICK, 1) if args.quick else (SIZES, args.runs)
    presets = ("medium",) if args.quick else PRESETS
    # Installed modules are compiled ones.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(CACHE / "pycache")
    facts = machine()
    clips = {size: prepare(source, size) for size in sizes}
    middle = sizes[len(sizes) // 2]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        first = programs(clips[middle], "medium", scratch / "out.mp4", args.student)
        for command in first.values():
            run(command)  # fills caches
        begun = starts(clips[middle], runs, args.student, scratch)
        seen = {name: first[name] for name in (STOCK, UNSTEERED, EVERY, CARRIED)}
        parts = profile(seen, middle.frames, scratch)
        comparisons = compare(clips, presets, runs, args.student, scratch)
    results = {
        "command": command_line(),
        "machine": facts,
        "clip": source.name,
        "runs": runs,
        "starts": begun,
        "profile": parts,
        "before": json.loads(args.before.read_text("utf-8"))["profile"],
        "comparisons": [asdict(found) for found in comparisons],
    }
    text = text_of(results, comparisons)
    print(text)
    write_results(args.results / "speed", data=results, markdown=text)


if __name__ == "__main__":
    main()
