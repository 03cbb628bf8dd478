"""A segment of pictures, and its encodes, for the search of the ceiling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from idse.codecs.x264 import Encoder
from idse.importance import Analyser
from idse.importance.true_error import TrueErrorMeter
from idse.pipeline.trial import Trials

if TYPE_CHECKING:
    from fractions import Fraction

    import numpy as np
    import numpy.typing as npt

    from idse.importance.true_error import SourceView
    from idse.picture import Picture
    from idse.pipeline.store import PictureStore
    from idse.vision import FeatureExtractor

    FloatMap = npt.NDArray[np.float32]

# What everything is compared with.
ANCHOR = "stock default"

# Rounds of the search.
ROUNDS = 3


class Segment:
    """Pictures with everything that is asked of them more often than once."""

    def __init__(self, name: str, store: PictureStore, rate: Fraction, network: FeatureExtractor):
        self.name = name
        self.store = store
        self.rate = rate
        self.network = network
        self.meter = TrueErrorMeter([network])
        self._analyser = Analyser([(network, 1.0)])
        self._weights: dict[int, FloatMap] = {}
        self._views: dict[int, SourceView] = {}

    def weight(self, item: Picture) -> FloatMap:
        """Return a picture's importance by the sketch."""
        if item.index not in self._weights:
            self._weights[item.index] = self._analyser.analyse(item).weight()
        return self._weights[item.index]

    def trials(self, crf: float, options: dict[str, str], *, stride: int) -> Trials:
        """Return encodes of the segment."""
        first = self.store[0].format

        def open_encoder(shift: float) -> Encoder:
            return Encoder(
                width=first.width,
                height=first.height,
                fps=self.rate,
                options={"crf": f"{crf + shift:g}", "threads": "1", **options},
                steer=True,
            )

        return Trials(
            self.store,
            range(len(self.store)),
            open_encoder,
            self.meter,
            stride=stride,
            views=self._views,
        )
