"""Where the maps of frames come from: a network, a file, or what an earlier pass recorded."""

from __future__ import annotations

import logging
import tempfile
from array import array
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from idse.errors import IdseError, InputError, describe

if TYPE_CHECKING:
    from idse.importance.maps import MapSet
    from idse.importance.spectrum import Spectrum
    from idse.picture import Picture
    from idse.pipeline.report import Warnings
    from idse.pipeline.schedule import Schedule

logger = logging.getLogger(__name__)

FloatMap = npt.NDArray[np.float32]

# What a record holds in place of a map.
_NO_MAP: FloatMap = np.zeros((0, 0), np.float32)
_FAILED: FloatMap = np.zeros((0, 1), np.float32)


class FrameFailed(Exception):  # noqa: N818 - a signal, not an error of the run
    """No map can be made for a frame: it goes out unsteered."""


class Maps(Protocol):
    """Where maps come from: a network, a file, or what an earlier pass recorded."""

    def weight(self, picture: Picture, seconds: float, *, cut: bool) -> FloatMap | None:
        """Return float32 ``(mb_rows, mb_cols)`` weights, or None where a frame has no own map.

        Called once for every frame, in order.

        Parameters
        ----------
        picture
            As decoded.
        seconds
            When it is shown.
        cut
            True for the first frame and where a scene begins.

        Raises
        ------
        FrameFailed
            There should be one, and is none.
        """

    def blocks(self, picture: Picture) -> FloatMap | None:
        """Return what 4x4 luma blocks of a frame matter; None where that is not known.

        Called, if at all, right after `weight` has returned a map of the same frame, and of every
        such frame.

        Returns
        -------
        float32 ``(ceil(height / 4), ceil(width / 4))``, in any unit.

        Raises
        ------
        Exception
            There should be some, and are none: anything that a network may raise.
        """

    def close(self) -> None:
        """Let go of what is behind the maps."""


class Origin(Maps, Protocol):
    """Where maps come from in the first place."""

    def spectrum(self, picture: Picture) -> Spectrum | None:
        """Return the importance per frequency of the first frame; None where it is not known."""


class Network(Protocol):
    """What steering asks of an `idse.importance.maker.MapMaker`."""

    def weight(self, picture: Picture) -> FloatMap:
        """Return the importance of each macroblock per luma sample."""

    def blocks(self, picture: Picture) -> FloatMap:
        """Return what its 4x4 luma blocks matter; `weight` comes next, and is then quick."""

    def spectrum(self, picture: Picture) -> Spectrum:
        """Return the importance per frequency of a picture."""


class Loading(Protocol):
    """A network that is being loaded."""

    def __call__(self) -> Network:
        """Return it, once it is there."""

    def close(self) -> None:
        """Wait for it, and do not mind if it failed."""


class NetworkMaps:
    """Maps from a network, on schedule.

    Parameters
    ----------
    analyser
        The network; waited for when the first frame is due.
    schedule
        Which frames are analysed.
    warnings
        Where it is told that the network failed on a frame. Such a frame has no map, and the next
        one is tried.
    inner
        Whether `blocks` is going to be asked for.
    dispensable
        Whether a network that cannot be loaded costs the frames their maps, and no more: not one
        that is asked for what it has not, which whoever asks can mend.
    """

    def __init__(
        self,
        analyser: Loading,
        schedule: Schedule,
        warnings: Warnings,
        *,
        inner: bool = False,
        dispensable: bool = False,
    ) -> None:
        self._analyser = analyser
        self._schedule = schedule
        self._warnings = warnings
        self._inner = inner
        self._dispensable = dispensable
        self._blocks: FloatMap | Exception | None = None

    def weight(self, picture: Picture, seconds: float, *, cut: bool) -> FloatMap | None:
        """See :class:`Maps`."""
        if not self._schedule.due(seconds, cut=cut):
            return None
        network = self._network()
        if network is None:
            raise FrameFailed
        try:
            self._prepare_blocks(network, picture)
            found = network.weight(picture)
        except Exception as error:  # a user's network may raise anything
            self._warnings.add(
                "network",
                f"the network failed on frame {picture.index} ({describe(error)}): frames that it "
                "fails on go out unsteered",
            )
            raise FrameFailed from error
        self._schedule.done(seconds)
        return found

    def _network(self) -> Network | None:
        """Return the network; None where there is none and it is dispensable."""
        try:
            return self._analyser()
        except IdseError as error:
            if not self._dispensable or isinstance(error, InputError):
                raise
            self._warnings.add("network", f"{error}: all frames go out unsteered")
            return None

    def _prepare_blocks(self, network: Network, picture: Picture) -> None:
        """Find what `blocks` returns: before the map, which lets go of the same gradients."""
        self._blocks = None
        if not self._inner:
            return
        try:
            self._blocks = network.blocks(picture)
        except Exception as error:  # noqa: BLE001 - told where the map is there all the same
            self._blocks = error

    def blocks(self, picture: Picture) -> FloatMap | None:  # noqa: ARG002 - it is the last one
        """See :class:`Maps`."""
        found, self._blocks = self._blocks, None
        if isinstance(found, Exception):
            raise found
        return found

    def spectrum(self, picture: Picture) -> Spectrum | None:
        """See :class:`Origin`. A network that fails here is told of when the frame is analysed."""
        network = self._network()
        if network is None:
            return None
        try:
            return network.spectrum(picture)
        except Exception as error:  # noqa: BLE001 - a user's network may raise anything
            logger.info("no matrices: the network failed on the first frame: %s", describe(error))
            return None

    def close(self) -> None:
        """Wait for a load that is under way: ending the process inside an import may crash it."""
        self._analyser.close()


