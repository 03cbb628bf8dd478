"""Coding pictures smaller than they come: the size of a transcode, and frames scaled to it."""

from __future__ import annotations

from dataclasses import replace
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
    from idse.pipeline.max_resolution import MaxResolution
    from idse.pipeline.options import EncodeOptions
    from idse.pipeline.report import Warnings

T = TypeVar("T")

DEFAULT_CRF = 23.0  # x264's


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
