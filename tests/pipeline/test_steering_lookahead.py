"""Frames that wait in the steering: order, what they learn from later ones, failures, readers."""

from fractions import Fraction

import numpy as np
import pytest
from media_clips import clip, ffmpeg

from idse.allocation import Allocator, OffsetPolicy
from idse.errors import InputError
from idse.picture import PictureFormat
from idse.pipeline.arguments import parse, steering_options
from idse.pipeline.maps import FrameFailed
from idse.pipeline.report import Warnings
from idse.pipeline.schedule import waiting_pictures
from idse.pipeline.source import DecodedFrame, Source
from idse.pipeline.steering import Steering

pytestmark = pytest.mark.fast

SHAPE = (6, 10)


class Given:
    """Maps by frame index; an exception in place of one is raised."""

    def __init__(self, maps):
        self._maps = maps

    def weight(self, picture, seconds, *, cut):
        found = self._maps.get(picture.index)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self):
        pass


def matters(column):
    weight = np.full(SHAPE, 0.01, np.float32)
    weight[:, column : column + 2] = 1
    return weight


def steered(path, maps, *, policy=None, **options):
    """Return all items with what the steering pairs them with, and the steering."""
    warnings = Warnings()
    with Source(str(path), warnings=warnings) as source:
        allocator = Allocator(policy or OffsetPolicy(compensate=False), SHAPE, crf=26.0)
        steering = Steering(
            Given(maps),
            allocator,
            qp=26.0,
            time_base=source.time_base,
            warnings=warnings,
            **options,
        )
        return list(steering.run(source.items())), steering


def offsets(pairs):
    return [
        None if given is None else given.offsets
        for item, given in pairs
        if isinstance(item, DecodedFrame)
    ]


def when(item):
    return item.time.pts if isinstance(item, DecodedFrame) else item.pts


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """Two seconds of one picture, 10 frames per second, with sound."""
    path = tmp_path_factory.mktemp("still") / "still.mkv"
    once = "testsrc2=size=160x96:rate=10,trim=end_frame=1,loop=loop=19:size=1:start=0"
    ffmpeg("-f", "lavfi", "-i", once, "-f", "lavfi", "-i", "sine=duration=2", "-c:v", "ffv1", path)
    return path


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("moving") / "moving.mkv", "-c:v", "ffv1", seconds=0.8)


def test_everything_comes_out_once_and_in_order(still):
    with Source(str(still), warnings=Warnings()) as source:
        items = list(source.items())
    plain = [type(item) for item in items]
    assert plain.count(DecodedFrame) == 20
    assert len(set(plain)) == 2  # sound, too
    for lookahead in (0, 3, 100):
        pairs, _ = steered(still, {0: matters(2)}, lookahead=lookahead)
        assert [type(item) for item, _ in pairs] == plain
        assert [when(item) for item, _ in pairs] == [when(item) for item in items]
        assert all((o is None) != isinstance(item, DecodedFrame) for item, o in pairs)


def test_frames_wait_so_long_and_no_longer(still):
    with Source(str(still), warnings=Warnings()) as source:
        frames = [item for item in source.items() if isinstance(item, DecodedFrame)]
    taken = []
    steering = Steering(
        Given({0: matters(2)}),
        Allocator(OffsetPolicy(), SHAPE, crf=26.0),
        qp=26.0,
        time_base=Fraction(1, 1000),
        warnings=Warnings(),
        lookahead=4,
    )
    for count, _ in enumerate(steering.run(taken.append(f) or f for f in frames), 1):
        assert len(taken) == min(count + 4, 20)


def test_frames_learn_from_the_next_analysis(still):
    pairs, _ = steered(still, {0: matters(2), 10: matters(6)}, lookahead=10)
    found = offsets(pairs)
    assert found[0][:, 2:4].max() < found[0][:, 6:8].min()
    towards = [float(o[:, 6:8].mean()) for o in found[:10]]
    assert towards == sorted(towards, reverse=True)
    assert towards[9] < towards[0] - 3
    alone, _ = steered(still, {0: matters(2), 10: matters(6)}, lookahead=0)
    np.testing.assert_array_equal(found[0], offsets(alone)[0])
    np.testing.assert_array_equal(found[10], offsets(alone)[10])
    assert (offsets(alone)[9][:, 6:8] >= found[0][:, 6:8]).all()


def test_a_frame_that_the_network_fails_on_is_the_only_one_unsteered(still):
    maps = {0: matters(2), 5: FrameFailed(), 6: matters(2)}
    pairs, steering = steered(still, maps, lookahead=8)
    assert [index for index, values in enumerate(offsets(pairs)) if values is None] == [5]
    assert steering.frames_unsteered == 1
    assert steering.frames_analysed == 2


def test_a_failure_costs_the_frames_up_to_the_next_map(still):
    maps = {0: matters(2), 5: ValueError("broken"), 9: matters(2)}
    pairs, steering = steered(still, maps, lookahead=8)
    unsteered = [index for index, values in enumerate(offsets(pairs)) if values is None]
    assert unsteered == [5, 6, 7, 8]
    assert steering.frames_unsteered == 4


def test_frames_that_nobody_reads_get_less_the_less_is_copied_from_them(still, moving):
    means = {}
    for path, every in ((still, 5), (moving, 5)):
        with Source(str(path), warnings=Warnings()) as source:
            rate = float(source.rate)
        flat = np.ones(SHAPE, np.float32)
        pairs, _ = steered(path, {0: flat}, lookahead=10, consumer_fps=rate / every)
        values = np.array([o.mean() for o in offsets(pairs)])
        last = len(values) // every * every
        means[path.stem] = [values[n:last:every].mean() for n in range(every)]
    # A still picture is copied from frame to frame: who copies it last matters little.
    assert means["still"][1] - means["still"][0] < 4
    assert means["moving"][1] > means["still"][1] + 1
    assert min(means["moving"][1:]) > means["moving"][0] + 4


def test_options_ask_for_what_the_consumer_reads():
    assert steering_options(parse(["--consumer-fps", "2"])).consumer_fps == 2
    assert steering_options(parse([])).consumer_fps is None


def test_a_rate_that_is_none_is_refused(still):
    with pytest.raises(InputError, match="consumer_fps 0 must"):
        steered(still, {}, consumer_fps=0)


def test_the_window_is_bounded_by_memory_rate_and_analyses():
    small, large = (PictureFormat(width=w, height=w) for w in (640, 8192))
    deep = PictureFormat(width=640, height=640, pix_fmt="yuv444p10le")
    assert waiting_pictures(5, rate=Fraction(10), form=small) == 50
    assert waiting_pictures(0.5, rate=Fraction(25), form=small) == 13
    assert waiting_pictures(0, rate=Fraction(25), form=small) == 0
    assert waiting_pictures(5, rate=Fraction(25), form=large) == 0
    assert waiting_pictures(5, rate=Fraction(25), form=deep) == 20
