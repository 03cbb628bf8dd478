"""What ``idse ffmpeg`` and ``idse shell`` share: a program after idse's own options."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from idse.cli._names import check_name
from idse.errors import InputError
from idse.pipeline import arguments

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

# Commands behind whose own options another program's arguments stand, untouched.
COMMANDS = frozenset({"ffmpeg", "shell"})
# Those of their options that take no value.
FLAGS = frozenset({"--live", "--strict", "--weighted", "--help"})


def separate(words: Sequence[str]) -> list[str]:
    """Put ``--`` before the first word that is none of idse's own options.

    Own options begin with two dashes, which no argument of ffmpeg does.
    """
    place = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    if place == len(words) or words[place] not in COMMANDS:
        return list(words)
    at = place + 1
    while at < len(words) and words[at].startswith("--") and words[at] != "--":
        at += 1 if words[at] in FLAGS or "=" in words[at] else 2
    if at < len(words) and words[at] in {"-h", "--"}:
        return list(words)
    return [*words[:at], "--", *words[at:]]


def add_options(parser: argparse.ArgumentParser, *, program: str, optional: bool) -> None:
    """Add idse's own options, and the place of the program's arguments."""
    parser.add_argument(
        "--live", action="store_true", help="never wait: pictures get the newest offsets there are"
    )
    parser.add_argument(
        "--offsets", type=Path, metavar="FILE", help="QP offsets from a file, as they are"
    )
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", help="of the sidecar to use, instead of any other"
    )
    parser.add_argument("--report", metavar="FILE", help="write what was done as JSON")
    parser.add_argument(
        "--strict", action="store_true", help="fail where an encoder cannot be steered"
    )
    arguments.add_offsets(parser)
    parser.add_argument(
        "arguments", nargs="*" if optional else "+", metavar=program, help=f"{program}, untouched"
    )


def run(args: argparse.Namespace, command: Sequence[str]) -> int:
    """Run a program, steered as its options say; return its exit code."""
    from contextlib import ExitStack

    from idse.dropin.launch import environment, read_outcome, run_program
    from idse.dropin.sidecar import sidecar, wish
    from idse.files import check_results, write_atomically

    check_results([args.report], keep=[])
    check_name(args.report, "JSON")
    wanted = wish(args)
    with ExitStack() as stack:
        socket = args.socket
        if args.offsets is not None:
            if not args.offsets.is_file():
                raise InputError(f"--offsets {args.offsets}: there is no such file")
        elif socket is None:
            socket = stack.enter_context(sidecar(wanted))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="idse-"))
        report = Path(folder) / "report.jsonl"
        variables = environment(
            os.environ,
            socket=None if socket is None else socket.absolute(),
            options=wanted.options,
            offsets=None if args.offsets is None else args.offsets.absolute(),
            live=args.live,
            strict=args.strict,
            report=report,
            before=_weighted() if args.weighted else (),
        )
        code = run_program(command, variables)
        outcome = read_outcome(report)
    print(f"idse {args.command}: {outcome.summary()}", file=sys.stderr)
    if args.report is not None:
        facts = {"command": list(command), "exit_code": code, "encoders": list(outcome.encoders)}
        write_atomically(args.report, (json.dumps(facts, indent=2) + "\n").encode())
    return 2 if args.strict and code == 0 and not outcome.whole else code


def _weighted() -> tuple[Path]:
    from idse.codecs.x264 import load_library

    return (load_library(weighted=True).path,)
