"""``idse build-x264``: build libx264 with distortion weights on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "build-x264",
        help="build a libx264 that takes distortion weights",
        description="Build a libx264 that weighs errors inside macroblocks, from x264's own source "
        "(GPL-2.0-or-later), which is fetched from the distribution. It takes a minute or two. "
        "Without weights it writes stock's streams byte for byte.",
    )
    parser.add_argument(
        "--source",
        metavar="PATH",
        help="folder or tarball of x264's source (default: IDSE_X264_SOURCE, else apt)",
    )
    parser.add_argument("--out", metavar="FILE", help="the library to write (default: idse's own)")
    parser.add_argument(
        "--force", action="store_true", help="build also where the library is up to date"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pathlib import Path

    from idse.codecs.x264 import installed_library, load_library
    from idse.codecs.x264.build import build_library, is_current
    from idse.files import check_results

    check_results([args.out], keep=[args.source] if args.source else [])
    target = Path(args.out) if args.out else installed_library()
    if args.force or not is_current(target):
        build_library(args.out, source=args.source)
    else:
        print("up to date (--force builds again)")
    print(f"{target}: x264 {load_library(target, weighted=True).version}, takes weights")
    return 0