class FileMaps:
    """Maps from a file, for exactly the frames that it has maps for."""

    def __init__(self, maps: MapSet) -> None:
        self._maps = maps

    def weight(self, picture: Picture, seconds: float, *, cut: bool) -> FloatMap | None:  # noqa: ARG002
        """See :class:`Maps`.

        Raises
        ------
        MapError
            The maps were made for other pictures.
        """
        if picture.index == 0:
            self._maps.check_source(picture.format)
        self._maps.check_frame(picture)
        found = self._maps.get(picture.index)
        return None if found is None else found.weight()

    def blocks(self, picture: Picture) -> FloatMap | None:  # noqa: ARG002
        """Return None: the file holds macroblocks."""
        return None

    def spectrum(self, picture: Picture) -> Spectrum | None:  # noqa: ARG002 - the file's is of it
        """See :class:`Origin`."""
        return self._maps.spectrum

    def close(self) -> None:
        """Nothing is open."""


class RecordedMaps:
    """Hands on maps and keeps them on disk, to hand out the same ones in a second pass."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._recorded = False
        self._starts = array("q")  # of each frame's record in the file; -1 where there is none
        self._blocks: dict[int, int] = {}  # the same of what is known of frames' blocks
        self._file = tempfile.TemporaryFile(prefix="idse-maps-")  # noqa: SIM115 - see close

    def weight(self, picture: Picture, seconds: float, *, cut: bool) -> FloatMap | None:
        """See :class:`Maps`."""
        if self._recorded:
            return self._replay(picture.index)
        self._starts.extend([-1] * (picture.index - len(self._starts)))
        self._starts.append(self._file.tell())
        try:
            weight = self._maps.weight(picture, seconds, cut=cut)
        except FrameFailed:
            np.save(self._file, _FAILED)
            raise
        np.save(self._file, _NO_MAP if weight is None else weight)
        return weight

    def blocks(self, picture: Picture) -> FloatMap | None:
        """See :class:`Maps`."""
        if not self._recorded:
            blocks = self._maps.blocks(picture)
            if blocks is not None:
                self._blocks[picture.index] = self._file.tell()
                np.save(self._file, blocks)
            return blocks
        if picture.index not in self._blocks:
            return None
        self._file.seek(self._blocks[picture.index])
        found: FloatMap = np.load(self._file)
        return found

    def _replay(self, index: int) -> FloatMap | None:
        start = self._starts[index] if index < len(self._starts) else -1
        if start < 0:
            raise FrameFailed
        self._file.seek(start)
        found: FloatMap = np.load(self._file)
        if found.shape == _FAILED.shape:
            raise FrameFailed
        return found if found.size else None

    def rewind(self) -> None:
        """From now on hand out what was recorded."""
        self._recorded = True

    def close(self) -> None:
        """Delete the record."""
        self._file.close()
