"""The options of ``idse transcode`` that say how to encode and how to steer, and what they mean.

One language for everything that encodes: the command line, and the configurations of an evaluation,
so that what is measured is what users run. An option that is added here is known to both.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from idse.allocation.matrices import MAX_SLOPE, check_slope
from idse.allocation.policy import OffsetPolicy
from idse.errors import InputError
from idse.importance.bounds import DEFAULT_ROWS
from idse.pipeline.rate import VIDEO_FALLBACKS
from idse.pipeline.schedule import ANALYSE_EVERY
from idse.vision import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.pipeline.loading import SteeringOptions
    from idse.pipeline.options import EncodeOptions


def add_encoding(parser: argparse.ArgumentParser) -> None:
    """Add the options that are x264's own."""
    group = parser.add_argument_group(
        "encoding, as in x264; steering of video sets cqm (see --matrices) and, where neither a "
        "preset, a tune nor --x264-params chooses any of them, aq-mode=2:aq-strength=0.7:qcomp=0.7"
    )
    group.add_argument("--preset", default="medium", help="ultrafast to placebo (medium)")
    group.add_argument(
        "--tune",
        help="x264's tunes, or 'machine': settings for networks, which are printed",
    )
    group.add_argument("--profile", help="baseline, main, high, high10, high422 or high444")
    group.add_argument("--crf", type=float, help="constant quality, lower is better (23)")
    group.add_argument("--bitrate", metavar="RATE", help="bit/s, as 800k or 2.5M, instead of CRF")
    group.add_argument("--two-pass", action="store_true", help="with --bitrate: encode twice")
    group.add_argument("--maxrate", metavar="RATE", help="bit/s that the buffer is filled with")
    group.add_argument("--bufsize", metavar="SIZE", help="bits that the buffer holds")
    group.add_argument("--x264-params", metavar="K=V:K=V", help="any other option of x264")
    group.add_argument("--threads", type=int, metavar="N", help="x264's threads (as many as fit)")
    group.add_argument(
        "--max-resolution",
        metavar="auto|HEIGHT|WxH",
        help="scale larger pictures down to this; auto measures on a few frames which size gives "
        "the network's outputs for the fewest bytes (never scaled)",
    )
    group.add_argument(
        "--fallback",
        choices=VIDEO_FALLBACKS,
        help="simplify pictures by a learned codec in segments of 2 seconds in which x264 cannot "
        "hold --maxrate or --bitrate at any QP, which a first encode tells; --max-resolution does "
        "better (never)",
    )
    group.add_argument(
        "--vae-model",
        action="append",
        default=[],
        metavar="FILE",
        help="model of the learned codec; may be repeated (those that came with idse)",
    )


def add_steering(parser: argparse.ArgumentParser) -> None:
    """Add the options of steering."""
    origin, group = add_offsets(parser)
    origin.add_argument("--no-steer", action="store_true", help="stock x264, for comparison")
    group.add_argument(
        "--matrices",
        metavar="auto|flat|SLOPE",
        help="coarser steps for high frequencies, which networks hardly see: auto as the network "
        "that steers sees the first picture, where the video is of the High profile anyway; or "
        f"SLOPE octaves per unit of frequency, 0 (flat) to {MAX_SLOPE:g}, also unsteered (auto; "
        "flat with --floor-crf and --protect)",
    )
    group.add_argument(
        "--static-background",
        action="store_true",
        help="hold what has neither moved nor mattered for seconds: a slow average of the pictures "
        "replaces it, which takes its noise out of the video",
    )
    _add_rehearsals(parser)


