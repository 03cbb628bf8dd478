"""Pictures of maps: values per macroblock as heat over the source. Needs Pillow only.

Importance and QPs are drawn by the same pieces, so that all pictures look alike.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from idse.errors import InputError
from idse.files import write_atomically
from idse.picture import MACROBLOCK

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

RGB = npt.NDArray[np.uint8]

# "inferno" at 17 equidistant points (CC0, S. van der Walt and N. Smith): lightness rises evenly, so
# equal steps look equal, also in grey and to colour-blind eyes. In between it is interpolated.
_COLOURS = np.array(
    [
        (0, 0, 4),
        (11, 7, 36),
        (33, 12, 74),
        (61, 9, 101),
        (87, 16, 110),
        (113, 25, 110),
        (138, 34, 106),
        (163, 44, 97),
        (188, 55, 84),
        (210, 70, 68),
        (228, 90, 49),
        (241, 115, 29),
        (249, 142, 9),
        (252, 172, 17),
        (249, 203, 53),
        (242, 234, 105),
        (252, 255, 164),
    ],
    np.float64,
)
_NO_VALUE = (110, 122, 128)  # a blue-grey that the scale does not contain
BACKGROUND, _INK = (24, 24, 28), (235, 235, 235)
GAP = 8  # between panels


def heat(values: npt.NDArray[Any], lo: float, hi: float) -> RGB:
    """Colour values from dark (``lo`` and below) to bright (``hi`` and above).

    Parameters
    ----------
    values
        Any shape; NaN is drawn in blue-grey.
    lo, hi
        Ends of the scale, ``lo < hi``.

    Returns
    -------
    ndarray
        uint8, shape of ``values`` and 3.

    Raises
    ------
    InputError
        The ends are not finite or not in order.
    """
    if not -math.inf < lo < hi < math.inf:
        raise InputError(f"colour scale from {lo} to {hi} is empty")
    share = np.clip((np.asarray(values, np.float64) - lo) / (hi - lo), 0, 1)
    known = ~np.isnan(share)
    stops = np.linspace(0, 1, len(_COLOURS))
    position = np.where(known, share, 0)
    channels = [np.interp(position, stops, _COLOURS[:, c]) for c in range(3)]
    colours: RGB = np.rint(np.stack(channels, -1)).astype(np.uint8)
    colours[~known] = _NO_VALUE
    return colours


def upscale(
    blocks: npt.NDArray[Any], width: int, height: int, block: int = MACROBLOCK
) -> npt.NDArray[Any]:
    """Repeat what each macroblock has over its samples.

    Parameters
    ----------
    blocks
        ``(rows, columns, ...)`` with at least ``ceil(height / block)`` rows and as many columns.
    width, height
        Of the picture; what lies beyond is cut off.
    block
        Side of a macroblock.

    Returns
    -------
    ndarray
        ``(height, width, ...)``.
    """
    tall: npt.NDArray[Any] = blocks.repeat(block, 0)[:height]
    return tall.repeat(block, 1)[:, :width]


def blend(rgb: RGB, colours: RGB, opacity: float = 0.7) -> RGB:
    """Lay colours over a picture; its grey shows through, its colours would mix with the scale.

    Parameters
    ----------
    rgb, colours
        uint8 ``(height, width, 3)``.
    opacity
        0 shows the grey picture, 1 the colours.
    """
    grey = rgb @ np.array([0.299, 0.587, 0.114])
    mixed = opacity * colours + (1 - opacity) * grey[..., None]
    blended: RGB = np.rint(mixed).astype(np.uint8)
    return blended


def label_bar(
    width: int, caption: str, lo: str | None = None, hi: str | None = None
) -> Image.Image:
    """Draw a caption and, where its ends are labelled, the colour scale to the right of it.

    Parameters
    ----------
    width
        Pixels.
    caption
        Shortened where it does not fit.
    lo, hi
        What the dark and the bright end stand for.
    """
    size = max(11, min(18, width // 40))
    bar = Image.new("RGB", (width, 2 * size), BACKGROUND)
    draw = ImageDraw.Draw(bar)
    font = ImageFont.load_default(size)
    right = width - GAP
    if lo is not None and hi is not None:
        scale = max(16, width // 5)
        right -= round(draw.textlength(hi, font))
        draw.text((right, size), hi, _INK, font, anchor="lm")
        right -= scale + GAP // 2
        ramp = heat(np.broadcast_to(np.linspace(0, 1, scale), (size, scale)), 0, 1)
        bar.paste(Image.fromarray(ramp), (right, size // 2))
        right -= round(draw.textlength(lo, font)) + GAP // 2
        draw.text((right, size), lo, _INK, font, anchor="lm")
        right -= GAP
    while caption and draw.textlength(caption, font) > right - GAP:
        caption = caption[:-2].rstrip() + "…" if len(caption) > 2 else ""
    draw.text((GAP, size), caption, _INK, font, anchor="lm")
    return bar


def panel(rgb: RGB, caption: str, lo: str | None = None, hi: str | None = None) -> Image.Image:
    """Return a picture with its label bar underneath; see `label_bar`."""
    picture = Image.fromarray(rgb)
    bar = label_bar(picture.width, caption, lo, hi)
    whole = Image.new("RGB", (picture.width, picture.height + bar.height), BACKGROUND)
    whole.paste(picture, (0, 0))
    whole.paste(bar, (0, picture.height))
    return whole


def side_by_side(panels: Sequence[Image.Image]) -> Image.Image:
    """Return pictures in one row, top edges aligned."""
    width = sum(p.width for p in panels) + GAP * (len(panels) - 1)
    row = Image.new("RGB", (width, max(p.height for p in panels)), BACKGROUND)
    left = 0
    for item in panels:
        row.paste(item, (left, 0))
        left += item.width + GAP
    return row


def weight_panel(rgb: RGB, weight: npt.NDArray[np.float32], caption: str) -> Image.Image:
    """Draw importance over a picture: log2 of the weight over the picture's mean weight.

    Parameters
    ----------
    rgb
        uint8 ``(height, width, 3)``.
    weight
        float32 ``(mb_rows, mb_cols)``, as `idse.importance.maps.ImportanceMap.weight`.
    caption
        For the label bar.
    """
    mean = float(weight.mean()) or 1.0
    # Zero weights are finite: they sit at the dark end.
    log_weight = np.log2(np.maximum(weight / mean, 2.0**-40))
    # Whole powers of two that hold 1, and all but the topmost 2 % and the bottom tenth; at most
    # three decades, for what an empty sky has below that would leave no colours for the objects.
    hi = max(1, math.ceil(np.percentile(log_weight, 98)))
    lo = max(hi - 10, min(-1, math.floor(np.percentile(log_weight, 10))))
    height, width = rgb.shape[:2]
    colours = upscale(heat(log_weight, lo, hi), width, height)
    return panel(blend(rgb, colours), caption, _ratio(lo), _ratio(hi))


def qp_range(*fields: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return the least and the largest QP of all fields, at least 1 apart; NaN does not count."""
    known = np.concatenate([qp[~np.isnan(qp)] for qp in fields])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    return low, max(high, low + 1)


