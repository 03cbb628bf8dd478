"""Examples: a student's input of a picture and what its teachers say on the student's grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from idse.errors import ModelError
from idse.learned.student.network import AREA, MEAN, MULTIPLE, STD, STRIDE
from idse.learned.student.resize import box_resize, student_planes
from idse.learned.student.spectrum import code_steps, picture_spectrum
from idse.picture import MACROBLOCK, PictureFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from idse.learned.student.teacher import Lesson
    from idse.picture import Picture

FloatArray = npt.NDArray[np.float32]

# Teachers' units are such that this format's samples have an importance of 1 on average.
_REFERENCE = PictureFormat(width=640, height=480)
# What a teacher does not look at at all is this far below the mean, in nepers, and no further:
# beside the squared error that every allocation adds, less is nothing.
FLOOR = -12.0


@dataclass(frozen=True, eq=False)
class Raw:
    """A picture as it is kept until all lessons are known, with an input of about ``area``."""

    planes: FloatArray
    form: PictureFormat
    lessons: tuple[Lesson, ...]
    group: str
    held: bool
    weight: float = 1.0
    area: int = AREA


@dataclass(frozen=True, eq=False)
class Example:
    """What one picture teaches.

    Attributes
    ----------
    planes
        float16 ``(3, rows, columns)``: normalised input.
    target
        float32 ``(heads, rows / 4, columns / 4)``: natural logarithm of the importance relative to
        the teacher's mean over the set.
    blocks
        float32 ``(heads, mb_rows, mb_columns)``: the same per macroblock, to judge by.
    group
        What kind of picture it is, for reports.
    held
        Whether it is to judge by, and not to learn from.
    level
        float32 ``(heads,)``: natural logarithm of the mean importance, in the same unit, of all
        pictures of its group that are learned from, which is what allocation sets it beside.
    weight
        How often it is shown, relative to others.
    """

    planes: npt.NDArray[np.float16]
    target: FloatArray
    blocks: FloatArray
    group: str
    held: bool
    level: FloatArray
    weight: float = 1.0


def raw(
    picture: Picture,
    lessons: Sequence[Lesson],
    *,
    group: str,
    held: bool,
    weight: float = 1.0,
    area: int = AREA,
) -> Raw:
    """Return the little that is needed of a picture: its planes as the student sees them."""
    planes = student_planes(picture, area=area, multiple=MULTIPLE)
    normalised = (planes - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    planes = normalised.astype(np.float32)
    return Raw(planes, picture.format, tuple(lessons), group, held, weight, area)


@dataclass(frozen=True, eq=False)
class Unit:
    """A teacher's unit: what turns its energies into numbers around 1, and back.

    Attributes
    ----------
    autocorrelation
        float32 ``(3, lags, lags)``: `idse.learned.student.spectrum.picture_spectrum` of it says
        what an importance of 1 is in pictures of any format.
    teacher
        How the network takes pictures in.
    """

    autocorrelation: FloatArray
    teacher: Mapping[str, Any]

    def level(self, form: PictureFormat) -> float:
        """Return the importance per luma sample that 1 stands for."""
        return picture_spectrum(self.autocorrelation, self.teacher, form).per_sample


def find_units(raws: Sequence[Raw], teachers: Sequence[Mapping[str, Any]]) -> list[Unit]:
    """Return every teacher's unit: the mean over the pictures that are learned from is 1.

    Parameters
    ----------
    raws
        All pictures, in the order in which teachers are given.
    teachers
        How each takes pictures in.

    Raises
    ------
    ModelError
        A teacher sees nothing in any of them.
    """
    learned = [item for item in raws if not item.held]
    units = []
    for k, teacher in enumerate(teachers):
        shape = np.mean([_moments(item, k) for item in learned], axis=0)
        # So that levels of several teachers can be compared whatever the picture's size.
        scale = picture_spectrum(shape, teacher, _REFERENCE).per_sample
        if not scale > 0:
            raise ModelError(
                f"network {k + 1} sees nothing in {len(learned)} pictures: give others"
            )
        units.append(Unit((shape / scale).astype(np.float32), teacher))
    return units


def _moments(item: Raw, k: int) -> npt.NDArray[np.float64]:
    """Return a lesson's autocorrelation with respect to codes of 8 bit and limited range."""
    luma, chroma = code_steps(item.form)
    steps = np.array([luma, chroma, chroma]).reshape(3, 1, 1)
    moments: npt.NDArray[np.float64] = item.lessons[k].autocorrelation * steps**2
    return moments


