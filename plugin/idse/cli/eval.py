"""``idse eval``: configurations compared by what networks still see, at equal size."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idse.cli._progress import StatusLine, clock
from idse.evaluation.coders import CODECS
from idse.vision import EXACT_MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.evaluation.configuration import Configuration
    from idse.evaluation.evaluate import Evaluation, Plan
    from idse.evaluation.panel import Panel
    from idse.evaluation.runner import Progress
    from idse.evaluation.suite import Suite

_DESCRIPTION = """\
Compare configurations of idse transcode, or JPEG encoders: each is run at several rates, what it
made is decoded by stock decoders, networks judge what is left of what they saw in the source, and
BD-rates with 95 % intervals say how many bytes the same accuracy costs. By idse transcode images
are coded as intra frames, each a stream of its own, steered as one set; a clip is transcoded whole
and judged in part.
"""
_EPILOG = """\
examples:
  idse eval photos --select odd --config "stock: --no-steer" --config "steered:"
  idse eval street.mp4 --from 40 --to 80 --judge-every 2 --judge yolov4-tiny --judge mobilenet_v2 \\
      --config "stock: --no-steer" --config "n_s 8: --n-s 8" --out results/n_s
  idse eval photos street.mp4 --select report --suite best-of-stock --config "steered:" --jobs 2
  idse eval photos --config "standard: libjpeg-turbo" --config "moz: mozjpeg --quant-table 3"
  idse eval --list-suites

A configuration is a name and options of idse transcode, or a name, a codec and its options; a suite
is a file of them (TOML), one of the package's or your own:

  anchor = "stock"
  [[configuration]]
  name = "stock"
  arguments = "--no-steer"
  [[configuration]]
  name = "denoised"
  arguments = "--no-steer"          # and codec = "mozjpeg" or another for its options
  filter = "hqdn3d"                 # before the encode, as for ffmpeg -vf; or "downscale"
  rates = [19, 23, 27, 31, 35, 39]
  alone = true                      # compared with the anchor alone, over what both reach

