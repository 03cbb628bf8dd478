"""``idse doctor``: whether encoders of this machine can be steered, tried out."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

_DESCRIPTION = """\
Try out what idse ffmpeg and idse shell promise: encode a small clip by every program that is here
and uses libx264, with offsets that are known, and read its QPs back from the bitstream; and let a
sidecar steer. What is not installed is said; exit code 2 where something that is there is broken.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        help="try out whether encoders can be steered here",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from idse.dropin.doctor import examine, verdict

    checks = []
    marks = {True: "ok", False: "BROKEN", None: "-"}
    for check in examine():
        checks.append(check)
        if not args.json:
            print(f"{marks[check.works]:7} {check.name}: {check.detail}", flush=True)
    if args.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    verdict(checks)
    return 0