def add_offsets(
    parser: argparse.ArgumentParser,
) -> tuple[argparse._MutuallyExclusiveGroup, argparse._ArgumentGroup]:
    """Add the options that say how QP offsets and weights come about, for any encoder.

    Returns
    -------
    Those of where maps come from, which exclude each other, and all others.
    """
    group = parser.add_argument_group("steering")
    origin = group.add_mutually_exclusive_group()
    origin.add_argument(
        "--model",
        action="append",
        metavar="NAME[=WEIGHT]",
        help="network that the video is for: see idse models list; a .onnx file, or "
        "package.module:factory; may be repeated. Or a student, which predicts what networks look "
        f"at, in a fraction of the time and without torch ({DEFAULT_MODEL})",
    )
    origin.add_argument("--maps", type=Path, metavar="FILE", help="maps that idse map has written")
    group.add_argument(
        "--n-s", type=int, metavar="N", help=f"rows of a network's sketch ({DEFAULT_ROWS})"
    )
    group.add_argument("--seed", type=int, help="of the sketch (0)")
    group.add_argument(
        "--analyse-every",
        type=float,
        metavar="S",
        help="seconds between analyses of a scene; 0: every frame (what a student does; "
        f"{ANALYSE_EVERY:g} by networks)",
    )
    group.add_argument("--strength", type=float, help="0 to 2: how hard to steer (1)")
    group.add_argument(
        "--alpha",
        type=float,
        help=f"weight of squared error beside importance ({OffsetPolicy.alpha:g})",
    )
    group.add_argument("--max-offset", type=float, metavar="QP", help="largest offset (8)")
    group.add_argument(
        "--floor-crf", type=float, metavar="CRF", help="quality that no region falls below"
    )
    group.add_argument(
        "--protect",
        action="append",
        metavar="X,Y,W,H",
        help="rectangle that never gets less than stock would give it; may be repeated",
    )
    group.add_argument(
        "--consumer-fps",
        type=float,
        metavar="N",
        help="frames per second that whoever watches looks at; the others count only by what is "
        "copied from them (all are looked at)",
    )
    group.add_argument(
        "--weighted",
        action="store_true",
        help="also weigh errors inside macroblocks, by the libx264 that idse build-x264 makes: for "
        "presets slower than medium, at which it gains nothing",
    )
    return origin, group


def _add_rehearsals(parser: argparse.ArgumentParser) -> None:
    """Add the options that encode more often than once."""
    group = parser.add_argument_group("trial encodes, each of which reads IN once more")
    group.add_argument(
        "--measure",
        action="store_true",
        help="correct the maps by what a first encode truly loses",
    )
    group.add_argument(
        "--guard",
        action="store_true",
        help="compare with stock at equal bytes, and leave out steering in segments of 10 seconds "
        "where it is worse (three encodes)",
    )
    group.add_argument(
        "--effort",
        default="normal",
        choices=("normal", "oracle"),
        help="oracle: search for the offsets in some 18 encodes and 5 rounds of gradients",
    )


class _Parser(argparse.ArgumentParser):
    """A parser that raises where argparse would leave the process."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read options of ``idse transcode`` that say how to encode and steer.

    Raises
    ------
    InputError
        An option is unknown or cannot be read.
    """
    parser = _Parser(prog="idse transcode", add_help=False, allow_abbrev=False)
    add_encoding(parser)
    add_steering(parser)
    return parser.parse_args(words)


def encode_options(args: argparse.Namespace) -> EncodeOptions:
    """Return what x264 is asked for.

    Raises
    ------
    InputError
        Options exclude each other, or a value makes no sense.
    """
    from idse.pipeline.max_resolution import MaxResolution
    from idse.pipeline.options import EncodeOptions

    options: dict[str, str] = {}
    tune = args.tune
    if tune == "machine":
        from idse.allocation.tune import MACHINE_OPTIONS

        tune = None
        options.update(MACHINE_OPTIONS)
    if args.crf is not None and args.bitrate is not None:
        raise InputError(
            "--crf and --bitrate exclude each other: constant quality or constant size"
        )
    if (args.maxrate is None) != (args.bufsize is None):
        raise InputError("--maxrate and --bufsize need each other: a rate, and what it may fill")
    if args.crf is not None:
        # x264 would take the nearest that it has. Samples of 10 bits have 12 QPs more.
        if not -12 <= args.crf <= 51:
            raise InputError(f"--crf {args.crf:g} is no quality: give a number from 0 to 51")
        options["crf"] = f"{args.crf:g}"
    for name, text in (
        ("bitrate", args.bitrate),
        ("vbv-maxrate", args.maxrate),
        ("vbv-bufsize", args.bufsize),
    ):
        if text is not None:
            options[name] = str(_kilobits(text))
    if args.threads is not None:
        if args.threads < 0:
            raise InputError(
                f"--threads {args.threads}: give a number from 1 on, or 0 for as many as fit"
            )
        options["threads"] = str(args.threads)
    options.update(_x264_params(args.x264_params or ""))
    return EncodeOptions(
        preset=args.preset,
        tune=tune,
        profile=args.profile,
        options=options,
        matrices=_matrices(args.matrices or "auto"),
        two_pass=args.two_pass,
        max_resolution=MaxResolution.parse(args.max_resolution) if args.max_resolution else None,
        fallback=args.fallback,
        vae_models=tuple(args.vae_model),
    )


