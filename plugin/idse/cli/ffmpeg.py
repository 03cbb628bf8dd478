"""``idse ffmpeg``: the user's own ffmpeg, its arguments untouched, its libx264 steered."""

from __future__ import annotations

import argparse

from idse.cli import _steered

_DESCRIPTION = """\
Run ffmpeg with its arguments as they are. Wherever it encodes by libx264, every picture gets QP
offsets from the networks that the video is for; no parameter of x264 changes. The networks are
those of `idse serve` where it runs, else they are loaded for this run. Pictures wait for their
offsets, so that the output depends on nothing but the input; --live never waits.
"""
_EPILOG = """\
examples:
  idse ffmpeg -i street.mp4 -c:v libx264 -crf 28 small.mp4
  idse ffmpeg --model efficientnet-lite0 --strength 0.7 -i in.mov -c:v libx264 -c:a copy out.mp4
  idse ffmpeg --live -f v4l2 -i /dev/video0 -c:v libx264 -tune zerolatency -f mpegts udp://host:9
  idse ffmpeg --maps maps.safetensors --report report.json -i street.mp4 -c:v libx264 mapped.mp4

idse's own options stand before those of ffmpeg; -- ends them. Whatever becomes of the networks, the
encode goes on, unsteered where they do not answer, and says so; --strict makes that an error.
The exit code is ffmpeg's.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "ffmpeg",
        help="run ffmpeg, its libx264 steered",
        usage="idse ffmpeg [options] [--] ARGUMENT ...",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _steered.add_options(parser, program="ARGUMENT", optional=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return _steered.run(args, ["ffmpeg", *args.arguments])