def scales(raws: Sequence[Raw], units: Sequence[Unit]) -> list[float]:
    """Return each teacher's mean importance over what is learned from, in its unit."""
    learned = [item for item in raws if not item.held]
    return [
        float(np.mean([_mean(item, k) / unit.level(item.form) for item in learned]))
        for k, unit in enumerate(units)
    ]


def _mean(item: Raw, k: int) -> float:
    return float(np.exp(item.lessons[k].log_energy.astype(np.float64)).mean())


def examples(
    raws: Sequence[Raw],
    units: Sequence[Unit],
    means: Sequence[float],
    mixture: Mapping[str, Sequence[float]] | None = None,
    *,
    levels: float = 1.0,
) -> list[Example]:
    """Return examples of pictures.

    Parameters
    ----------
    raws
        The pictures.
    units, means
        As `find_units` and `scales` return them.
    mixture
        By group, what every teacher counts in one head more, whose importance is the weighted
        geometric mean of theirs and whose unit is the first one's; None makes none.
    levels
        Share of the logarithm of a picture's level beside its group's that is to be learned: levels
        that can hardly be told are best not believed all of the way. What is judged by stays.
    """
    known: dict[tuple[int, PictureFormat], float] = {}
    made = []
    for item in raws:
        _, rows, columns = item.planes.shape
        energies, scale = [], []
        for k, (unit, mean) in enumerate(zip(units, means, strict=True)):
            if (k, item.form) not in known:
                known[k, item.form] = unit.level(item.form)
            energy = np.exp(item.lessons[k].log_energy - np.log(known[k, item.form] * mean))
            # As the student sees the picture.
            energies.append(np.rot90(energy, item.form.rotation // 90))
            scale.append(np.log(known[k, item.form] / known[0, item.form]))
        target = np.stack(
            [_log(box_resize(e, rows // STRIDE, columns // STRIDE)) for e in energies]
        )
        blocks = np.stack([_log(_macroblocks(energy)) for energy in energies])
        if mixture is not None:
            shares = np.array(mixture[item.group], np.float32)
            target, blocks = (_mixed(found, shares, scale) for found in (target, blocks))
        planes = item.planes.astype(np.float16)
        level = _level(target)
        made.append(Example(planes, target, blocks, item.group, item.held, level, item.weight))
    return _beside_their_groups(made, levels)


def _mixed(found: FloatArray, shares: FloatArray, scale: Sequence[float]) -> FloatArray:
    """Append the weighted mean of logarithms, of which each lies ``scale`` above the first."""
    absolute = found + np.reshape(scale, (-1, 1, 1)).astype(np.float32)
    mean = np.tensordot(shares / shares.sum(), absolute, 1)
    return np.concatenate([found, mean[None]]).astype(np.float32)


def _level(target: FloatArray) -> FloatArray:
    """Return the logarithm of each head's mean importance."""
    found: FloatArray = np.log(np.exp(target).mean((1, 2))).astype(np.float32)
    return found


def _beside_their_groups(made: Sequence[Example], levels: float) -> list[Example]:
    """Return examples with the level of their group, or their own where none of it is learned."""
    sums: dict[str, list[FloatArray]] = {}
    for item in made:
        if not item.held:
            sums.setdefault(item.group, []).append(np.exp(item.level))
    means = {group: np.log(np.mean(found, axis=0)) for group, found in sums.items()}
    placed = []
    for item in made:
        level = means.get(item.group, item.level)
        nearer = (1 - levels) * (level - item.level)
        target = (item.target + nearer[:, None, None]).astype(np.float32)
        placed.append(replace(item, target=target, level=level))
    return placed


def _log(energy: FloatArray) -> FloatArray:
    found: FloatArray = np.log(np.maximum(energy, np.exp(np.float32(FLOOR))))
    return found


def _macroblocks(energy: FloatArray) -> FloatArray:
    """Return the means of macroblocks of energies per 4x4 block."""
    side = MACROBLOCK // 4
    rows, columns = (np.arange(0, n, side) for n in energy.shape)
    sums = np.add.reduceat(np.add.reduceat(energy, rows, 0), columns, 1)
    counts = np.add.reduceat(np.add.reduceat(np.ones_like(energy), rows, 0), columns, 1)
    return (sums / counts).astype(np.float32)


def to_macroblocks(log_map: Tensor, blocks: tuple[int, int]) -> Tensor:
    """Return a map ``(n, heads, rows, columns)`` on the grid of macroblocks, bilinearly."""
    return torch.nn.functional.interpolate(
        log_map, size=blocks, mode="bilinear", align_corners=False
    )
