"""``idse inspect``: what an H.264 file spent where, read back from its bitstream."""

from __future__ import annotations

import argparse
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from idse.cli._names import check_name, named
from idse.errors import InputError
from idse.picture import MACROBLOCK

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    from idse.codecs.h264 import FrameMacroblocks

_DESCRIPTION = """\
Read the QP of every macroblock of an H.264 file from the bitstream itself, and sum it up per frame
type. Pictures are not decoded, except the one that --picture draws.

  skipped  nothing was transmitted for the macroblock: it copies what motion predicts
  own QP   the macroblock carries mb_qp_delta, so the encoder chose a QP for it; all others have no
           coefficients (or are I_PCM) and inherit their predecessor's QP
"""
_EPILOG = """\
examples:
  idse inspect small.mp4
  idse inspect small.mp4 --picture qp.png --frame 120
  idse inspect small.mp4 --qp-out qp.npy
  python -c "import numpy as np; print(np.nanmean(np.load('qp.npy'), axis=0).round(1))"

QPs are QP_Y of ITU-T H.264: 0 to 51 for 8 bit, from -12 for 10 bit (x264 and FFmpeg add 12 there).
"""
_HISTOGRAM_WIDTH = 50
_MIN_PICTURE_WIDTH = 480


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "inspect",
        help="read every macroblock's QP back from an H.264 file",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", metavar="FILE", type=named, help="mp4, mkv, ts, raw .h264... with H.264 video"
    )
    parser.add_argument(
        "--qp-out",
        metavar="NPY",
        help="write float32 (frames, mb_rows, mb_cols), NaN where a macroblock is skipped",
    )
    parser.add_argument("--picture", metavar="PNG", help="draw one frame beside its QPs")
    parser.add_argument(
        "--frame",
        type=int,
        default=0,
        metavar="N",
        help="which frame --picture draws, counted from 0 as presented (default %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=run)


@dataclass
class Tally:
    """Sums over the frames of one type."""

    frames: int = 0
    macroblocks: int = 0
    skipped: int = 0
    coded: int = 0
    bits: int = 0
    histogram: dict[int, int] = field(default_factory=dict)  # QP -> macroblocks not skipped

    def add(self, frame: FrameMacroblocks) -> None:
        """Count one frame."""
        self.frames += 1
        self.macroblocks += frame.qp.size
        self.skipped += int(frame.skipped.sum())
        self.coded += int(frame.coded.sum())
        self.bits += int(frame.bits.sum(dtype=np.int64))
        for qp, count in zip(*np.unique(frame.qp[~frame.skipped], return_counts=True), strict=True):
            self.histogram[int(qp)] = self.histogram.get(int(qp), 0) + int(count)

    @property
    def mean_qp(self) -> float | None:
        """Mean over the macroblocks that are not skipped; None where all are."""
        count = sum(self.histogram.values())
        return sum(qp * n for qp, n in self.histogram.items()) / count if count else None

    def as_json(self) -> dict[str, Any]:
        """Return the row of the summary."""
        return {
            "frames": self.frames,
            "mean_qp": self.mean_qp,
            "skipped": self.skipped / self.macroblocks,
            "own_qp": self.coded / self.macroblocks,
            "bits": self.bits,
        }


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from idse.codecs.h264 import read_macroblocks
    from idse.codecs.h264.qp_file import QpFile
    from idse.files import check_results

    if args.frame < 0:
        raise InputError(f"--frame {args.frame}: frames are counted from 0")
    check_results([args.qp_out, args.picture], keep=[args.file])
    check_name(args.qp_out, "NPY")
    check_name(args.picture, "PNG")
    tallies: dict[str, Tally] = {}
    first = chosen = None
    image = None
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(QpFile(args.qp_out)) if args.qp_out else None
        for index, frame in enumerate(read_macroblocks(args.file)):
            first = first or frame
            chosen = frame if index == args.frame else chosen
            for name in (frame.pict_type, "all"):
                tallies.setdefault(name, Tally()).add(frame)
            if output is not None:
                output.append(frame.qp_array)
        if args.picture:
            if chosen is None:
                raise InputError(
                    f"--frame {args.frame}: {args.file} has {tallies['all'].frames} frames, "
                    "counted from 0"
                )
            image = _draw(args.file, args.frame, chosen)
    if image is not None:
        from idse.importance.overlay import save_png

        save_png(args.picture, image)
    assert first is not None, "read_macroblocks raises where there is no frame"
    print(_json(args.file, first, tallies) if args.json else _text(args.file, first, tallies))
    return 0


def _json(path: str, first: FrameMacroblocks, tallies: dict[str, Tally]) -> str:
    histogram = tallies["all"].histogram
    summary = {
        "file": path,
        "mb_rows": first.qp.shape[0],
        "mb_cols": first.qp.shape[1],
        "bit_depth": first.bit_depth,
        "structure": first.structure,
        **tallies["all"].as_json(),
        "types": {name: tallies[name].as_json() for name in "IPB" if name in tallies},
        "histogram": {str(qp): histogram[qp] for qp in sorted(histogram)},
    }
    return json.dumps(summary, indent=2)


def _text(path: str, first: FrameMacroblocks, tallies: dict[str, Tally]) -> str:
    rows, columns = first.qp.shape
    layout = {"frame": "", "mbaff": ", interlaced (MBAFF)", "fields": ", interlaced (fields)"}
    total = tallies["all"]
    lines = [
        f"{path}: {columns}x{rows} macroblocks, {first.bit_depth} bit{layout[first.structure]}",
        "",
        "type   frames   mean QP   skipped   own QP   bits/frame",
    ]
    for name in ("I", "P", "B", "all"):
        if name not in tallies:
            continue
        tally = tallies[name]
        mean = "-" if tally.mean_qp is None else f"{tally.mean_qp:.2f}"
        lines.append(
            f"{name:4} {tally.frames:8} {mean:>9} {tally.skipped / tally.macroblocks:9.1%} "
            f"{tally.coded / tally.macroblocks:8.1%} {tally.bits / tally.frames:12,.0f}"
        )
    if total.histogram:
        lines += ["", "QP of macroblocks that are not skipped:"]
        most = max(total.histogram.values())
        for qp in range(min(total.histogram), max(total.histogram) + 1):
            count = total.histogram.get(qp, 0)
            bar = "#" * round(_HISTOGRAM_WIDTH * count / most)
            lines.append(f"{qp:4} {count:9} {bar}".rstrip())
    return "\n".join(lines)


def _draw(path: str, index: int, frame: FrameMacroblocks) -> Image.Image:
    """Return the decoded frame beside its QPs: bright where the QP is low."""
    from idse.importance.overlay import panel, qp_panel, qp_range, side_by_side, upscale

    source = _decode(path, index, frame.pts)
    scale = -(-_MIN_PICTURE_WIDTH // source.shape[1])
    source = upscale(source, source.shape[1] * scale, source.shape[0] * scale, scale)
    qp = frame.qp_array
    drawn = qp_panel(source, qp, "QP, blue-grey: skipped", qp_range(qp), MACROBLOCK * scale)
    return side_by_side([panel(source, f"frame {index} ({frame.pict_type})"), drawn])


def _decode(path: str, index: int, pts: int | None) -> npt.NDArray[np.uint8]:
    """Return the frame with time ``pts`` (or number ``index`` where there are no times) as RGB."""
    import av

    from idse.pipeline.frames import rgb

    try:
        with av.open(path) as container:
            for number, frame in enumerate(container.decode(container.streams.video[0])):
                if number == index if pts is None else frame.pts == pts:
                    return rgb(frame)
    except av.FFmpegError as error:
        reason = error.strerror or error
        raise InputError(f"cannot decode frame {index} of {path}: {reason}") from error
    raise InputError(f"frame {index} of {path} cannot be decoded: its references are missing")