def qp_panel(
    rgb: RGB,
    qp: npt.NDArray[np.float32],
    caption: str,
    scale: tuple[float, float],
    block: int = MACROBLOCK,
) -> Image.Image:
    """Draw QPs over a picture: bright where the bits go, as in the map of importance.

    Parameters
    ----------
    rgb
        uint8 ``(height, width, 3)``.
    qp
        float32 ``(mb_rows, mb_cols)``; NaN is drawn in blue-grey.
    caption
        For the label bar.
    scale
        Lowest and highest QP, see `qp_range`.
    block
        Side of a macroblock in ``rgb``.
    """
    low, high = scale
    height, width = rgb.shape[:2]
    colours = upscale(heat(-qp, -high, -low), width, height, block)
    return panel(blend(rgb, colours), caption, f"QP {high:g}", f"{low:g}")


def overlay(rgb: RGB, weight: npt.NDArray[np.float32]) -> Image.Image:
    """Return the source beside its importance; parameters as for `weight_panel`."""
    shown = weight_panel(rgb, weight, "importance / mean, log scale")
    return side_by_side([panel(rgb, "source"), shown])


def save_png(path: str | os.PathLike[str], image: Image.Image) -> None:
    """Write a PNG; the file appears whole or not at all.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def _ratio(log2: int) -> str:
    return f"{2**log2}x" if log2 >= 0 else f"1/{2**-log2}x"
