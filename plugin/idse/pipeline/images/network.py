"""Models for still pictures: what errors in coefficients cost them, and whether they agree.

Loaded once in a process and shared between threads. Networks run one at a time: torch's number of
threads, on which the last digits of sums depend, is one for the process.
"""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

from idse.errors import IdseError, InputError, ModelError, describe
from idse.importance.naming import split_weight
from idse.pipeline.makers import built_in, check_exact, check_models, students

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from idse.importance import Analyser
    from idse.learned.student.analyser import StudentAnalyser
    from idse.picture import Picture
    from idse.pipeline.images.accuracy import Observation
    from idse.pipeline.images.options import ImageSteering
    from idse.vision import FeatureExtractor

_LOADED: dict[str, FeatureExtractor] = {}
_STUDENTS: dict[str, StudentAnalyser] = {}
_LOCK = threading.RLock()


def _load(spec: str) -> FeatureExtractor:
    """Load a network, or take the one that was loaded under that name before."""
    with _LOCK:
        if spec not in _LOADED:
            from idse.vision import load_model

            try:
                network = load_model(spec)
            except IdseError:
                raise
            # A damaged file, say: each kind of network fails in its own way.
            except Exception as error:
                raise ModelError(f"cannot load {spec}: {describe(error)}") from error
            network.name = spec
            _LOADED[spec] = network
        return _LOADED[spec]


def _load_student(name: str) -> StudentAnalyser:
    """Load a student, or take the one that was loaded under that name before."""
    with _LOCK:
        if name not in _STUDENTS:
            from idse.learned.student.analyser import load_student

            _STUDENTS[name] = load_student(name, stills=True)
        return _STUDENTS[name]


class Networks:
    """The networks that steer, or a student in their place.

    Parameters
    ----------
    steering
        Which, and how they are sketched.

    Raises
    ------
    ModelError
        One is unknown or cannot be loaded. The built-in student then fails on every picture.
    InputError
        There is none, a weight is no number above 0, or a student is one of several, or has no such
        head.
    """

    def __init__(self, steering: ImageSteering) -> None:
        if not steering.models:
            raise InputError("steering needs a network: name one, or encode without steering")
        check_models(steering.models)
        self._steering = steering
        self._missing: IdseError | None = None
        self._student: StudentAnalyser | None = None
        self._networks: list[tuple[FeatureExtractor, float]] = []
        if students(steering.models):
            self._open_student(str(steering.models[0]))
            return
        for model in steering.models:
            if isinstance(model, str):
                name, weight = split_weight(model)
                self._networks.append((_load(name), weight))
            else:
                self._networks.append((model, 1.0))

    @property
    def name(self) -> str:
        """What reports call them."""
        return self._steering.name

    def _open_student(self, spec: str) -> None:
        try:
            self._student = _load_student(split_weight(spec)[0])
        except IdseError as error:
            if not built_in([spec]) or isinstance(error, InputError):
                raise
            self._missing = error

    def weights(self, picture: Picture) -> list[npt.NDArray[np.float32]]:
        """Return what errors in coefficients cost, as `idse.importance.Analyser.coefficients`.

        It depends on nothing but the picture, so that its file does not.

        Raises
        ------
        ModelError
            A network fails on the picture.
        """
        if self._missing is not None:
            raise ModelError(str(self._missing)) from self._missing
        if self._student is not None:
            return self._student.coefficients(picture)
        with _LOCK:
            try:
                found = self._analyser.coefficients(picture)
                self._analyser.forget()
            except IdseError:
                raise
            # Out of memory, say: torch has exceptions of its own.
            except Exception as error:
                raise ModelError(f"{self._steering.name} failed: {describe(error)}") from error
        return found

    @cached_property
    def _analyser(self) -> Analyser:
        # Every picture has the index 0, so that one says nothing about the next.
        from idse.importance import Analyser

        return Analyser(self._networks, n_s=self._steering.n_s, seed=self._steering.seed)

    def observe(self, picture: Picture) -> list[Observation]:
        """Return what every network makes of a picture.

        Raises
        ------
        ModelError
            A network fails on it.
        InputError
            They are a student, which makes nothing of it.
        """
        check_exact(self._steering.models, "an accuracy")
        from idse.pipeline.images.accuracy import observe

        with _LOCK:
            return [observe(network, picture) for network, _ in self._networks]
