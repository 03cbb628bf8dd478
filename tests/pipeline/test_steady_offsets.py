"""A map for every frame: offsets that stand still with the scene and move with what moves."""

import numpy as np
import pytest
from media_clips import ffmpeg

from idse.allocation import Allocator, OffsetPolicy
from idse.pipeline.makers import open_maker
from idse.pipeline.report import Warnings
from idse.pipeline.source import DecodedFrame, Source
from idse.pipeline.steering import Steering
from idse.vision.registry import STUDENT

pytestmark = pytest.mark.fast

# A picture with detail at many scales, which sensor noise differs on from frame to frame.
SCENE = "mandelbrot=size=320x192:rate=10,trim=end_frame=1,loop=loop=19:size=1:start=0"


class EveryFrame:
    """Maps as something makes them of every picture."""

    def __init__(self, weight):
        self._weight = weight

    def weight(self, picture, seconds, *, cut):
        return self._weight(picture)

    def close(self):
        pass


def steered(path, weight, *, compensate=False):
    """Return float32 (frames, rows, cols): offsets."""
    warnings = Warnings(strict=True)
    with Source(str(path), warnings=warnings) as source:
        steering = Steering(
            EveryFrame(weight),
            Allocator(OffsetPolicy(compensate=compensate), (12, 20), crf=26.0),
            qp=26.0,
            time_base=source.time_base,
            warnings=warnings,
        )
        pairs = list(steering.run(source.items()))
    return np.stack([given.offsets for item, given in pairs if isinstance(item, DecodedFrame)])


def test_a_still_noisy_scene_gets_steady_offsets(tmp_path):
    path = tmp_path / "still.mkv"
    noisy = f"{SCENE},noise=alls=6:allf=t"
    ffmpeg("-f", "lavfi", "-i", noisy, "-pix_fmt", "yuv420p", "-c:v", "ffv1", path)
    student = open_maker([STUDENT])
    raw = []

    def weight(picture):
        raw.append(student.weight(picture))
        return raw[-1]

    found = steered(path, weight, compensate=True)
    assert np.abs(found).max() > 1  # there is something to hold still
    changes = np.abs(np.diff(found, axis=0))[2:]
    assert changes.max() < 0.75
    assert changes.mean() < 0.04
    flicker = 3 * np.abs(np.diff(np.log2(np.stack(raw)), axis=0))
    assert changes.mean() < flicker.mean() / 3


def test_the_map_of_a_moving_object_follows_it(tmp_path):
    path = tmp_path / "moving.mkv"
    # A box of 64x64 that goes 12 samples to the right every frame.
    box = "mandelbrot=size=64x64:rate=10:start_scale=0.1,trim=end_frame=1,loop=loop=19:size=1"
    graph = f"{SCENE}[a];{box}[b];[a][b]overlay=x=12*n:y=64:shortest=1,format=yuv420p"
    ffmpeg("-f", "lavfi", "-i", graph, "-frames:v", "18", "-c:v", "ffv1", path)
    rng = np.random.default_rng(0)

    def weight(picture):
        columns = np.arange(20 * 16)
        inside = (columns >= 12 * picture.index) & (columns < 12 * picture.index + 64)
        share = inside.reshape(20, 16).mean(1)
        values = np.full((12, 20), 0.02)
        values[4:8] += share
        return (values * rng.uniform(0.9, 1.1, values.shape)).astype(np.float32)

    found = steered(path, weight)
    for index in range(2, len(found)):
        left, right = -(-12 * index // 16), (12 * index + 64) // 16
        inside = found[index, 4:8, left:right]
        behind = found[index, 4:8, : max(left - 4, 0)]  # four frames ago
        assert inside.max() < -2
        assert behind.size == 0 or behind.min() > 0.5
