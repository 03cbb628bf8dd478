"""``idse shell``: an environment in which every program's libx264 is steered."""

from __future__ import annotations

import argparse
import os

from idse.cli import _steered

_DESCRIPTION = """\
Run a program, or a shell, in which whatever encodes by libx264 is steered as by `idse ffmpeg`:
GStreamer's x264enc, OBS, Python with PyAV. Programs with libx264 linked into them are not reached.
"""
_EPILOG = """\
examples:
  idse shell                                     a shell; leave it with exit
  idse shell gst-launch-1.0 filesrc location=street.mp4 ! decodebin ! x264enc ! filesink location=a
  idse shell --live -- obs
  idse shell python encode.py
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "shell",
        help="run any program, its libx264 steered",
        usage="idse shell [options] [--] [COMMAND ...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _steered.add_options(parser, program="COMMAND", optional=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return _steered.run(args, args.arguments or [os.environ.get("SHELL") or "/bin/sh"])
