"""Distillation: from teachers and pictures to a student's file."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from idse.errors import InputError
from idse.learned.student.base import load_base
from idse.learned.student.examples import Raw, examples, find_units, raw, scales
from idse.learned.student.export import load_folded, write_student
from idse.learned.student.judge import judge
from idse.learned.student.network import StudentNetwork, student_program
from idse.learned.student.train import train
from idse.vision.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from idse.learned.student.examples import Example
    from idse.learned.student.file import StudentFile
    from idse.learned.student.teacher import Teacher
    from idse.learned.student.train import TrainingPlan
    from idse.picture import Picture

# Name of the head of all teachers together.
MIXTURE = "all"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture to learn from, or to judge by.

    Attributes
    ----------
    picture
        The picture.
    group
        What kind it is, for the card.
    held
        Whether it is to judge by.
    weight
        How often it is shown, relative to others.
    """

    picture: Picture
    group: str
    held: bool
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """How far a distillation is: ``what`` is ``"teachers"`` or ``"training"``."""

    what: str
    done: int
    total: int
    loss: float | None = None


def collect(
    teachers: Sequence[Teacher],
    pictures: Iterable[Shown],
    count: int,
    cache: Path,
    *,
    progress: Callable[[Step], None] | None = None,
) -> list[Raw]:
    """Ask every teacher about every picture.

    Parameters
    ----------
    teachers
        At least one.
    pictures
        They are decoded when they are needed, and let go.
    count
        How many they are, for the progress.
    cache
        Folder that lessons are kept in.
    progress
        Called after every picture.

    Raises
    ------
    ModelError
        A teacher fails on a picture.
    InputError
        There is nothing to learn from.
    """
    found = []
    for done, item in enumerate(pictures, 1):
        lessons = [teacher.lesson(item.picture, cache) for teacher in teachers]
        kept = raw(item.picture, lessons, group=item.group, held=item.held, weight=item.weight)
        found.append(kept)
        if progress is not None:
            progress(Step(what="teachers", done=done, total=count))
    if all(item.held for item in found):
        raise InputError("there are no pictures to learn from: give more of them")
    return found


def distil(
    teachers: Sequence[Teacher],
    raws: Sequence[Raw],
    plan: TrainingPlan,
    out: Path,
    *,
    blend: Sequence[float],
    cache: Path,
    mixture: Mapping[str, Sequence[float]] | None = None,
    start: StudentFile | None = None,
    facts: dict[str, Any] | None = None,
    progress: Callable[[Step], None] | None = None,
) -> dict[str, Any]:
    """Train a student of what `collect` found, and write it.

    Parameters
    ----------
    teachers, raws
        As for and from `collect`.
    plan
        How it is trained.
    out
        The file.
    blend
        What each head counts in the map that the student gives by default, in units of its mean
        importance.
    cache
        Folder for the checkpoint, which a run with the same plan and pictures goes on from.
    mixture
        As for `idse.learned.student.examples.examples`: a last head, called `MIXTURE`, of all
        teachers together.
    start
        A student whose weights are a start; None begins with random ones.
    facts
        What the card says beside.
    progress
        Called after every step.

    Returns
    -------
    dict
        The card.

    Raises
    ------
    InputError, ModelError, OutputError
        As `train` and `write_student`.
    """
    units = find_units(raws, [teacher.description for teacher in teachers])
    means = scales(raws, units)
    made = examples(raws, units, means, mixture)
    names = [teacher.name for teacher in teachers]
    described = dict(zip(names, means, strict=True))
    if mixture is not None:
        names, units = [*names, MIXTURE], [*units, units[0]]
    with one_thread():
        network = _network(names, plan.seed, start)
        checkpoint = cache / f"{_key(names, made, start)}.checkpoint"
        cache.mkdir(parents=True, exist_ok=True)
        loss = train(
            network,
            made,
            plan,
            checkpoint=checkpoint,
            progress=None
            if progress is None
            else lambda p: progress(Step(what="training", done=p.step, total=p.steps, loss=p.loss)),
        )
        card = {
            "teachers": described,
            "pictures": sum(not item.held for item in raws),
            "plan": asdict(plan),
            "started_from": "a student" if start is not None else "random weights",
            "loss": loss,
            "held_out": _judged(network, made, names),
        }
        card |= facts or {}
        write_student(out, network, heads=names, blend=blend, units=units, card=card)
    return card


def _network(names: Sequence[str], seed: int, start: StudentFile | None) -> StudentNetwork:
    ops, output = student_program(len(names))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = StudentNetwork(ops, output, normalised=start is None)
    if start is None:
        load_base(network)
    else:
        load_folded(network, start, names)
    return network


def _key(names: Sequence[str], made: Sequence[Example], start: StudentFile | None) -> str:
    """Return what a checkpoint's name says about the data it was made with."""
    found = hashlib.sha256(" ".join(names).encode())
    for item in made:
        found.update(item.planes.tobytes() + item.target.tobytes() + bytes([item.held]))
        found.update(item.level.tobytes() + np.float64(item.weight).tobytes())
    if start is not None:
        for name in sorted(start.tensors):
            found.update(start.tensors[name].tobytes())
    return found.hexdigest()[:16]


def _judged(
    network: StudentNetwork, made: Sequence[Example], names: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return figures of `judge` by kind of picture and teacher."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for group in dict.fromkeys(item.group for item in made):
        held = [item for item in made if item.held and item.group == group]
        if held:
            found[group] = {name: judge(network, held, k) for k, name in enumerate(names)}
    return found