"downscale" shrinks to what the first judge looks at. Judged is always against the source itself.
Measurements are kept by content: a run that was interrupted goes on, and one more configuration or
judge costs only itself. Exit code 0, 2 for an error, 130 for Ctrl-C.
"""
_PROGRESS_SECONDS = 0.5


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "eval",
        help="compare configurations at equal accuracy",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="images, folders, or clips")
    what = parser.add_argument_group("what is compared")
    what.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="'NAME: [CODEC] OPTIONS'",
        help="a configuration: options of idse transcode, or of a JPEG encoder that is named "
        f"({', '.join(CODECS[1:])}), possibly none; repeat it",
    )
    what.add_argument(
        "--suite", action="append", default=[], metavar="NAME|FILE", help="configurations in a file"
    )
    what.add_argument("--list-suites", action="store_true", help="list the built-in ones")
    what.add_argument("--anchor", metavar="NAME", help="compare with this one (the first)")
    what.add_argument(
        "--rates",
        metavar="RATE,RATE,...",
        help="at least six: CRFs (23,27,...,47), or qualities of JPEG",
    )
    _add_judging(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="STEM", help="write STEM.json, STEM.md and STEM-*.png")
    output.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    output.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (1)")
    output.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="of measurements (IDSE_EVAL_CACHE, or evaluations in IDSE_HOME)",
    )
    parser.set_defaults(run=run)


def _add_judging(parser: argparse.ArgumentParser) -> None:
    judged = parser.add_argument_group("what is judged, and by whom")
    judged.add_argument(
        "--judge",
        action="append",
        metavar="MODEL",
        help=f"network, as for transcode --model; the first one decides ({EXACT_MODEL})",
    )
    judged.add_argument(
        "--select",
        help="all, odd or even images (from 0), first or second half of clips; report stands for "
        "odd and second, tune for even and first (all)",
    )
    judged.add_argument("--from", type=float, dest="start", metavar="S", help="second of clips")
    judged.add_argument("--to", type=float, dest="end", metavar="S", help="second of clips")
    judged.add_argument(
        "--judge-every", type=int, default=2, metavar="N", help="of a clip's frames (2)"
    )
    judged.add_argument(
        "--block",
        type=float,
        default=5.0,
        metavar="S",
        help="seconds that are resampled as one (5)",
    )
    judged.add_argument(
        "--pix-fmt", help="that images are coded from (yuv420p; for JPEG always rgb24)"
    )
    judged.add_argument(
        "--resamples", type=int, default=1000, metavar="N", help="of the bootstrap (1000)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from idse.evaluation.suite import built_in

    if args.list_suites:
        for name, title in built_in().items():
            print(f"{name:20} {title}")
        return 0
    from idse.evaluation.evaluate import evaluate
    from idse.evaluation.runner import Runner

    begin = time.monotonic()
    suite = _suite(args)
    plan, panel, stem = _plan(args, suite), _panel(args, suite), _stem(args.out)
    shown = _ProgressLine() if sys.stderr.isatty() else None
    try:
        with Runner(args.jobs, progress=shown) as runner:
            found = evaluate(plan, panel, runner)
    finally:
        if shown is not None:
            shown.clear()
    text, data = _report(panel, suite, found, time.monotonic() - begin)
    if stem is not None:
        _write(stem, text, data, found)
    print(json.dumps(data, indent=1) if args.json else text, end="" if not args.json else "\n")
    return 0


def _suite(args: argparse.Namespace) -> Suite:
    """Return all suites as one, with the configurations of the command line at the end."""
    from idse.evaluation.configuration import Configuration
    from idse.evaluation.suite import Suite, load_suite

    own = tuple(Configuration.parse(text) for text in args.config)
    suites = [load_suite(name) for name in args.suite]
    if not suites:
        return Suite(title="Configurations compared", configurations=own)
    first = suites[0]
    for suite in suites[1:]:
        first = first.joined(suite)
    return first.joined(Suite(configurations=own))


def _plan(args: argparse.Namespace, suite: Suite) -> Plan:
    from idse.errors import InputError
    from idse.evaluation.configuration import checked_rates
    from idse.evaluation.evaluate import Plan
    from idse.evaluation.sources import SELECTIONS, find_sources

    selection = args.select or suite.select or "all"
    if selection not in SELECTIONS:
        raise InputError(f"--select {selection!r} is none of {', '.join(SELECTIONS)}")
    if args.resamples < 100:
        raise InputError(f"--resamples {args.resamples}: an interval needs 100 at least")
    rates = checked_rates(args.rates.split(",")) if args.rates else suite.rates
    compared = (*suite.configurations, *(best.base for best in suite.best))
    return Plan(
        # Sources last: an error in a name should not wait for files to be looked through.
        sources=tuple(
            find_sources(
                args.sources or suite.sources,
                selection=selection,
                pix_fmt=args.pix_fmt or suite.pix_fmt or _pix_fmt(compared),
                start=args.start,
                end=args.end,
                step=args.judge_every,
                block=args.block,
            )
        ),
        configurations=suite.configurations,
        best=suite.best,
        anchor=args.anchor or suite.anchor or next((item.name for item in compared), ""),
        rates=rates,
        resamples=args.resamples,
    )


def _pix_fmt(compared: Sequence[Configuration]) -> str:
    """Return the format that the first encoder prefers its images in."""
    return next((item.coder.pix_fmts[0] for item in compared), "yuv420p")


def _panel(args: argparse.Namespace, suite: Suite) -> Panel:
    from idse.errors import InputError
    from idse.evaluation.decoding import need_ffmpeg
    from idse.evaluation.panel import Panel
    from idse.vision.registry import find_model

    need_ffmpeg()
    models = tuple(dict.fromkeys(args.judge or suite.judges or (EXACT_MODEL,)))
    for name in models:
        if "@" in name:
            raise InputError(f"judge {name} must be judged by its output, not a layer")
        if ":" not in name and not name.endswith(".onnx"):
            find_model(name)
    return Panel(models=models, cache=_cache(args.cache))


def _cache(given: Path | None) -> Path:
    from idse.vision.registry import cache_dir

    if given is not None:
        return given
    named = os.environ.get("IDSE_EVAL_CACHE")
    return Path(named) if named else cache_dir() / "evaluations"


def _stem(name: str | None) -> Path | None:
    """Return where results go, after a look whether they can."""
    from idse.errors import OutputError

    if name is None:
        return None
    import idse.evaluation.plots  # noqa: F401 - what it lacks is told now, not at the end

    stem = Path(name)
    if stem.is_dir() or not stem.name:
        raise OutputError(f"cannot write {name}.json: {name} is a folder; add a name")
    if not stem.parent.is_dir():
        raise OutputError(f"cannot write {name}.json: there is no folder {stem.parent}")
    return stem


def _report(
    panel: Panel, suite: Suite, found: Evaluation, seconds: float
) -> tuple[str, dict[str, Any]]:
    """Return the report for people and for programs."""
    from idse import __version__
    from idse.evaluation.report import as_json, markdown

    command = shlex.join(["idse", *sys.argv[1:]])
    text = markdown(
        found,
        title=suite.title or "Configurations compared",
        text=suite.text,
        command=command,
        judges=panel.models,
    )
    facts = {
        "command": command,
        "version": __version__,
        "seconds": round(seconds, 1),
        "anchor": found.plan.anchor,
        "judges": list(panel.models),
        "resamples": found.plan.resamples,
    }
    return text, as_json(found, facts)


def _write(stem: Path, text: str, data: dict[str, Any], found: Evaluation) -> None:
    from idse.evaluation.plots import plot_curves
    from idse.evaluation.table import write_results

    write_results(stem, data=data, markdown=text)
    for result in found.results:
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in result.sample.name)
        path = stem.with_name(f"{stem.name}-{name}.png")
        plot_curves(path, result.curves, title=f"{result.sample.name}: {result.sample.description}")


class _ProgressLine(StatusLine):
    """How far an evaluation is."""

    def __init__(self) -> None:
        super().__init__(_PROGRESS_SECONDS)
        self._begin = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if not self.due():
            return
        share = progress.done / max(progress.total, 1)
        parts = [f"{100 * share:.0f} %", progress.what]
        if share > 0:
            elapsed = time.monotonic() - self._begin
            parts.append(f"ETA {clock(elapsed * (1 / share - 1))}")
        self.show(parts)
