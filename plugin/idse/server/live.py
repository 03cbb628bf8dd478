"""Offsets for encoders that do not wait: maps apply as they arrive, moved to where they belong."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from idse.allocation import Allocator, estimate_bits
from idse.errors import BusyError, describe
from idse.importance.carry import ImportanceTrack, carry
from idse.importance.motion import MotionEstimator
from idse.importance.steady import SteadyMaps
from idse.pipeline.schedule import Schedule

if TYPE_CHECKING:
    from idse.importance.motion import MotionField
    from idse.picture import Picture
    from idse.pipeline.loading import SteeringOptions
    from idse.pipeline.maps import Maps
    from idse.pipeline.report import Warnings
    from idse.pipeline.steering import EncodeFacts
    from idse.server.models import QueuedNetwork

FloatMap = npt.NDArray[np.float32]

# Seconds that an analysis may take where pictures are analysed more often than that. An old map is
# moved to where it belongs; with less patience a machine that is busy would never have any.
_PATIENCE = 5.0


class MapRequest(Protocol):
    """Asks for the map of a picture."""

    def __call__(
        self, picture: Picture, seconds: float, *, cut: bool
    ) -> Future[FloatMap | None] | None:
        """Return what the map will be found in; None where the picture is to have none.

        Raises
        ------
        BusyError
            It would not come in time.
        """


class NetworkRequest:
    """Asks a network, on schedule.

    Parameters
    ----------
    network
        Where analyses wait for their turn.
    every
        Seconds between analyses of one scene.
    """

    def __init__(self, network: QueuedNetwork, every: float) -> None:
        self._network = network
        self._schedule = Schedule(every)
        self._patience = max(every, _PATIENCE)

    def __call__(
        self, picture: Picture, seconds: float, *, cut: bool
    ) -> Future[FloatMap | None] | None:
        """See :class:`MapRequest`."""
        if not self._schedule.due(seconds, cut=cut):
            return None
        y, cb, cr = (plane.copy() for plane in picture.planes)  # the encoder fills its slot again
        kept = replace(picture, planes=(y, cb, cr))
        deadline = time.monotonic() + self._patience
        asked: Future[FloatMap | None] = self._network.submit(
            kept, lambda analyser: analyser.weight(kept), deadline=deadline
        )
        self._schedule.done(seconds)
        return asked


class FileRequest:
    """Looks into a file, which takes no time.

    Parameters
    ----------
    maps
        Of the file.
    """

    def __init__(self, maps: Maps) -> None:
        self._maps = maps

    def __call__(
        self, picture: Picture, seconds: float, *, cut: bool
    ) -> Future[FloatMap | None] | None:
        """See :class:`MapRequest`."""
        found = self._maps.weight(picture, seconds, cut=cut)
        if found is None:
            return None
        asked: Future[FloatMap | None] = Future()
        asked.set_result(found)
        return asked


class LiveSteering:
    """The offsets of successive pictures, each by what is known when it comes.

    Parameters
    ----------
    options
        How; weights of blocks and consumers of single frames are left out.
    request
        Where maps come from.
    facts
        Of the encode.
    warnings
        Where it is told that an analysis failed.

    Attributes
    ----------
    age
        Seconds of video since the picture whose map counts last; None before the first one.
    analysed
        Maps that arrived.
    refused
        Analyses that would not have come in time.
    """

    def __init__(
        self,
        options: SteeringOptions,
        request: MapRequest,
        facts: EncodeFacts,
        warnings: Warnings,
    ) -> None:
        self._request = request
        self._qp = facts.qp
        self._allocator = Allocator(
            options.policy, facts.mb_shape, crf=facts.crf, interlaced=facts.interlaced
        )
        self._warnings = warnings
        self._motion = MotionEstimator()
        self._track = ImportanceTrack()
        self._steady = SteadyMaps()
        self._asked: Future[FloatMap | None] | None = None
        self._since: list[MotionField] = []  # of the pictures after the one that is analysed
        self._asked_at = 0.0
        self._known_at: float | None = None
        self._shown: float | None = None
        self.age: float | None = None
        self.analysed = 0
        self.refused = 0

    def offsets(self, picture: Picture, seconds: float) -> FloatMap | None:
        """Return the offsets of the next picture; None where nothing is known of it yet.

        Parameters
        ----------
        picture
            As it is encoded; it is not held.
        seconds
            When it is shown.
        """
        field = self._motion.push(picture)
        cut = field is None or field.scene_cut
        if cut:
            self._forget()
        elif field is not None:
            self._since.append(field)
        fresh = self._arrived()
        if self._asked is None:
            self._ask(picture, seconds, cut=cut)
        if fresh is None:
            fresh = self._arrived()  # a file's map is there at once
        log_weight = self._track.advance(field, fresh)
        # Where maps come as fast as pictures, all of what they differ by is told to the encoder.
        log_weight = self._steady.advance(field, log_weight, analysed=fresh is not None)
        elapsed = 0.0 if self._shown is None else max(0.0, seconds - self._shown)
        self._shown = seconds
        rate = estimate_bits(picture, field, qp=self._qp)
        offsets = self._allocator.offsets(log_weight, rate, elapsed=elapsed)
        self.age = None if self._known_at is None else seconds - self._known_at
        return None if log_weight is None else offsets

    def _forget(self) -> None:
        """Let go of an analysis of another scene."""
        if self._asked is not None:
            self._asked.cancel()
        self._asked = None
        self._since = []
        self._known_at = None

    def _ask(self, picture: Picture, seconds: float, *, cut: bool) -> None:
        try:
            self._asked = self._request(picture, seconds, cut=cut)
        except BusyError:
            self.refused += 1
            return
        self._since = []
        self._asked_at = seconds

    def _arrived(self) -> FloatMap | None:
        """Return the log-weights of an analysis that is done, moved to the current picture."""
        asked = self._asked
        if asked is None or not asked.done():
            return None
        self._asked = None
        try:
            weight = asked.result()
        except BusyError:
            self.refused += 1
            return None
        except Exception as error:  # noqa: BLE001 - a user's network may raise anything
            self._warnings.add("network", f"an analysis failed: {describe(error)}")
            return None
        if weight is None:
            return None
        self.analysed += 1
        before = self._known_at
        elapsed = 0.0 if before is None else max(0.0, self._asked_at - before)
        self._allocator.observe(weight, elapsed=elapsed)
        self._known_at = self._asked_at
        log_weight = self._allocator.normalise(weight)
        for field in self._since:
            log_weight = carry(log_weight, field)
        self._since = []
        return log_weight
