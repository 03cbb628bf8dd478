"""Which frames are read, by their times alone."""

from fractions import Fraction

import numpy as np
import pytest

from idse.errors import InputError
from idse.pipeline.consumer import Consumer
from idse.pipeline.timing import FrameTime

pytestmark = pytest.mark.fast


def read(fps, times, duration, time_base=Fraction(1, 1000)):
    consumer = Consumer(fps, time_base)
    looks = [consumer.looks(FrameTime(pts=pts, duration=duration)) for pts in times]
    return [index for index, value in enumerate(looks) if value]


@pytest.mark.parametrize("start", [0, 370, -40])
def test_every_nth_frame_from_the_first(start):
    times = range(start, start + 3000, 100)
    assert read(2, times, 100) == list(range(0, 30, 5))
    assert read(10, times, 100) == list(range(30))
    assert read(60, times, 100) == list(range(30))
    assert read(0.5, times, 100) == [0, 20]


def test_the_nearest_frame_where_none_is_at_the_instant():
    # 12.5 frames per second, read at 2: instants 0.5, 1.0, 1.5... lie between frames.
    nearest = [0, 6, 12, 19, 25]
    assert read(2, range(30), 1, Fraction(2, 25)) == nearest


def test_does_not_drift_at_broadcast_rates():
    base = Fraction(1001, 30000)
    found = read(29.97 / 3, range(9000), 1, base)
    assert found == list(range(0, 9000, 3))


def test_gaps_in_the_source_are_read_once():
    times = [0, 100, 200, 2000, 2100]
    consumer = Consumer(2, Fraction(1, 1000))
    durations = [100, 100, 1800, 100, 100]
    pairs = zip(times, durations, strict=True)
    looks = [consumer.looks(FrameTime(pts=pts, duration=length)) for pts, length in pairs]
    assert [value > 0 for value in looks] == [True, False, True, True, False]


def test_frames_that_are_read_stand_for_those_that_are_not():
    for fps, expected in ((2, 5.0), (10, 1.0), (30, 1.0)):
        consumer = Consumer(fps, Fraction(1, 1000))
        frames = [FrameTime(pts=pts, duration=100) for pts in range(0, 1000, 100)]
        looks = [consumer.looks(frame) for frame in frames]
        assert max(looks) == pytest.approx(expected)
        assert np.mean(looks) == pytest.approx(1)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_refuses_what_is_no_rate(fps):
    with pytest.raises(InputError, match=f"consumer_fps {fps!r}"):
        Consumer(fps, Fraction(1, 1000))
