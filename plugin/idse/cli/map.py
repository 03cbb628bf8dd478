"""``idse map``: write the importance maps of an image or a video, and draw one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from idse.cli._names import check_name, named
from idse.importance.bounds import DEFAULT_ROWS
from idse.pipeline.schedule import ANALYSE_EVERY
from idse.vision import DEFAULT_MODEL

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from idse.importance import ImportanceMap
    from idse.importance.maker import MapMaker
    from idse.pipeline.report import Warnings
    from idse.pipeline.source import DecodedFrame, Source


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Attach the command to the parser."""
    parser = commands.add_parser(
        "map",
        help="write the importance maps of an image or a video",
        description="Write what a network looks at, per macroblock, for idse transcode --maps.",
    )
    parser.add_argument(
        "input", metavar="IN", type=named, help="image or video: a path, a URL, or - for stdin"
    )
    parser.add_argument("output", metavar="OUT.safetensors", type=named)
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME[=WEIGHT]",
        help="student or network, as in idse models; repeat it to combine several networks "
        f"(default {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--n-s",
        type=int,
        default=DEFAULT_ROWS,
        metavar="N",
        help="rows of a network's sketch (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sketch (default %(default)s)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "float64", "bfloat16"),
        default="float32",
        help="what the network runs in (default %(default)s)",
    )
    parser.add_argument(
        "--analyse-every",
        type=float,
        metavar="SECONDS",
        help="time between analyses of one scene; 0 analyses every frame (default: every frame by "
        f"a student, {ANALYSE_EVERY:g} by networks)",
    )
    parser.add_argument("--overlay", metavar="PNG", help="draw the first map beside its frame")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from idse.files import check_results
    from idse.importance import write_maps
    from idse.importance.overlay import overlay, save_png
    from idse.pipeline.frames import rgb
    from idse.pipeline.makers import default_interval, open_maker
    from idse.pipeline.report import Warnings
    from idse.pipeline.source import Source

    check_results([args.output, args.overlay], keep=[args.input])
    check_name(args.output, "safetensors")
    check_name(args.overlay, "PNG")
    warnings = Warnings()
    drawing = None
    maps: list[ImportanceMap] = []
    with Source(args.input, warnings=warnings) as source:
        models = args.model or [DEFAULT_MODEL]
        analyser = open_maker(
            models, stills=_is_picture(source), n_s=args.n_s, seed=args.seed, dtype=args.dtype
        )
        every = default_interval(models) if args.analyse_every is None else args.analyse_every
        spectrum = None
        for frame, found in _analyse(source, analyser, every, warnings):
            if not maps and args.overlay:
                drawing = overlay(rgb(frame.frame), found.weight())
            if found.frame_index == 0:
                spectrum = analyser.spectrum(frame.picture)
            maps.append(found)
    metadata = analyser.metadata
    write_maps(args.output, maps, metadata, spectrum=spectrum)
    if drawing is not None:
        save_png(args.overlay, drawing)
    summary = {
        "frames_analysed": len(maps),
        "frame_indices": [item.frame_index for item in maps],
        "width": maps[0].width,
        "height": maps[0].height,
        "pix_fmt": maps[0].pix_fmt,
        "model": metadata.model,
        "n_s": metadata.n_s,
        "seed": metadata.seed,
        "dtype": metadata.dtype,
        "warnings": list(warnings.messages),
    }
    if args.json:
        print(json.dumps(summary, indent=2))
    else:
        frames = "1 frame" if len(maps) == 1 else f"{len(maps)} frames"
        print(f"{args.output}: {frames} of {args.input} analysed by {metadata.model}")
        if args.overlay:
            print(f"{args.overlay}: frame {maps[0].frame_index} and its importance")
    return 0


def _is_picture(source: Source) -> bool:
    """Tell whether a source is a file of one still picture, not a pipe or numbered files."""
    from idse.pipeline.source import STANDARD_INPUT

    name = source.container.format.name
    image = name == "image2" or name.endswith("_pipe")
    return image and source.url != STANDARD_INPUT and source.video.duration in {None, 1}


def _analyse(
    source: Source, analyser: MapMaker, every: float, warnings: Warnings
) -> Iterator[tuple[DecodedFrame, ImportanceMap]]:
    """Analyse the frames that a transcode of this source would.

    Raises
    ------
    ModelError
        The network failed on every frame that it was shown.
    """
    from idse.errors import ModelError
    from idse.importance.motion import MotionEstimator
    from idse.pipeline.schedule import Schedule
    from idse.pipeline.source import DecodedFrame

    schedule = Schedule(every)
    motion = MotionEstimator()
    analysed, failure = 0, None
    for item in source.items():
        if not isinstance(item, DecodedFrame):
            continue
        field = motion.push(item.picture)
        seconds = float(item.time.pts * source.time_base)
        if not schedule.due(seconds, cut=field is None or field.scene_cut):
            continue
        try:
            found = analyser.analyse(item.picture)
        except ModelError as error:
            failure = error
            warnings.add("network", f"{error}; such frames get no map")
            continue
        schedule.done(seconds)
        analysed += 1
        yield item, found
    if failure is not None and not analysed:
        raise failure
