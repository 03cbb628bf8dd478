"""``idse transcode``: a video in, a smaller plain H.264 video out."""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from idse.errors import InputError
from idse.pipeline.schedule import ANALYSE_EVERY
from idse.vision import DEFAULT_MODEL

if TYPE_CHECKING:
    from idse.pipeline.loading import SteeringOptions
    from idse.pipeline.options import EncodeOptions, Progress
    from idse.pipeline.report import Report

_DESCRIPTION = """\
Transcode a video to H.264 with libx264, steered by what a vision network looks at: the network's
importance becomes QP offsets per macroblock, and any H.264 player reads the result. Audio,
subtitles, chapters, tags, rotation, colour and HDR description and timestamps are carried over.
"""
_EPILOG = """\
examples:
  idse transcode street.mp4 small.mp4                   steered by yolov4-tiny, CRF 23
  idse transcode street.mp4 small.mkv --crf 28 --preset slow
  idse transcode street.mp4 stock.mp4 --no-steer        plain x264, to compare with
  idse transcode street.mp4 a.mp4 --model yolov4-tiny=2 --model efficientnet-lite0
  idse transcode street.mp4 a.mp4 --model mypackage.nets:detector
  idse transcode street.mp4 a.mp4 --bitrate 800k --two-pass
  idse transcode court.mp4 a.mp4 --floor-crf 26 --protect 0,0,320,64
  idse map street.mp4 maps.safetensors && idse transcode street.mp4 a.mp4 --maps maps.safetensors
  idse transcode rtsp://camera/stream - --format ts | ffplay -
  ffmpeg -i a.mov -f matroska - | idse transcode - - --format ts | mpv -

An existing OUT is replaced only with --overwrite, and only once the new one is complete; after an
error or Ctrl-C nothing of it is left. Exit code 0, 2 for an error, 130 for Ctrl-C.
"""
_PROGRESS_SECONDS = 0.25


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "transcode",
        help="transcode a video, steered by a network",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="IN", help="file, '-' for standard input, or a URL")
    parser.add_argument(
        "target", metavar="OUT", help="file (.mp4 .mov .mkv .ts .m3u8), or '-' for standard output"
    )
    _add_encoding(parser)
    _add_steering(parser)
    _add_output(parser)
    parser.set_defaults(run=run)