def steering_options(args: argparse.Namespace) -> SteeringOptions | None:
    """Return how the encode is steered; None for stock x264.

    Raises
    ------
    InputError
        A value is out of range.
    """
    if args.no_steer:
        _refuse_without_steering(args)
        return None
    from idse.allocation import Rect
    from idse.importance.still import StillPolicy
    from idse.pipeline.loading import SteeringOptions

    bounds = ("strength", "alpha", "max_offset", "floor_crf")
    given = {name: getattr(args, name) for name in bounds if getattr(args, name) is not None}
    policy = OffsetPolicy(protect=tuple(Rect.parse(text) for text in args.protect or ()), **given)
    sketch = ("n_s", "seed", "analyse_every", "consumer_fps")
    given = {name: getattr(args, name) for name in sketch if getattr(args, name) is not None}
    models = args.model or ([] if args.maps else [DEFAULT_MODEL])
    return SteeringOptions(
        policy=policy,
        models=tuple(models),
        maps=args.maps,
        still=StillPolicy() if args.static_background else None,
        measure=args.measure,
        guard=args.guard,
        effort=args.effort,
        weighted=args.weighted,
        **given,
    )


def _refuse_without_steering(args: argparse.Namespace) -> None:
    """Refuse what would have no effect, and that somebody counts on."""
    if args.static_background:
        raise InputError(
            "--static-background needs to know what matters, which --no-steer leaves out: give "
            "--strength 0 to smooth without steering"
        )
    given = {
        "--weighted": args.weighted,
        "--consumer-fps": args.consumer_fps is not None,
        "--measure": args.measure,
        "--guard": args.guard,
        "--effort oracle": args.effort != "normal",
    }
    for name, asked in given.items():
        if asked:
            raise InputError(
                f"{name} needs to know what matters, which --no-steer leaves out: leave out one"
            )


def _kilobits(text: str) -> int:
    """Read a rate in bit/s with an optional k or M, as FFmpeg takes it; return kbit/s."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)([kKmM]?)", text)
    if match is None:
        raise InputError(f"rate {text!r} is no number of bits, such as 800k or 2.5M")
    factor = {"": 0.001, "k": 1, "m": 1000}[match[2].lower()]
    kilobits = round(float(match[1]) * factor)
    if kilobits < 1:
        raise InputError(f"rate {text!r} is below 1 kbit/s: did you mean {text}k?")
    return kilobits


def _matrices(text: str) -> float | None:
    """Read the slope of the matrices; None stands for "auto"."""
    named = {"auto": None, "flat": 0.0}
    if text in named:
        return named[text]
    try:
        slope = float(text)
    except ValueError:
        raise InputError(
            f"matrices {text!r} are not auto, flat or a slope: give a number from 0 to "
            f"{MAX_SLOPE:g}, or the x264 option cqm or cqmfile by --x264-params"
        ) from None
    check_slope(slope)
    return slope


def _x264_params(text: str) -> dict[str, str]:
    """Split ``k=v:k=v``; a backslash keeps a colon in a value, a name alone stands for 1."""
    options = {}
    for part in re.split(r"(?<!\\):", text):
        if part:
            name, separator, value = part.replace("\\:", ":").partition("=")
            options[name] = value if separator else "1"
    return options
