"""Where the maps of a run come from: networks, loaded while the source is opened, or a file."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idse.errors import IdseError, InputError, ModelError, describe
from idse.importance.bounds import DEFAULT_ROWS, check_sketch
from idse.pipeline.consumer import check_fps
from idse.pipeline.makers import (
    built_in,
    check_exact,
    check_models,
    default_interval,
    open_maker,
)
from idse.pipeline.maps import FileMaps, NetworkMaps
from idse.pipeline.schedule import Schedule, check_interval

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from idse.allocation import OffsetPolicy
    from idse.importance.maker import MapMaker
    from idse.importance.still import StillPolicy
    from idse.pipeline.maps import Origin
    from idse.pipeline.report import Warnings


@dataclass(frozen=True, kw_only=True)
class SteeringOptions:
    """How an encode is steered.

    Attributes
    ----------
    policy
        What offsets may do.
    models
        Networks, ``NAME`` or ``NAME=WEIGHT``, see ``idse.vision.load_model`` for names; or a
        student, see ``idse.learned.student.analyser.load_student``.
    n_s, seed
        Rows and seed of the sketch; students have none.
    analyse_every
        Seconds of video between analyses of one scene; None: see `interval`.
    maps
        A map file in place of networks.
    consumer_fps
        Frames per second that whoever watches looks at: those nearest to multiples of the interval
        from the first one. Others count only by what is copied from them. None: all are looked at.
    still
        When a still background is held (:mod:`idse.importance.still`); None: never.
    measure
        Correct maps by what a first encode truly loses (:mod:`idse.pipeline.measured`).
    guard
        Leave out steering in segments where it is measured to be worse than stock
        (:mod:`idse.pipeline.guard`).
    effort
        ``"normal"``, or ``"oracle"``: search for the offsets (:mod:`idse.pipeline.effort`).
    weighted
        Also weigh errors inside macroblocks, by the libx264 of ``idse build-x264``.

    Raises
    ------
    InputError
        A number is out of range; weights are asked for with maps of a file, which hold macroblocks
        only; or a student is one of several models, or asked for more than maps.
    """

    policy: OffsetPolicy
    models: Sequence[str] = ()
    n_s: int = DEFAULT_ROWS
    seed: int = 0
    analyse_every: float | None = None
    maps: Path | None = None
    consumer_fps: float | None = None
    still: StillPolicy | None = None
    measure: bool = False
    guard: bool = False
    effort: str = "normal"
    weighted: bool = False

    def __post_init__(self) -> None:
        check_sketch(self.n_s, self.seed)
        check_interval(self.interval)
        if self.consumer_fps is not None:
            check_fps(self.consumer_fps)
        if self.weighted and self.maps is not None:
            raise InputError(
                "--weighted needs to know what matters inside macroblocks, which map files do not "
                "hold: give --model, not --maps"
            )
        check_models(self.models)
        trials = {"--measure": self.measure, "--guard": self.guard}
        asked = [name for name, given in trials.items() if given]
        if self.effort != "normal":
            asked.append(f"--effort {self.effort}")
        if asked:
            check_exact(self.models, asked[0])

    @property
    def interval(self) -> float:
        """Seconds between analyses: where none are asked for, what the models can afford."""
        every = self.analyse_every
        return default_interval(self.models) if every is None else every

    @property
    def rehearses(self) -> bool:
        """Whether there are encodes before the one that is kept."""
        return self.measure or self.guard or self.effort != "normal"

    @property
    def name(self) -> str:
        """What the report calls the maps' origin."""
        return " ".join(self.models) if self.maps is None else f"maps {self.maps}"

    def open_maps(self, warnings: Warnings) -> Origin:
        """Read the map file, or begin to load the networks.

        Raises
        ------
        MapError
            The file cannot be used.
        InputError
            A value is out of range.
        """
        if self.maps is not None:
            from idse.importance.maps import read_maps

            return FileMaps(read_maps(self.maps))
        return NetworkMaps(
            _Loading(self),
            Schedule(self.interval),
            warnings,
            inner=self.weighted,
            dispensable=built_in(self.models),
        )


class _Loading:
    """Loads networks in a thread: importing torch alone takes two seconds."""

    def __init__(self, options: SteeringOptions) -> None:
        self._options = options
        self._network: MapMaker | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._load, name="load networks", daemon=True)
        self._thread.start()

    def _load(self) -> None:
        try:
            options = self._options
            self._network = open_maker(options.models, n_s=options.n_s, seed=options.seed)
        except BaseException as error:  # noqa: BLE001 - raised to whoever asks for the networks
            self._error = error

    def __call__(self) -> MapMaker:
        """Return the networks once they are there; raise what kept them from loading."""
        self._thread.join()
        if isinstance(self._error, Exception) and not isinstance(self._error, IdseError):
            what = describe(self._error)
            raise ModelError(f"cannot load {self._options.name}: {what}") from self._error
        if self._error is not None:
            raise self._error
        assert self._network is not None
        return self._network

    def close(self) -> None:
        """Wait until loading has ended, well or not."""
        self._thread.join()
