"""The command line: one file per command, each with ``add_parser`` and ``run``."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import pkgutil
import re
import sys
from typing import TYPE_CHECKING

from idse import __version__
from idse.errors import IdseError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """A parser that says on one line what is wrong, without all options of the command before."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_ERROR, f"{self.prog}: {message}: see {self.prog} --help\n")


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser of ``idse`` with the parsers of its commands attached.

    Parameters
    ----------
    words
        What is going to be parsed: where it names a command, the others are left out, which take
        longer to import than a frame takes to encode.
    """
    parser = _Parser(
        prog="idse",
        description="Steer libx264 and libjpeg-turbo by what a vision network looks at. The output "
        "is plain H.264 and plain JPEG.",
        epilog="Try: idse demo",
    )
    parser.add_argument("--version", action="version", version=f"idse {__version__}")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="more log lines")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    names = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    asked = next((word for word in words if not word.startswith("-")), None)
    for name in names if asked not in names else [asked]:
        module = importlib.import_module(f"idse.cli.{name}")
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (0, 2 for an error, 130 for Ctrl-C)."""
    from idse.cli import _steered  # brings numpy, which the process may want to load its own way

    words = _steered.separate(sys.argv[1:] if argv is None else argv)
    parser = build_parser(words)
    args, unknown = parser.parse_known_args(words)
    if unknown:
        parser.prog += f" {args.command}"
        # As ffmpeg writes them.
        short = any(re.match("-[a-z]{2}", word) for word in unknown)
        hint = ": names of options begin with two dashes" if short else ""
        parser.error(f"unrecognized arguments {' '.join(unknown)}{hint}")
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(args.verbose, 2)]
    logging.basicConfig(level=level, format="idse: %(levelname)s: %(message)s", stream=sys.stderr)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except IdseError as error:
        print(f"idse {args.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print(f"idse {args.command}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away: there is nobody to tell.
        _discard_output()
        return EXIT_ERROR
    except OSError as error:
        print(f"idse {args.command}: {error}", file=sys.stderr)
        _discard_output()
        return EXIT_ERROR
    return code


def _discard_output() -> None:
    """Keep the interpreter from writing what is still buffered to an output that failed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
