"""The options of ``idse image`` that say how to encode and how to steer, and what they mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from idse.allocation.tables import STRENGTH
from idse.errors import InputError
from idse.importance.bounds import DEFAULT_ROWS
from idse.pipeline.images.options import (
    DEFAULT_QUALITY,
    DEFAULT_SAMPLING,
    FALLBACKS,
    SAMPLINGS,
    ImageSteering,
    JpegOptions,
)
from idse.vision import DEFAULT_MODEL

if TYPE_CHECKING:
    import argparse


def add_encoding(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what the files are to be."""
    group = parser.add_argument_group("how large a file gets (one of these)")
    target = group.add_mutually_exclusive_group()
    target.add_argument(
        "--quality",
        type=int,
        metavar="Q",
        help="1 to 100: as little of what the network looks at is lost as by libjpeg at this "
        "quality, for fewer bytes; a folder is balanced as a whole: easy pictures give their bits "
        f"to hard ones ({DEFAULT_QUALITY})",
    )
    target.add_argument(
        "--target-bytes",
        metavar="SIZE",
        help="bytes, as 20000 or 20k, that a file never exceeds, EXIF and ICC included",
    )
    target.add_argument("--bpp", type=float, metavar="X", help="the same in bits per pixel")
    target.add_argument(
        "--accuracy",
        type=float,
        metavar="A",
        help="up to 1: the smallest file found on which the network still says the same: for "
        "detectors the F-score of objects found again, weighted by confidence; for classifiers the "
        "share of the first class's probability that is left",
    )
    beyond = parser.add_argument_group("where JPEG gives out")
    beyond.add_argument(
        "--fallback",
        choices=FALLBACKS,
        help="with --target-bytes or --bpp: what else a file may be where a JPEG of that size "
        "loses more, or cannot be had: vae, a learned codec (decode it by idse decode); vae-jpeg "
        "or vae-h264, what the learned codec shows, for stock decoders. OUT's ending follows",
    )
    beyond.add_argument(
        "--vae-model",
        action="append",
        default=[],
        metavar="FILE",
        help="model of the learned codec; may be repeated (those that came with idse)",
    )
    form = parser.add_argument_group("form")
    form.add_argument(
        "--sampling",
        choices=SAMPLINGS,
        help=f"({DEFAULT_SAMPLING}; for a size, 4:4:4 from the rate on where networks gain by it)",
    )
    form.add_argument(
        "--baseline", action="store_true", help="sequential files; else progressive where smaller"
    )
    form.add_argument(
        "--restart-rows",
        type=int,
        default=0,
        metavar="N",
        help="a restart marker every N rows of MCUs (none)",
    )
    form.add_argument("--strip", action="store_true", help="leave out EXIF data and ICC profile")


def add_steering(parser: argparse.ArgumentParser) -> None:
    """Add the options of steering."""
    group = parser.add_argument_group("steering")
    origin = group.add_mutually_exclusive_group()
    origin.add_argument(
        "--model",
        action="append",
        metavar="NAME[=WEIGHT]",
        help="network that the pictures are for: see idse models list; a .onnx file, or "
        "package.module:factory; may be repeated. Or a student, which predicts what networks look "
        f"at, in a fraction of the time and without torch ({DEFAULT_MODEL})",
    )
    origin.add_argument(
        "--no-steer", action="store_true", help="stock libjpeg-turbo, for comparison"
    )
    group.add_argument(
        "--control",
        action="store_true",
        help="with --target-bytes or --bpp: tables by one forward pass of a network that was "
        "trained to choose them",
    )
    group.add_argument(
        "--n-s",
        type=int,
        default=DEFAULT_ROWS,
        metavar="N",
        help="rows of a network's sketch (%(default)s)",
    )
    group.add_argument(
        "--strength",
        type=float,
        help="0 to 1: how far the files are made for these networks and for no others "
        f"({STRENGTH:g})",
    )
    group.add_argument("--seed", type=int, default=0, help="of the sketch (%(default)s)")
    group.add_argument(
        "--strict",
        action="store_true",
        help="fail where a network or a fallback does; else such pictures get libjpeg-turbo's own "
        "tables, or no fallback",
    )


def jpeg_options(args: argparse.Namespace) -> JpegOptions:
    """Return what the files are asked to be.

    Raises
    ------
    InputError
        A value makes no sense.
    """
    return JpegOptions(
        target_bytes=None if args.target_bytes is None else _bytes(args.target_bytes),
        bpp=args.bpp,
        quality=args.quality,
        accuracy=args.accuracy,
        sampling=args.sampling,
        progressive=not args.baseline,
        restart_rows=args.restart_rows,
        metadata=not args.strip,
        strength=STRENGTH if args.strength is None else args.strength,
        control=args.control,
        fallback=args.fallback,
        vae_models=tuple(args.vae_model),
    )


def image_steering(args: argparse.Namespace) -> ImageSteering | None:
    """Return how the files are steered; None for stock libjpeg-turbo.

    Raises
    ------
    InputError
        A value is out of range.
    """
    if args.no_steer:
        if args.accuracy is not None:
            raise InputError(
                "--accuracy needs a network to ask, which --no-steer leaves out: leave out one"
            )
        if args.control:
            raise InputError("--control has no effect with --no-steer: leave out one")
        if args.strength is not None:
            raise InputError("--strength has no effect with --no-steer: leave out one")
        return None
    return ImageSteering(
        models=tuple(args.model or [DEFAULT_MODEL]),
        n_s=args.n_s,
        seed=args.seed,
        strict=args.strict,
    )


def _bytes(text: str) -> int:
    """Read a size in bytes with an optional k or M, which are 1000 and a million."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)([kKmM]?)", text)
    if match is None:
        raise InputError(f"target-bytes {text!r} is no size, such as 20000 or 20k")
    return int(float(match[1]) * {"": 1, "k": 1000, "m": 1_000_000}[match[2].lower()])
