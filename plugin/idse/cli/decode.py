"""``idse decode``: files of the learned codec in, pictures out."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from idse.cli._names import named
from idse.errors import InputError, describe

_DESCRIPTION = """\
Decode a picture of the learned codec (.ivae, from idse image --fallback vae) to any format that
Pillow writes, by the name of OUT.
"""
_EPILOG = """\
examples:
  idse decode tiny.ivae tiny.png
  idse decode tiny.ivae - --format PNG | display -
  idse decode tiny.ivae tiny.png --vae-model mine.safetensors

An existing OUT is replaced only with --overwrite, and only once the new one is complete. Exit code
0, 2 for an error, 130 for Ctrl-C.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "decode",
        help="decode a picture of the learned codec",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", metavar="IN", type=named, help=".ivae file, or '-' for standard input"
    )
    parser.add_argument(
        "target", metavar="OUT", type=named, help="picture to write, or '-' for standard output"
    )
    parser.add_argument("--format", help="Pillow's name of a format; else by the name of OUT")
    parser.add_argument(
        "--vae-model",
        action="append",
        default=[],
        metavar="FILE",
        help="model that made it; may be repeated (those that came with idse)",
    )
    parser.add_argument("-y", "--overwrite", action="store_true", help="replace OUT if it exists")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from PIL import Image

    from idse.codecs.vae import MAX_BYTES
    from idse.files import check_results, write_atomically
    from idse.pipeline.images.vae import codec_of

    form = _format(args)
    if args.target != "-":
        if Path(args.target).is_file() and not args.overwrite:
            raise InputError(f"{args.target} exists: give --overwrite to replace it")
        check_results([args.target], keep=[args.source])
    if args.source == "-":
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        try:
            with Path(args.source).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"cannot read {args.source}: {error.strerror or error}") from error
    codec = codec_of(tuple(args.vae_model))
    try:
        image = Image.fromarray(codec.decode(data))
    except InputError as error:
        name = "standard input" if args.source == "-" else args.source
        raise InputError(f"cannot decode {name}: {error}") from error
    try:
        if args.target == "-":
            image.save(sys.stdout.buffer, form)
        else:
            made = io.BytesIO()
            image.save(made, form)
            write_atomically(args.target, made.getvalue())
    # What a format cannot hold: more than 65500 pixels a side in a JPEG, say.
    except (ValueError, KeyError) as error:
        raise InputError(f"{form} cannot hold this picture: {describe(error)}") from error
    return 0


def _format(args: argparse.Namespace) -> str:
    """Return Pillow's name of the format to write."""
    from PIL import Image

    Image.init()
    form = args.format
    if form is None:
        if args.target == "-":
            raise InputError("standard output has no name: give --format, such as PNG")
        suffix = Path(args.target).suffix.lower()
        form = Image.registered_extensions().get(suffix)
        if form is None:
            raise InputError(
                f"{args.target}: Pillow writes no {suffix or 'file without an ending'}: name a "
                ".png, or give --format"
            )
    if str(form).upper() not in Image.SAVE:
        raise InputError(f"Pillow writes no {form}: give another format, such as PNG")
    return str(form).upper()
