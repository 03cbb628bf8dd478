"""The still background as a step of the pipeline: frames in, smoothed frames out, failures told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from idse.errors import describe
from idse.importance.still import StillBackground
from idse.pipeline.source import DecodedFrame

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from idse.importance.motion import MotionField
    from idse.importance.still import StillPolicy
    from idse.picture import Picture
    from idse.pipeline.report import Warnings


@dataclass(frozen=True, slots=True, eq=False)
class SmoothedFrame(DecodedFrame):
    """A frame with other planes than it was decoded to."""

    @property
    def size(self) -> int:
        """Bytes that its planes and the decoded ones hold."""
        return 2 * sum(plane.nbytes for plane in self.picture.planes)


class BackgroundFilter:
    """Smooths the still background of successive frames.

    What is to be shown of a frame is decided when its weights are known, in :meth:`look`, and
    handed out when the frame leaves, in :meth:`take`, which may be later.

    Parameters
    ----------
    policy
        When a background is held; None smooths nothing.
    warnings
        Where it is told that smoothing failed. Frames then pass as they are.
    """

    def __init__(self, policy: StillPolicy | None, warnings: Warnings) -> None:
        self._still = None if policy is None else StillBackground(policy)
        self._warnings = warnings
        self._changed: dict[int, Picture] = {}

    def look(
        self,
        picture: Picture,
        field: MotionField | None,
        log_weight: npt.NDArray[np.float32] | None,
        elapsed: float,
    ) -> None:
        """Decide what is shown of the next picture; see :meth:`StillBackground.advance`.

        Raises
        ------
        InputError
            The run is strict and the smoothing failed.
        """
        if self._still is None:
            return
        try:
            planes = self._still.advance(picture, field, log_weight, elapsed)
        except Exception as error:  # noqa: BLE001 - the frame is as good as it is
            self._still.reset()
            self._warnings.add(
                "static background",
                f"smoothing failed on frame {picture.index} ({describe(error)}): it goes out as it "
                "is",
            )
            return
        if planes is not picture.planes:
            self._changed[picture.index] = replace(picture, planes=planes)

    def take(self, frame: DecodedFrame) -> DecodedFrame:
        """Return a frame as it is to be encoded."""
        changed = self._changed.pop(frame.picture.index, None)
        return frame if changed is None else SmoothedFrame(frame.frame, changed, frame.time)

    def reset(self) -> None:
        """Forget the background: what comes next may have nothing to do with it."""
        if self._still is not None:
            self._still.reset()