def _add_encoding(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("encoding, as in x264; steering changes none of it")
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


def _add_steering(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("steering")
    origin = group.add_mutually_exclusive_group()
    origin.add_argument(
        "--model",
        action="append",
        metavar="NAME[=WEIGHT]",
        help=f"network that the video is for: see idse models list; a .onnx file, or "
        f"package.module:factory; may be repeated ({DEFAULT_MODEL})",
    )
    origin.add_argument("--maps", type=Path, metavar="FILE", help="maps that idse map has written")
    origin.add_argument("--no-steer", action="store_true", help="stock x264, for comparison")
    group.add_argument("--n-s", type=int, metavar="N", help="rows of the sketch (4)")
    group.add_argument("--seed", type=int, help="of the sketch (0)")
    group.add_argument(
        "--analyse-every",
        type=float,
        metavar="S",
        help=f"seconds between analyses of a scene ({ANALYSE_EVERY:g})",
    )
    group.add_argument("--strength", type=float, help="0 to 2: how hard to steer (1)")
    group.add_argument("--alpha", type=float, help="weight of squared error beside it (0.3)")
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


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--format", help="mp4, mov, mkv, ts or hls; else by the name of OUT")
    group.add_argument("-y", "--overwrite", action="store_true", help="replace OUT if it exists")
    group.add_argument("--report", metavar="FILE", help="write what was done as JSON")
    group.add_argument(
        "--json",
        action="store_const",
        const="-",
        dest="report",
        help="print it instead, as --report -",
    )
    group.add_argument("--strict", action="store_true", help="treat every warning as an error")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.report == "-" and args.target == "-":
        raise InputError("the report and the video cannot both go to standard output")
    from idse.files import check_results, write_atomically
    from idse.pipeline.transcode import transcode

    report_file = None if args.report == "-" else args.report
    check_results([report_file], keep=[args.source, args.target])

    shown = _ProgressLine() if sys.stderr.isatty() else None
    encode, steering = _encode_options(args), _steering_options(args)
    try:
        report = transcode(
            args.source,
            args.target,
            encode=encode,
            steering=steering,
            container=args.format,
            overwrite=args.overwrite,
            strict=args.strict,
            progress=shown,
        )
    finally:
        if shown is not None:
            shown.clear()
    if shown is not None:
        print(_summary(report), file=sys.stderr)
    if args.report == "-":
        print(report.to_json(), end="")
    elif report_file is not None:
        write_atomically(report_file, report.to_json().encode())
    return 0


def _encode_options(args: argparse.Namespace) -> EncodeOptions:
    from idse.pipeline.options import EncodeOptions

    options: dict[str, str] = {}
    tune = args.tune
    if tune == "machine":
        from idse.allocation.tune import MACHINE_OPTIONS

        tune = None
        options.update(MACHINE_OPTIONS)
        listed = ":".join(f"{name}={value}" for name, value in options.items())
        print(f"idse transcode: --tune machine sets {listed}", file=sys.stderr)
    if args.crf is not None and args.bitrate is not None:
        raise InputError(
            "--crf and --bitrate exclude each other: constant quality or constant size"
        )
    if (args.maxrate is None) != (args.bufsize is None):
        raise InputError("--maxrate and --bufsize need each other: a rate, and what it may fill")
    if args.crf is not None:
        if not math.isfinite(args.crf):
            raise InputError(f"--crf {args.crf} is no quality: give a number from 0 to 51")
        options["crf"] = f"{args.crf:g}"
    for name, text in (
        ("bitrate", args.bitrate),
        ("vbv-maxrate", args.maxrate),
        ("vbv-bufsize", args.bufsize),
    ):
        if text is not None:
            options[name] = str(_kilobits(text))
    if args.threads is not None:
        options["threads"] = str(args.threads)
    options.update(_x264_params(args.x264_params or ""))
    return EncodeOptions(
        preset=args.preset,
        tune=tune,
        profile=args.profile,
        options=options,
        two_pass=args.two_pass,
    )


def _steering_options(args: argparse.Namespace) -> SteeringOptions | None:
    if args.no_steer:
        return None
    from idse.allocation import OffsetPolicy, Rect
    from idse.pipeline.loading import SteeringOptions

    bounds = ("strength", "alpha", "max_offset", "floor_crf")
    given = {name: getattr(args, name) for name in bounds if getattr(args, name) is not None}
    policy = OffsetPolicy(protect=tuple(Rect.parse(text) for text in args.protect or ()), **given)
    sketch = ("n_s", "seed", "analyse_every")
    given = {name: getattr(args, name) for name in sketch if getattr(args, name) is not None}
    models = args.model or ([] if args.maps else [DEFAULT_MODEL])
    return SteeringOptions(policy=policy, models=tuple(models), maps=args.maps, **given)


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


def _x264_params(text: str) -> dict[str, str]:
    """Split ``k=v:k=v``; a backslash keeps a colon in a value, a name alone stands for 1."""
    options = {}
    for part in re.split(r"(?<!\\):", text):
        if part:
            name, separator, value = part.replace("\\:", ":").partition("=")
            options[name] = value if separator else "1"
    return options


class _ProgressLine:
    """One line on the terminal, rewritten a few times a second."""

    def __init__(self) -> None:
        self._begin = self._shown = time.monotonic()
        self._phase = ""

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.phase != self._phase:
            self._phase, self._begin = progress.phase, now
        if now - self._shown < _PROGRESS_SECONDS:
            return
        self._shown = now
        elapsed = max(now - self._begin, 1e-3)
        rate = 8e-3 * progress.bytes / max(progress.position, 1e-3)
        parts = [
            progress.phase,
            f"frame {progress.frames}",
            f"{progress.frames / elapsed:.1f} fps",
            f"{rate:.0f} kbit/s",
            _clock(progress.position),
        ]
        if progress.duration and progress.position > 0:
            left = elapsed * max(progress.duration / progress.position - 1, 0)
            parts[-1] += f" of {_clock(progress.duration)}"
            parts.append(f"ETA {_clock(left)}")
        print("\r\x1b[K" + "  ".join(parts), end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _summary(report: Report) -> str:
    steered = f", {report.frames_analysed} analysed" if report.model else ", not steered"
    return f"{report.frames} frames{steered}, {report.bytes} bytes in {report.seconds:.1f} s"
