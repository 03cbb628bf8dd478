"""``idse transcode``: a video in, a smaller plain H.264 video out."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from idse.cli._names import check_name, named
from idse.cli._progress import PhaseLine, clock
from idse.errors import InputError
from idse.pipeline import arguments

if TYPE_CHECKING:
    from idse.pipeline.options import Progress
    from idse.pipeline.report import Report

_DESCRIPTION = """\
Transcode a video to H.264 with libx264, steered by what vision networks look at: importance becomes
QP offsets per macroblock, and any H.264 player reads the result. A student predicts it for every
frame, in milliseconds; --model names a network whose gradients tell it for that one exactly. Audio,
subtitles, chapters, tags, rotation, colour and HDR description and timestamps are carried over.
"""
_EPILOG = """\
examples:
  idse transcode street.mp4 small.mp4                   steered by the student, CRF 23
  idse transcode street.mp4 exact.mp4 --model yolov4-tiny
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
    parser.add_argument(
        "source", metavar="IN", type=named, help="file, '-' for standard input, or a URL"
    )
    parser.add_argument(
        "target",
        metavar="OUT",
        type=named,
        help="file (.mp4 .mov .mkv .ts .m3u8), or '-' for standard output",
    )
    arguments.add_encoding(parser)
    arguments.add_steering(parser)
    _add_output(parser)
    parser.set_defaults(run=run)


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
    check_name(report_file, "JSON")

    shown = _ProgressLine() if sys.stderr.isatty() else None
    encode, steering = arguments.encode_options(args), arguments.steering_options(args)
    if args.tune == "machine":
        from idse.allocation.tune import MACHINE_OPTIONS

        listed = ":".join(f"{name}={value}" for name, value in MACHINE_OPTIONS.items())
        print(f"idse transcode: --tune machine sets {listed}", file=sys.stderr)
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


class _ProgressLine(PhaseLine):
    """How far an encode is."""

    def __init__(self) -> None:
        super().__init__(_PROGRESS_SECONDS)

    def __call__(self, progress: Progress) -> None:
        elapsed = self.elapsed(progress.phase)
        if not self.due():
            return
        rate = 8e-3 * progress.bytes / max(progress.position, 1e-3)
        parts = [
            progress.phase,
            f"frame {progress.frames}",
            f"{progress.frames / elapsed:.1f} fps",
            f"{rate:.0f} kbit/s",
            clock(progress.position),
        ]
        if progress.duration and progress.position > 0:
            left = elapsed * max(progress.duration / progress.position - 1, 0)
            parts[-1] += f" of {clock(progress.duration)}"
            parts.append(f"ETA {clock(left)}")
        self.show(parts)


def _summary(report: Report) -> str:
    steered = f", {report.frames_analysed} analysed" if report.model else ", not steered"
    text = f"{report.frames} frames{steered}, {report.bytes} bytes in {report.seconds:.1f} s"
    if report.segments_simplified:
        text += (
            f", {report.frames_simplified} simplified in {len(report.segments_simplified)} segments"
        )
    return text if report.parameters_set is None else f"{text}, x264 with {report.parameters_set}"
