"""Maps corrected by what a first encode truly lost (``--measure``)."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idse.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from idse.importance.true_error import TrueErrorMeter
    from idse.picture import Picture
    from idse.pipeline.maps import Maps
    from idse.pipeline.probe import Watched
    from idse.pipeline.report import Warnings

FloatMap = npt.NDArray[np.float32]

# How much the measured weights count beside the sketch's. One frame's shares are noisy, and the
# sketch knows nothing of the error's spectrum: half and half was better than either.
_MEASURED = 0.5


class MeasuredWeights:
    """True-error weights of the frames of a trial encode, kept on disk.

    Parameters
    ----------
    meter
        Returns what measures the networks' losses, when the first frame comes.
    importance
        The networks' weights.
    warnings
        Where it is told that a network failed on a frame. Such a frame has no measured weight.
    """

    def __init__(
        self,
        meter: Callable[[], TrueErrorMeter],
        importance: Sequence[float],
        warnings: Warnings,
    ) -> None:
        self._open = meter
        self._importance = np.array(importance, np.float64) / sum(importance)
        self._warnings = warnings
        self._meter: TrueErrorMeter | None = None
        self._starts: dict[int, int] = {}
        self._distance = np.zeros(len(importance))
        self._file = tempfile.TemporaryFile(prefix="idse-measured-")  # noqa: SIM115 - see close

    def add(self, watched: Watched) -> None:
        """Measure a frame."""
        if self._meter is None:
            self._meter = self._open()
        try:
            found = self._meter.measure(self._meter.view(watched.source), watched.decoded)
        except ModelError as error:
            self._warnings.add("measure", f"{error}: such frames are steered by the sketch alone")
            return
        self._distance += found.distance
        self._starts[watched.index] = self._file.seek(0, 2)
        record = np.concatenate([found.share, found.squared_error[None]])
        np.save(self._file, record.astype(np.float32))

    def get(self, index: int) -> FloatMap | None:
        """Return a frame's weights ``(rows, cols)``, or None where it was not measured.

        Comparable between the frames of a run, once all have been added: a network's loss counts
        relative to its mean over the run.
        """
        from idse.importance.shares import weights

        if index not in self._starts:
            return None
        self._file.seek(self._starts[index])
        record = np.load(self._file).astype(np.float64)
        mean = self._distance / len(self._starts)
        scale = np.divide(self._importance, mean, out=np.zeros_like(mean), where=mean > 0)
        return weights(np.tensordot(scale, record[:-1], axes=1), record[-1])

    @property
    def mean(self) -> float:
        """Mean weight of a macroblock over all measured frames; 0 where there is none."""
        means = [float(found.mean()) for i in self._starts if (found := self.get(i)) is not None]
        return sum(means) / len(means) if means else 0.0

    def __len__(self) -> int:
        return len(self._starts)

    def __contains__(self, index: int) -> bool:
        return index in self._starts

    def close(self) -> None:
        """Delete the record."""
        self._file.close()


class NotedMaps:
    """Hands on maps, and notes which frames had one of their own and how large it was."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self.frames: set[int] = set()
        self._total = 0.0

    def weight(self, picture: Picture, seconds: float, *, cut: bool) -> FloatMap | None:
        """See :class:`Maps`."""
        found = self._maps.weight(picture, seconds, cut=cut)
        if found is not None:
            self._total += float(found.mean(dtype=np.float64))
            self.frames.add(picture.index)
        return found

    def blocks(self, picture: Picture) -> FloatMap | None:
        """See :class:`Maps`."""
        return self._maps.blocks(picture)

    @property
    def mean(self) -> float:
        """Mean weight of a macroblock over all maps so far; 0 where there is none."""
        return self._total / len(self.frames) if self.frames else 0.0

    def close(self) -> None:
        """Leave the maps to who opened them."""


class MeasuredMaps:
    """Maps of a first pass, half of each replaced by what that pass truly lost.

    Parameters
    ----------
    maps
        The first pass's, to be handed out once more.
    measured
        What was measured in it.
    mean
        Mean weight of ``maps`` over the frames measured.
    """

    def __init__(self, maps: Maps, measured: MeasuredWeights, *, mean: float) -> None:
        self._maps = maps
        self._measured = measured
        self._mean = mean
        self._measured_mean = measured.mean

    def weight(self, picture: Picture, seconds: float, *, cut: bool) -> FloatMap | None:
        """See :class:`Maps`."""
        weight = self._maps.weight(picture, seconds, cut=cut)
        found = None if weight is None else self._measured.get(picture.index)
        if weight is None or found is None or self._mean <= 0 or self._measured_mean <= 0:
            return weight
        ours = np.float32((1 - _MEASURED) / self._mean) * weight
        theirs = np.float32(_MEASURED / self._measured_mean) * found
        return np.asarray((ours + theirs) * np.float32(self._mean), np.float32)

    def blocks(self, picture: Picture) -> FloatMap | None:
        """See :class:`Maps`. What is measured is measured of macroblocks."""
        return self._maps.blocks(picture)

    def close(self) -> None:
        """Leave both parts to who opened them."""
