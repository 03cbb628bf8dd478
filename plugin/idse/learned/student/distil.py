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
from idse.learned.student.export import exported, resumed
from idse.learned.student.file import write_student
from idse.learned.student.judge import judge
from idse.learned.student.network import AREA, VIDEO, Kind, StudentNetwork, student_program
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
    area: int = AREA,
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
    area
        Samples of the student's input: those of the student that it starts from.
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
        kept = raw(
            item.picture,
            lessons,
            group=item.group,
            held=item.held,
            weight=item.weight,
            area=area,
        )
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
    settled: Sequence[float] | None = None,
    kind: Kind = VIDEO,
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
    settled
        What every head counts in the geometric mean that takes the place of the last one when it is
        trained, with a mixture: a head that has to guess what kind of picture it sees errs where
        those of the teachers do not. None leaves it as it is.
    kind
        What to train where there is no start, and how far levels are to be learned.
    start
        A student whose network is a start; None begins with MobileNetV2's way down, and random
        weights beyond it.
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
        As `train`, `resumed` and `write_student`.
    """
    units = find_units(raws, [teacher.description for teacher in teachers])
    means = scales(raws, units)
    made = examples(raws, units, means, mixture, levels=kind.levels)
    names = [teacher.name for teacher in teachers]
    described = dict(zip(names, means, strict=True))
    if mixture is not None:
        names, units = [*names, MIXTURE], [*units, units[0]]
    with one_thread():
        network = _network(names, plan.seed, start, kind)
        checkpoint = cache / f"{_key(network, names, made, start)}.checkpoint"
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
        if settled is not None:
            settle(network, settled)
        card = {
            "teachers": described,
            "pictures": sum(not item.held for item in raws),
            "plan": asdict(plan),
            "started_from": "a student" if start is not None else "random weights",
            "loss": loss,
            "held_out": _judged(network, made, names),
        }
        card |= facts or {}
        student = exported(
            network, heads=names, blend=blend, units=units, card=card, area=raws[0].area
        )
        write_student(out, student)
    return card


def _network(
    names: Sequence[str], seed: int, start: StudentFile | None, kind: Kind
) -> StudentNetwork:
    if start is not None:
        return resumed(start, names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = StudentNetwork(*student_program(len(names), kind), normalised=True)
    load_base(network)
    return network


def settle(network: StudentNetwork, shares: Sequence[float]) -> None:
    """Put a geometric mean of all heads in the last one's place.

    Units of teachers agree at a format in the middle of those that are trained on; that they differ
    elsewhere by some tenths of a neper is left.

    Parameters
    ----------
    network
        Trained.
    shares
        What each head counts.
    """
    last = next(op.name for op in network.ops if op.out == network.output)
    conv = network.convs[last]
    assert conv.bias is not None
    with torch.no_grad():
        weights = torch.tensor(shares) / sum(shares)
        conv.weight[-1] = torch.tensordot(weights, conv.weight, 1)
        conv.bias[-1] = weights @ conv.bias


def _key(
    network: StudentNetwork,
    names: Sequence[str],
    made: Sequence[Example],
    start: StudentFile | None,
) -> str:
    """Return what a checkpoint's name says about what it was made with."""
    found = hashlib.sha256(f"{' '.join(names)} {network.ops}".encode())
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
