"""The networks and map files that a server has: clients name them, and nothing else."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from idse.errors import InputError
from idse.importance.bounds import DEFAULT_ROWS
from idse.importance.naming import split_weight
from idse.picture import Picture, PictureFormat
from idse.pipeline.makers import built_in, check_exact, check_models, students
from idse.server.queue import Job
from idse.server.settings import check_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy.typing as npt

    from idse.importance import Analyser
    from idse.importance.maker import MapMaker
    from idse.importance.maps import MapSet
    from idse.importance.spectrum import Spectrum
    from idse.learned.student.analyser import StudentAnalyser
    from idse.server.queue import AnalysisQueue
    from idse.vision import FeatureExtractor

T = TypeVar("T")


class Models:
    """What was registered when the server started.

    Parameters
    ----------
    models
        Networks and students, named as for ``idse transcode --model``; the first one is what
        clients get who name none. Without networks there is no need of torch.
    maps
        Map files by the name that clients give.

    Raises
    ------
    InputError
        There is neither a network nor a file.
    """

    def __init__(self, models: Sequence[str], maps: Mapping[str, Path] | None = None) -> None:
        if not models and not maps:
            raise InputError("a server needs at least one network or map file, got none")
        self.names = tuple(dict.fromkeys(models))
        self._paths = dict(maps or {})
        self._maps: dict[str, MapSet] = {}
        self._networks: dict[str, FeatureExtractor] = {}
        # By whether they are for still pictures, too: those are loaded when they are asked for.
        self._students: dict[tuple[str, bool], StudentAnalyser] = {}
        self._loading = threading.Lock()
        # Hooks, by which features come from an inner layer, are the module's: one pass at a time.
        self._hooks = threading.Lock()

    @property
    def default(self) -> str:
        """The network of clients who name none.

        Raises
        ------
        InputError
            There is none.
        """
        if not self.names:
            raise InputError(f"this server has no network: ask for --maps {self.map_names[0]}")
        return self.names[0]

    @property
    def map_names(self) -> tuple[str, ...]:
        """Names of the map files."""
        return tuple(self._paths)

    @property
    def ready(self) -> bool:
        """Whether everything is loaded."""
        loaded = all(
            name in self._networks or (name, False) in self._students for name in self.names
        )
        return loaded and len(self._maps) == len(self._paths)

    def load(self) -> None:
        """Load everything, and run every network once: the first run is slower than others.

        Raises
        ------
        IdseError
            Something cannot be loaded, or fails on a grey picture.
        """
        from idse.importance.maps import read_maps

        for name, path in self._paths.items():
            self._maps[name] = read_maps(path)
        for name in self.names:
            if students([name]):
                self._student(name, stills=False)
            else:
                self._load_network(name)

    def _student(self, name: str, *, stills: bool) -> StudentAnalyser:
        from idse.learned.student.analyser import load_student

        key = name, stills and built_in([name])
        with self._loading:
            if key not in self._students:
                student = load_student(name, stills=stills)
                student.weight(_grey())
                self._students[key] = student
            return self._students[key]

    def _load_network(self, name: str) -> None:
        from idse.importance import Analyser, load_networks

        ((network, _),) = load_networks([name])
        Analyser([(network, 1.0)], n_s=1).analyse(_grey())
        self._networks[name] = network

    def network(self, name: str) -> FeatureExtractor:
        """Return a network.

        Raises
        ------
        InputError
            There is none of this name, or it is a student.
        """
        self._check_name(name)
        check_exact([name], "this")
        return self._networks[name]

    def _check_name(self, name: str) -> None:
        if name not in self._networks and (name, False) not in self._students:
            raise InputError(f"model {name!r} is not one of this server's: {', '.join(self.names)}")

    def maps(self, name: str) -> MapSet:
        """Return the maps of a file.

        Raises
        ------
        InputError
            There is none of this name.
        """
        if name not in self._maps:
            known = ", ".join(self._maps) or "it has none"
            raise InputError(f"maps {name!r} are not some of this server's: {known}")
        return self._maps[name]

    def check(self, specs: Sequence[str], n_s: int) -> None:
        """Check what a client asks for.

        Raises
        ------
        InputError
            A model is not this server's, a student is one of several, a weight or the number of
            rows is out of range.
        """
        check_rows(n_s)
        for spec in specs:
            self._check_name(split_weight(spec)[0])
        check_models(specs)

    def analyser(self, specs: Sequence[str], *, n_s: int = DEFAULT_ROWS, seed: int = 0) -> Analyser:
        """Return an analyser of a client's own, by networks that all share.

        Parameters
        ----------
        specs
            ``NAME`` or ``NAME=WEIGHT``.
        n_s, seed
            As for `Analyser`.

        Raises
        ------
        InputError
            As `check`.
        """
        self.check(specs, n_s)
        from idse.importance import Analyser

        named = [split_weight(spec) for spec in specs]
        return Analyser([(self.network(n), w) for n, w in named], n_s=n_s, seed=seed)

    def student(
        self, specs: Sequence[str], *, stills: bool = False, n_s: int = DEFAULT_ROWS
    ) -> StudentAnalyser:
        """Return a student, which all clients share.

        Raises
        ------
        InputError
            As `check`.
        ModelError
            It is for still pictures, and its network for those is missing or damaged.
        """
        self.check(specs, n_s)
        return self._student(split_weight(specs[0])[0], stills=stills)

    def turn(self, specs: Sequence[str]) -> AbstractContextManager[Any]:
        """Return what is to be held while these networks run."""
        if students(specs):
            return nullcontext()
        layers = [self.network(split_weight(spec)[0]).layer for spec in specs]
        return nullcontext() if set(layers) == {None} else self._hooks


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is asked about a picture: by whom, and what is to be held meanwhile."""

    analyser: Analyser
    picture: Picture
    turn: AbstractContextManager[Any]


