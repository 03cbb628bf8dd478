"""What steering costs: `idse transcode` with its defaults against stock ffmpeg, in one run.

The programs take turns on the same clip, so that a slow minute of the machine hits all of them;
every ratio is the median over the turns. Run it on an otherwise idle machine.

    python tools/bench/cost.py [--runs 5] [--loops 10]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench_common import command_line, data, machine, need, parser

from idse.evaluation.table import markdown_table, write_results
from idse.evaluation.usage import Usage, run

MIB = 1 << 20
STOCK = "ffmpeg"
FFMPEG = ("ffmpeg", "-v", "error", "-nostdin", "-y")


def programs(clip: Path, out: Path) -> dict[str, list[str | Path]]:
    """Return the commands that are compared, by name."""
    idse: list[str | Path] = [sys.executable, "-m", "idse.cli", "transcode"]
    return {
        STOCK: [*FFMPEG, "-i", clip, "-c:v", "libx264", "-preset", "medium", out],
        "idse transcode --no-steer": [*idse, "--no-steer", clip, out],
        "idse transcode": [*idse, clip, out],
    }


def take_turns(clip: Path, out: Path, runs: int) -> dict[str, list[Usage]]:
    """Run every program ``runs`` times in turn, once more before to fill the caches."""
    usages: dict[str, list[Usage]] = {name: [] for name in programs(clip, out)}
    for turn in range(runs + 1):
        for name, command in programs(clip, out).items():
            out.unlink(missing_ok=True)
            usage = run(command)
            if turn:
                usages[name].append(usage)
    return usages


def ratio(usages: dict[str, list[Usage]], name: str, field: str) -> float:
    """Return the median over the turns of a program's ``field`` over stock's."""
    pairs = zip(usages[name], usages[STOCK], strict=True)
    return statistics.median(getattr(a, field) / getattr(b, field) for a, b in pairs)


def rows(usages: dict[str, list[Usage]]) -> list[list[str]]:
    """Return the table's rows: medians, and ratios to stock of the same turn."""
    return [
        [
            name,
            f"{statistics.median(u.wall for u in usage):.1f}",
            f"{ratio(usages, name, 'wall'):.2f}",
            f"{statistics.median(u.cpu for u in usage):.1f}",
            f"{ratio(usages, name, 'cpu'):.2f}",
            f"{statistics.median(u.peak for u in usage) / MIB:.0f}",
        ]
        for name, usage in usages.items()
    ]


def main() -> None:
    """Measure, print and write ``results/cost.{json,md}``."""
    options = parser(__doc__)
    options.add_argument("--input", type=Path, help="clip (default: vtest.avi)")
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--loops", type=int, default=10, help="length of the long clip; 0: none")
    args = options.parse_args()
    need("ffmpeg")
    clip = args.input or data("video/vtest.avi")
    facts = machine()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.mp4"
        usages = take_turns(clip, out, args.runs)
        long: Usage | None = None
        if args.loops:
            looped = Path(scratch) / f"long{clip.suffix}"
            loop = ["-stream_loop", str(args.loops - 1)]
            run([*FFMPEG, *loop, "-i", clip, "-map", "0:v:0", "-c", "copy", looped])
            long = run(programs(looped, out.with_name("long.mp4"))["idse transcode"])

    text = f"# Cost of steering\n\n`{command_line()}`\n\n"
    text += f"{clip.name}, preset medium, medians of {args.runs} turns; {facts['cores']} cores of "
    text += f"{facts['processor']}, load {facts['load_before']:.2f} before the run.\n\n"
    header = ["", "wall s", "x stock", "CPU s", "x stock", "peak MiB"]
    text += markdown_table(header, rows(usages))
    if long:
        short = statistics.median(u.peak for u in usages["idse transcode"])
        text += f"\nPeak memory of `idse transcode`: {short / MIB:.0f} MiB; of the clip "
        text += f"{args.loops} times over: {long.peak / MIB:.0f} MiB "
        text += f"({(long.peak - short) / MIB:+.0f}).\n"
    print(text)
    results = {
        "command": command_line(),
        "machine": facts,
        "turns": {name: [asdict(u) for u in usage] for name, usage in usages.items()},
        "long": asdict(long) | {"loops": args.loops} if long else None,
    }
    write_results(args.results / "cost", data=results, markdown=text)


if __name__ == "__main__":
    main()
