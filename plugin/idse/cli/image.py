"""``idse image``: pictures in, smaller plain JPEGs out."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from idse.cli._names import check_name, named
from idse.cli._progress import PhaseLine, clock
from idse.errors import InputError
from idse.pipeline.images import arguments as image_arguments

if TYPE_CHECKING:
    from idse.pipeline.folders.report import FolderReport
    from idse.pipeline.folders.run import FolderProgress
    from idse.pipeline.images.encoder import JpegEncoder
    from idse.pipeline.images.options import JpegOptions
    from idse.pipeline.images.report import ImageReport
    from idse.pipeline.images.source import SourceImage

_DESCRIPTION = """\
Encode a picture, or a folder of them, as JPEG with the bits where a vision network looks: tables of
its own for every picture, and coefficients chosen by what they are worth to the network. Any
decoder reads the result. EXIF data and ICC profile are kept; pixels are never turned, the network
sees them as they are shown.
"""
_EPILOG = """\
examples:
  idse image street.png small.jpg                       as useful to networks as quality 75
  idse image street.png small.jpg --target-bytes 20k    no byte more than 20000
  idse image street.png small.jpg --target-bytes 20k --control       tables by one forward pass
  idse image street.png small.jpg --model yolov4-tiny --accuracy 0.95
                                                        the smallest that shows it nearly the same
  idse image street.png stock.jpg --no-steer            plain libjpeg-turbo, to compare with
  idse image cat.webp cat.jpg --model efficientnet-lite0 --bpp 0.5
  idse image street.png tiny.jpg --target-bytes 3k --fallback vae    tiny.ivae where that is better
  idse image photos small --quality 60 --report small.csv
  curl -s https://example.com/a.png | idse image - - --bpp 1 > a.jpg

