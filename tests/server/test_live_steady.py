"""Live encoders with a map for every picture: offsets that stand still with the scene."""

from concurrent.futures import Future
from fractions import Fraction

import numpy as np
import pytest

from idse.allocation import OffsetPolicy
from idse.picture import Picture, PictureFormat
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.makers import open_maker
from idse.pipeline.report import Warnings
from idse.pipeline.steering import EncodeFacts
from idse.server.live import LiveSteering
from idse.vision.registry import STUDENT

pytestmark = pytest.mark.fast


class AtOnce:
    """Asks for the map of every picture, which is there at once."""

    def __init__(self, weight):
        self._weight = weight
        self.maps = []

    def __call__(self, picture, seconds, *, cut):
        self.maps.append(self._weight(picture))
        asked = Future()
        asked.set_result(self.maps[-1])
        return asked


def still_pictures(count):
    """A flat scene with boxes of fine detail, and a sensor's noise that is new in every picture."""
    rng = np.random.default_rng(0)
    form = PictureFormat(width=320, height=192)
    scene = np.full((192, 320), 110.0)
    for top, left in ((40, 60), (90, 200), (120, 20)):
        scene[top : top + 48, left : left + 64] += rng.normal(0, 40, (48, 64))
    for index in range(count):
        noisy = np.clip(scene + rng.normal(0, 3, scene.shape), 0, 255).astype(np.uint8)
        grey = np.full((96, 160), 128, np.uint8)
        yield Picture(planes=(noisy, grey, grey), format=form, index=index)


def test_a_still_noisy_scene_gets_steady_offsets():
    request = AtOnce(open_maker([STUDENT]).weight)
    facts = EncodeFacts(
        form=PictureFormat(width=320, height=192),
        mb_shape=(12, 20),
        crf=26.0,
        interlaced=False,
        rate=Fraction(10),
        time_base=Fraction(1, 10),
    )
    options = SteeringOptions(policy=OffsetPolicy(), models=(STUDENT,))
    steering = LiveSteering(options, request, facts, Warnings(strict=True))
    found = [steering.offsets(picture, picture.index / 10) for picture in still_pictures(16)]
    assert steering.analysed == len(found)
    assert np.abs(found).max() > 1  # there is something to hold still
    changes = np.abs(np.diff(found, axis=0))[2:]
    flicker = 3 * np.abs(np.diff(np.log2(np.stack(request.maps)), axis=0))
    assert changes.mean() < flicker.mean() / 5
