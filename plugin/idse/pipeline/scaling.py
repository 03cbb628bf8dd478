"""Coding pictures smaller than they come: sizes that are asked for, and frames scaled to them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, TypeVar

from idse.allocation.policy import Rect
from idse.codecs.x264 import colour_options
from idse.errors import InputError, describe
from idse.pipeline.frames import resized, unspecified_matrix
from idse.pipeline.makers import check_exact
from idse.pipeline.source import DecodedFrame
from idse.pipeline.tags import MATRIX_CODES, ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from idse.codecs.x264 import X264Library
    from idse.picture import PictureFormat
    from idse.pipeline.loading import SteeringOptions
    from idse.pipeline.options import EncodeOptions
    from idse.pipeline.report import Warnings

T = TypeVar("T")

AUTO = "auto"
# The smallest side that is worth coding, and that no rounding to even sizes distorts visibly.
MIN_SIDE = 64
DEFAULT_CRF = 23.0  # x264's


@dataclass(frozen=True)
class MaxResolution:
    """A bound of the coded size, or the wish to have one found.

    Attributes
    ----------
    width, height
        Of the picture as it is shown, in luma samples; None does not bound. Both None: ``auto``.
    """

    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        for side in (self.width, self.height):
            if side is not None and side < MIN_SIDE:
                raise InputError(f"maximal resolution of {side} lines: at least {MIN_SIDE} needed")

    @classmethod
    def parse(cls, text: str) -> MaxResolution:
        """Read ``"auto"``, ``"HEIGHT"`` or ``"WIDTHxHEIGHT"``.

        Raises
        ------
        InputError
            ``text`` is none of them, or a side is below 64.
        """
        if text == AUTO:
            return cls()
        match = re.fullmatch(r"(?:(\d{1,5})x)?(\d{1,5})", text)
        if match is None:
            raise InputError(
                f"maximal resolution {text!r} is neither auto, a height such as 480, nor a size "
                "such as 854x480"
            )
        return cls(None if match[1] is None else int(match[1]), int(match[2]))

    @property
    def auto(self) -> bool:
        """Whether the size is to be found by looking at what a network can see."""
        return self.height is None and self.width is None

    def fit(self, form: PictureFormat) -> tuple[int, int]:
        """Return the width and height to code pictures in: theirs, or smaller ones of their shape.

        Sides are even and as near to the picture's shape as that allows; nothing is enlarged.
        """
        width, height = form.width, form.height
        most_width, most_height = self.width, self.height
        if form.rotation in {90, 270}:
            most_width, most_height = most_height, most_width
        scale = min(
            [
                Fraction(most, side)
                for most, side in ((most_width, width), (most_height, height))
                if most is not None
            ],
            default=Fraction(1),
        )
        return scaled_size(form, scale)


def scaled_size(form: PictureFormat, scale: Fraction) -> tuple[int, int]:
    """Return even sides of a picture scaled down; its own where ``scale`` is 1 or more."""
    if scale >= 1:
        return form.width, form.height
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (form.width, form.height))
    return min(width, form.width), min(height, form.height)


class Scaler:
    """Scales decoded frames to one size.

    Parameters
    ----------
    form
        Of the source's pictures.
    size
        Width and height to scale to.
    why
        For the report: who or what chose it.

    Attributes
    ----------
    form
        Of the scaled pictures: their matrix, range and transfer are the source's.
    """

    def __init__(self, form: PictureFormat, size: tuple[int, int], why: str) -> None:
        self._source = form
        self.form = replace(form, width=size[0], height=size[1])
        self.why = why

    @property
    def size(self) -> str:
        """Width and height as in ``640x480``."""
        return f"{self.form.width}x{self.form.height}"

    @property
    def changes(self) -> bool:
        """Whether pictures become smaller at all."""
        return self.form.plane_shapes != self._source.plane_shapes

    def run(self, items: Iterable[DecodedFrame | T]) -> Iterator[DecodedFrame | T]:
        """Scale every frame, and hand on everything else."""
        for item in items:
            yield self.frame(item) if isinstance(item, DecodedFrame) else item

    def frame(self, item: DecodedFrame) -> DecodedFrame:
        """Return a frame scaled: itself where its size stays."""
        if not self.changes:
            return item
        frame, picture = resized(item.frame, self.form, item.picture.index)
        return DecodedFrame(frame, picture, item.time)

    def aspect(self, aspect: Fraction | None) -> Fraction | None:
        """Return the sample aspect ratio that keeps the picture's shape; None is unspecified."""
        source, form = self._source, self.form
        change = Fraction(source.width * form.height, source.height * form.width)
        if change == 1:
            return aspect
        return (aspect or Fraction(1)) * change

    def options(self, aspect: Fraction | None, stated: Mapping[str, str]) -> dict[str, str]:
        """Return the x264 options that keep the scaled pictures looking like the source.

        Parameters
        ----------
        aspect
            Sample aspect ratio of the source; None is unspecified.
        stated
            Options that the source's tags ask for.
        """
        options = {}
        changed = self.aspect(aspect)
        if changed is not None and changed != aspect:
            options["sar"] = ratio(changed)
        # Players read what is unspecified by its size.
        if "colormatrix" not in stated and unspecified_matrix(self.form.height) != self.form.matrix:
            options.update(colour_options(matrix=MATRIX_CODES[self.form.matrix]))
        return options

    def rects(self, rects: Sequence[Rect]) -> tuple[Rect, ...]:
        """Return rectangles of the source's picture in the scaled one, grown to whole samples."""
        return tuple(self._rect(rect) for rect in rects)

    def _rect(self, rect: Rect) -> Rect:
        x, y = (
            Fraction(self.form.width, self._source.width),
            Fraction(self.form.height, self._source.height),
        )
        left, top = int(rect.x * x), int(rect.y * y)
        right, bottom = (
            -int(-(rect.x + rect.width) * x // 1),
            -int(-(rect.y + rect.height) * y // 1),
        )
        return Rect(left, top, max(1, right - left), max(1, bottom - top))


def scaler_for(
    limit: MaxResolution,
    first: DecodedFrame,
    *,
    url: str,
    encode: EncodeOptions,
    steering: SteeringOptions | None,
    library: X264Library,
    warnings: Warnings,
) -> Scaler:
    """Return what scales the pictures of a source; see :func:`check_limit` for what must hold.

    Raises
    ------
    InputError
        Pictures are interlaced, or the maps were made of larger ones.
    """
    form = first.picture.format
    if limit.auto:
        if first.frame.interlaced_frame:
            return Scaler(form, (form.width, form.height), "interlaced pictures are not scaled")
        return _chosen(
            first, url, encode=encode, steering=steering, library=library, warnings=warnings
        )
    scaler = Scaler(form, limit.fit(form), "asked for")
    if scaler.changes and first.frame.interlaced_frame:
        raise InputError(
            f"interlaced pictures cannot be scaled to {scaler.size}, which would mix the lines of "
            "their fields: deinterlace first, e.g. ffmpeg -vf bwdif"
        )
    if scaler.changes and steering is not None and steering.maps is not None:
        raise InputError(
            f"maps of {form.width}x{form.height} do not fit pictures scaled to {scaler.size}: "
            "scale first, make maps of that, and transcode that"
        )
    return scaler


def check_limit(
    limit: MaxResolution, encode: EncodeOptions, steering: SteeringOptions | None
) -> None:
    """Check what choosing a size needs.

    Raises
    ------
    InputError
        There is no network to choose by (a student is none), or no CRF to choose at.
    """
    if not limit.auto:
        return
    if steering is None or steering.maps is not None:
        raise InputError(
            "--max-resolution auto asks a network what it can see, and there is none without "
            "--model: give a size"
        )
    check_exact(steering.models, "--max-resolution auto")
    other = [name for name in ("bitrate", "qp") if name in encode.options]
    if other:
        raise InputError(
            f"--max-resolution auto compares sizes at a CRF, which {other[0]} "
            f"{encode.options[other[0]]} is not: give --crf, or a size"
        )


def _chosen(
    first: DecodedFrame,
    url: str,
    *,
    encode: EncodeOptions,
    steering: SteeringOptions | None,
    library: X264Library,
    warnings: Warnings,
) -> Scaler:
    """Choose a size by the networks; the pictures' own where that fails."""
    form = first.picture.format
    assert steering is not None
    try:
        from idse.importance import load_networks
        from idse.pipeline.resolution import choose_size, sample_frames

        choice = choose_size(
            sample_frames(url, first.frame),
            load_networks(steering.models),
            encode,
            crf=float(encode.options.get("crf", DEFAULT_CRF)),
            library=library,
        )
    except Exception as error:  # noqa: BLE001 - the full size is always right
        warnings.add(
            "resolution",
            f"no size could be chosen ({describe(error)}): coded at full size",
        )
        return Scaler(form, (form.width, form.height), "choosing failed")
    return Scaler(form, choice.size, choice.why)