def prepare(subjects: Sequence[Subject]) -> None:
    """Run networks once over the pictures of several clients: `AnalysisQueue`'s preparation."""
    from idse.importance.analyser import prepare_together

    with subjects[0].turn:
        prepare_together([(item.analyser, item.picture) for item in subjects])


class QueuedNetwork:
    """An analyser whose analyses wait for their turn among those of other clients.

    Parameters
    ----------
    models, specs, n_s, seed
        See `Models.analyser`.
    stills
        Whether pictures are still ones, not frames of a video.
    queue
        Where they wait.
    client
        Whose they are.
    together
        Whether a picture may go through the network with those of other clients, which changes
        results in their last digits.
    """

    def __init__(
        self,
        models: Models,
        specs: Sequence[str],
        queue: AnalysisQueue,
        *,
        client: Hashable,
        stills: bool = False,
        n_s: int = DEFAULT_ROWS,
        seed: int = 0,
        together: bool = False,
    ) -> None:
        self._sketches: Analyser | None = None
        self._maker: MapMaker
        if students(specs):
            self._maker = models.student(specs, stills=stills, n_s=n_s)
        else:
            self._maker = self._sketches = models.analyser(specs, n_s=n_s, seed=seed)
        self._kind = (*specs, n_s)
        self._turn = models.turn(specs)
        self._queue = queue
        self._client = client
        self._together = together

    def submit(
        self,
        picture: Picture,
        call: Callable[[MapMaker], T],
        *,
        deadline: float | None = None,
        patient: bool = False,
    ) -> Future[T]:
        """Ask for something about a picture.

        Raises
        ------
        BusyError
            As `AnalysisQueue.submit`.
        """
        sketches, maker = self._sketches, self._maker

        def run() -> T:
            with self._turn:
                return call(maker)

        job = Job(
            client=self._client,
            kind=(*self._kind, picture.format),
            call=run,
            deadline=deadline,
        )
        if sketches is not None:
            job.batch = (*sketches.likeness, picture.format) if self._together else None
            job.subject = Subject(sketches, picture, self._turn)
        return self._queue.submit(job, patient=patient)

    def weight(self, picture: Picture) -> npt.NDArray[np.float32]:
        """Return the map of a picture; see :class:`idse.pipeline.maps.Network`."""
        return self.submit(picture, lambda a: a.weight(picture), patient=True).result()

    def blocks(self, picture: Picture) -> npt.NDArray[np.float32]:
        """Return what its 4x4 luma blocks matter."""
        return self.submit(picture, lambda a: a.blocks(picture), patient=True).result()

    def spectrum(self, picture: Picture) -> Spectrum:
        """Return the importance per frequency of a picture."""
        return self.submit(picture, lambda a: a.spectrum(picture), patient=True).result()


def _grey() -> Picture:
    form = PictureFormat(width=320, height=192)
    y, cb, cr = (np.full(shape, 128, np.uint8) for shape in form.plane_shapes)
    return Picture(planes=(y, cb, cr), format=form)
