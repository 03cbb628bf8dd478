"""One picture that shows a comparison: source, importance, QP, both outputs with detections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from idse.importance.overlay import (
    BACKGROUND,
    GAP,
    panel,
    qp_panel,
    qp_range,
    side_by_side,
    weight_panel,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.vision import Detections

_BOX = (64, 255, 96)


@dataclass(frozen=True, eq=False)
class Shown:
    """A decoded picture, uint8 ``(height, width, 3)``, and what was detected in it."""

    rgb: npt.NDArray[np.uint8]
    found: Detections


def draw_boxes(shown: Shown, labels: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return the picture with its detections drawn: box, class and score in percent."""
    image = Image.fromarray(shown.rgb)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(11, image.width // 50))
    found = shown.found
    for box, score, kind in zip(found.boxes, found.scores, found.classes, strict=True):
        left, top, right, bottom = (float(v) for v in box)
        # Networks put boxes beyond the edge; Pillow wants them in order.
        left, right = sorted(min(max(v, 0.0), image.width - 1) for v in (left, right))
        top, bottom = sorted(min(max(v, 0.0), image.height - 1) for v in (top, bottom))
        draw.rectangle((left, top, right, bottom), outline=_BOX, width=2)
        name = labels[int(kind)] if int(kind) < len(labels) else str(int(kind))
        text = f"{name} {round(100 * float(score))}"
        area = draw.textbbox((left + 3, top + 2), text, font)
        draw.rectangle((area[0] - 3, area[1] - 2, area[2] + 3, area[3] + 2), fill=_BOX)
        draw.text((left + 3, top + 2), text, (0, 0, 0), font)
    return np.asarray(image)


def draw_sheet(
    source: Shown,
    stock: Shown,
    steered: Shown,
    *,
    weight: npt.NDArray[np.float32],
    qp: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    labels: Sequence[str] = (),
) -> Image.Image:
    """Draw the whole comparison in two rows.

    Parameters
    ----------
    source, stock, steered
        The same frame before and after coding.
    weight
        float32 ``(mb_rows, mb_cols)``: importance per luma sample.
    qp
        Of the stock and of the steered encode, each ``(mb_rows, mb_cols)``; NaN where a macroblock
        is skipped.
    labels
        Names of the classes.
    """
    scale = qp_range(*qp)
    top = [
        panel(draw_boxes(source, labels), "source"),
        panel(draw_boxes(stock, labels), "stock x264"),
        panel(draw_boxes(steered, labels), "steered, same size"),
    ]
    bottom = [
        weight_panel(source.rgb, weight, "importance / mean"),
        qp_panel(source.rgb, qp[0], "QP, stock", scale),
        qp_panel(source.rgb, qp[1], "QP, steered", scale),
    ]
    rows = [side_by_side(top), side_by_side(bottom)]
    size = max(r.width for r in rows), sum(r.height for r in rows) + GAP
    sheet = Image.new("RGB", size, BACKGROUND)
    sheet.paste(rows[0], (0, 0))
    sheet.paste(rows[1], (0, rows[0].height + GAP))
    return sheet
