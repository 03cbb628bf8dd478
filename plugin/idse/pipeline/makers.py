"""Which models make maps: a student, which needs no torch, or networks whose gradients do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from idse.errors import InputError
from idse.importance.bounds import DEFAULT_ROWS, check_sketch
from idse.importance.naming import split_weight
from idse.pipeline.schedule import ANALYSE_EVERY
from idse.vision.registry import EXACT_MODEL, STUDENT, is_student, split_student

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idse.importance.maker import MapMaker


def students(models: Sequence[object]) -> list[str]:
    """Return those of some models that are students; loaded networks are none."""
    return [m for m in models if isinstance(m, str) and is_student(split_weight(m)[0])]


def built_in(models: Sequence[str]) -> bool:
    """Tell whether maps come from the student that is part of the package.

    Nobody asked for its file, so that an encode goes on without it.
    """
    names = [split_student(split_weight(name)[0])[0] for name in models]
    return names == [STUDENT]


def check_models(models: Sequence[object]) -> None:
    """Check that models can be used together.

    Raises
    ------
    InputError
        A student is one of several: its heads are blended already, and its unit is another.
    """
    found = students(models)
    if found and len(models) > 1:
        raise InputError(
            f"{found[0]} is a student, which stands for a blend of networks already: give it "
            "alone, or exact models without it"
        )


def check_exact(models: Sequence[object], what: str) -> None:
    """Check that models are networks, not students.

    Parameters
    ----------
    models
        As named.
    what
        What asks for more than maps.

    Raises
    ------
    InputError
        One is a student, which has neither outputs nor gradients.
    """
    found = students(models)
    if found:
        raise InputError(
            f"{what} needs the outputs or gradients of a network, and {found[0]} is a student: "
            f"give an exact model, such as --model {EXACT_MODEL}"
        )


def default_interval(models: Sequence[str]) -> float:
    """Return the seconds between analyses that models can afford, where none are asked for.

    A student looks at every frame, for it costs less than the encoder's own analysis.
    """
    return 0.0 if students(models) else ANALYSE_EVERY


def open_maker(
    models: Sequence[str],
    *,
    stills: bool = False,
    n_s: int = DEFAULT_ROWS,
    seed: int = 0,
    dtype: str = "float32",
) -> MapMaker:
    """Load what makes maps.

    Parameters
    ----------
    models
        A student, or networks as ``NAME`` or ``NAME=WEIGHT``.
    stills
        Whether maps are of still pictures, for which the built-in student has a network of its own.
    n_s, seed, dtype
        Of the networks' sketches: ``n_s`` from 1, ``seed`` from 0 on. Students have none.

    Raises
    ------
    ModelError
        A model is unknown or cannot be loaded.
    InputError
        A student is one of several models or has no such head, or a value is out of range.
    MissingExtraError
        A network is named, and torch is not installed.
    """
    check_models(models)
    check_sketch(n_s, seed)
    if students(models):
        from idse.learned.student.analyser import load_student

        return load_student(split_weight(models[0])[0], stills=stills)
    from idse.importance import Analyser, load_networks

    return Analyser(load_networks(models), n_s=n_s, seed=seed, dtype=dtype)
