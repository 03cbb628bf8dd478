"""What a player must know about the pictures: read from the source, told to x264."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Any

from idse.codecs.x264 import colour_options
from idse.errors import InputError
from idse.pipeline.frames import is_rgb, picture_format
from idse.pipeline.source import side_data

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from av.video.frame import VideoFrame

    from idse.pipeline.report import Warnings
    from idse.pipeline.source import Source

# H.273 code points of the matrices that pictures are read by.
MATRIX_CODES = {"bt601": 6, "bt709": 1, "bt2020nc": 9}
_UNSPECIFIED = 2
_BOTTOM_FIELD_FIRST = (3, 5)  # AV_FIELD_BB, AV_FIELD_BT
_LARGEST_ASPECT = 65535


def stream_options(source: Source, frame: VideoFrame, warnings: Warnings) -> dict[str, str]:
    """Return the x264 options that carry over what the source says about its pictures.

    Colour description, sample aspect ratio, interlacing, mastering display and light levels.

    Parameters
    ----------
    source
        The opened source.
    frame
        Its first frame.
    warnings
        Where it is told what x264 cannot write.
    """
    options = _colour(frame, warnings)
    aspect = source.video.sample_aspect_ratio
    if aspect:
        options["sar"] = ratio(aspect)
    if frame.interlaced_frame:
        first = source.video.codec_context.field_order
        options["bff" if first in _BOTTOM_FIELD_FIRST else "tff"] = "1"
    options.update(_light(side_data(frame)))
    return options


def display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    """Return the 3x3 matrix (FFmpeg's layout, row by row) that turns the picture, if any."""
    item = side_data(frame).get("DISPLAYMATRIX")
    return None if item is None else struct.unpack("=9i", bytes(item))


def _colour(frame: VideoFrame, warnings: Warnings) -> dict[str, str]:
    form = picture_format(frame)
    # 0 and 3 are reserved (0 is R'G'B' as a matrix): unspecified, as ffmpeg has it.
    primaries = int(frame.color_primaries) or _UNSPECIFIED
    transfer = int(frame.color_trc) or _UNSPECIFIED
    matrix = MATRIX_CODES[form.matrix] if is_rgb(frame) else int(frame.colorspace)
    options = colour_options(full_range=True if form.full_range else None)
    for name, set_tag in {
        "primaries": partial(colour_options, primaries=primaries),
        "transfer": partial(colour_options, transfer=transfer),
        "matrix": partial(colour_options, matrix=matrix),
    }.items():
        try:
            options.update(set_tag())
        except InputError as error:
            warnings.add(f"colour {name}", f"{error}: not carried over")
    return options


def ratio(aspect: Fraction) -> str:
    """Return a sample aspect ratio as x264 takes it, as near as its 16 bits allow."""
    limited = aspect
    bound = _LARGEST_ASPECT
    while limited.numerator > _LARGEST_ASPECT:
        bound //= 2
        limited = aspect.limit_denominator(bound)
    return f"{limited.numerator}:{limited.denominator}"


def _light(data: Mapping[str, Any]) -> dict[str, str]:
    """Read AVMasteringDisplayMetadata and AVContentLightMetadata (libavutil)."""
    options = {}
    mastering = data.get("MASTERING_DISPLAY_METADATA")
    if mastering is not None:
        # Ten rationals (R, G, B and white point x and y, min and max luminance), two flags.
        *numbers, has_primaries, has_luminance = struct.unpack("=22i", bytes(mastering)[:88])
        rationals = list(zip(numbers[::2], numbers[1::2], strict=True))
        if has_primaries and has_luminance and all(den for _, den in rationals):
            # SMPTE ST 2086 codes: 0.00002 for coordinates, 0.0001 cd/m2.
            xy = [round(50000 * num / den) for num, den in rationals[:8]]
            low, high = (round(10000 * num / den) for num, den in rationals[8:])
            red, green, blue, white = (f"({xy[i]},{xy[i + 1]})" for i in range(0, 8, 2))
            options["mastering-display"] = f"G{green}B{blue}R{red}WP{white}L({high},{low})"
    light = data.get("CONTENT_LIGHT_LEVEL")
    if light is not None:
        largest, average = struct.unpack("=2I", bytes(light)[:8])
        options["cll"] = f"{largest},{average}"
    return options