Of a folder every picture is encoded, in subfolders, too; other files stay where they are. A run
that was interrupted goes on where it was, by the record that it keeps in OUT/.idse-image.jsonl;
pictures that cannot be read are listed and counted, and the others are encoded. Existing files are
replaced only with --overwrite, and only once the new one is complete. Exit code 0, 2 for an error
(in a folder: if any picture failed), 130 for Ctrl-C.
"""
_PROGRESS_SECONDS = 0.25


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "image",
        help="encode a picture or a folder of them as JPEG, steered by a network",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="IN",
        type=named,
        help="picture that Pillow reads, folder, or '-' for standard input",
    )
    parser.add_argument(
        "target", metavar="OUT", type=named, help="JPEG file, folder, or '-' for standard output"
    )
    image_arguments.add_encoding(parser)
    image_arguments.add_steering(parser)
    _add_output(parser)
    parser.set_defaults(run=run)


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("-y", "--overwrite", action="store_true", help="replace what exists")
    group.add_argument("--json", action="store_true", help="print what was done as JSON")
    group.add_argument(
        "--map-picture", metavar="PNG", help="draw the picture beside what matters in it"
    )
    folder = parser.add_argument_group("of a folder")
    folder.add_argument(
        "--jobs", type=int, metavar="N", help="processes, each with the networks (one a core)"
    )
    folder.add_argument(
        "--report", metavar="FILE", help="a row for every picture, as .csv or .parquet"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    # Pillow warns of what it then raises, and of metadata that it could not read.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if args.source != "-" and Path(args.source).is_dir():
        return _run_folder(args)
    return _run_single(args)


def _run_single(args: argparse.Namespace) -> int:
    for name in ("report", "jobs"):
        if getattr(args, name) is not None:
            raise InputError(f"--{name} is for folders, and {args.source} is none")
    if args.target == "-" and args.json:
        raise InputError("the report and the JPEG cannot both go to standard output")
    from idse.files import check_results, write_atomically
    from idse.pipeline.images.encoder import JpegEncoder
    from idse.pipeline.images.source import read_image

    options = image_arguments.jpeg_options(args)
    steering = image_arguments.image_steering(args)
    targets = _targets(args.target, options.fallback)
    if args.map_picture is not None and steering is None:
        raise InputError("--map-picture shows what matters to a network: leave out --no-steer")
    for target in targets.values():
        _check_target(args, target)
    check_results([args.map_picture], keep=[args.source, *targets.values()])
    check_name(targets["jpeg"], "JPEG")
    check_name(args.map_picture, "PNG")
    given = sys.stdin.buffer.read() if args.source == "-" else args.source
    source = read_image(given, name="standard input")
    encoder = JpegEncoder(
        model=None if steering is None else steering.models,
        n_s=args.n_s,
        seed=args.seed,
        strict=args.strict,
    )
    made = encoder.encode_image(source, options)
    target = targets[made.report.codec]
    if target == "-":
        sys.stdout.buffer.write(made.data)
    else:
        write_atomically(target, made.data)
    if args.map_picture is not None:
        _draw(args.map_picture, encoder, source, options)
    if args.json:
        print(made.report.to_json(), end="")
    elif args.target != "-":
        print(f"{target}: {_summary(made.report)}")
    return 0


def _targets(target: str, fallback: str | None) -> dict[str, str]:
    """Return what the file is called, by the codec that it may become: its ending follows that."""
    if fallback is None or target == "-":
        return {"jpeg": target, **({} if fallback is None else {fallback: target})}
    from idse.pipeline.images.fallback import SUFFIXES

    path = Path(target)
    suffix = SUFFIXES[fallback]
    jpeg = path.with_suffix(".jpg") if path.suffix.lower() == suffix else path
    other = jpeg if suffix == ".jpg" else path.with_suffix(suffix)
    return {"jpeg": str(jpeg), fallback: str(other)}


def _check_target(args: argparse.Namespace, target: str) -> None:
    """Check a file to write before any work is put into it."""
    from idse.files import check_results

    if target == "-":
        return
    if Path(target).is_file() and not args.overwrite:
        raise InputError(f"{target} exists: give --overwrite to replace it")
    check_results([target], keep=[args.source])


def _summary(report: ImageReport) -> str:
    parts = [f"{report.bytes} bytes, {report.bpp:{'.2f' if report.bpp >= 0.1 else '.3f'}} bpp"]
    if report.source_bytes:
        parts.append(f"{100 * report.bytes / report.source_bytes:.0f} % of the source")
    if report.codec != "jpeg":
        parts.append(f"{report.codec} by {report.vae_model}")
    elif report.steered:
        parts.append(f"steered by {report.model}")
        if report.sampling == "4:4:4":  # which is not what most JPEGs are
            parts.append(report.sampling)
    else:
        parts.append(f"stock libjpeg-turbo at quality {report.quality}")
    parts.append(f"asked for {report.asked}")
    if report.agreement is not None:
        parts.append(f"reached {report.agreement:.3f}")
    if report.chosen_because is not None:
        parts.append(report.chosen_because)
    return ", ".join(parts)


def _draw(path: str, encoder: JpegEncoder, source: SourceImage, options: JpegOptions) -> None:
    """Draw the picture and what matters in it, both as they are shown."""
    import numpy as np

    from idse.importance.overlay import overlay, save_png
    from idse.picture import MACROBLOCK

    importance = encoder.analyse(source, options).luma_importance()
    turns = source.rotation // 90
    shown = np.rot90(importance, turns)
    for axis in (0, 1):
        starts = np.arange(0, shown.shape[axis], MACROBLOCK)
        shown = np.add.reduceat(shown, starts, axis)
    colours = source.pixels if source.pixels.ndim == 3 else np.stack([source.pixels] * 3, -1)
    save_png(path, overlay(np.rot90(colours, turns), shown))


def _run_folder(args: argparse.Namespace) -> int:
    if args.map_picture is not None:
        raise InputError("--map-picture is for one picture")
    if args.target == "-":
        raise InputError(f"{args.source} is a folder: name another one to write to")
    if args.fallback not in {None, "vae-jpeg"}:
        raise InputError(
            f"--fallback {args.fallback} makes files of two kinds, and those of a folder are all "
            "JPEGs: give --fallback vae-jpeg"
        )
    from idse.files import check_results, write_atomically
    from idse.pipeline.folders.report import check_table
    from idse.pipeline.folders.run import FolderRun

    jobs = len(os.sched_getaffinity(0)) if args.jobs is None else args.jobs
    if args.report is not None:
        check_table(args.report)
        check_results([args.report], keep=[])
    shown = _ProgressLine() if sys.stderr.isatty() else None
    try:
        report = FolderRun(
            Path(args.source),
            Path(args.target),
            jpeg=image_arguments.jpeg_options(args),
            steering=image_arguments.image_steering(args),
            jobs=jobs,
            overwrite=args.overwrite,
            progress=shown,
        ).run()
    finally:
        if shown is not None:
            shown.clear()
    if args.report is not None:
        write_atomically(args.report, report.table(args.report))
    for row in report.failed:
        print(f"idse image: {row.source}: {row.error}", file=sys.stderr)
    print(report.to_json().rstrip() if args.json else f"{args.target}: {_totals(report)}")
    return 2 if report.failed else 0


class _ProgressLine(PhaseLine):
    """How far a folder is."""

    def __init__(self) -> None:
        super().__init__(_PROGRESS_SECONDS)

    def __call__(self, progress: FolderProgress) -> None:
        elapsed = self.elapsed(progress.phase)
        if not self.due():
            return
        left = elapsed * (progress.total / max(progress.done, 1) - 1)
        parts = [
            progress.phase,
            f"{progress.done} of {progress.total}",
            f"{progress.done / elapsed:.1f} pictures/s",
            f"ETA {clock(left)}",
        ]
        if progress.kept:
            parts.append(f"{progress.kept} kept")
        if progress.failed:
            parts.append(f"{progress.failed} failed")
        self.show(parts)


def _totals(report: FolderReport) -> str:
    facts = report.summary()
    parts = [f"{facts['encoded']} of {facts['pictures']} pictures encoded"]
    parts += [f"{facts[name]} {name}" for name in ("kept", "failed") if facts[name]]
    if report.unsteered:
        parts.append(f"{report.unsteered} not steered")
    parts.append(f"{facts['bytes']} bytes from {facts['source_bytes']}")
    parts.append(f"asked for {report.asked}")
    parts.append(f"{report.seconds:.1f} s")
    if report.others:
        parts.append(f"{report.others} other files left alone")
    return ", ".join(parts)
