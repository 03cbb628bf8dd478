"""The demo: its clip is what it says, and the whole of it runs from the command line."""

import itertools
import json
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image

from idse.errors import InputError
from idse.evaluation.clip import camera_path, moving_camera_clip


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    noise = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    Image.fromarray(noise).resize((640, 360), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.fast
def test_clip_moves_in_every_frame_and_is_lossless(photo, tmp_path):
    path = tmp_path / "clip.mkv"
    assert moving_camera_clip([photo, photo], path, size=(128, 96), frames_per_photo=5) == 10
    with av.open(path) as container:
        assert container.streams.video[0].codec_context.name == "ffv1"
        frames = [f.to_ndarray() for f in container.decode(video=0)]
    assert len(frames) == 10
    for first, second in itertools.pairwise(frames):
        assert not np.array_equal(first, second)
    assert np.array_equal(frames[0], frames[5])  # the second photo starts over


@pytest.mark.fast
@pytest.mark.parametrize("shape", [(640, 360), (200, 900), (300, 300)])
def test_camera_stays_inside_the_photo(shape):
    photo = Image.new("RGB", shape)
    for left, top, right, bottom in camera_path(photo, (128, 96), 9):
        assert 0 <= left < right <= shape[0]
        assert 0 <= top < bottom <= shape[1]
        assert (right - left) / (bottom - top) == pytest.approx(128 / 96)


@pytest.mark.fast
def test_clip_refuses_what_is_no_photograph(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.jpg cannot be read"):
        moving_camera_clip([path], tmp_path / "clip.mkv")


@pytest.mark.full
def test_demo_from_the_command_line(yolo, tmp_path):
    command = [sys.executable, "-m", "idse.cli", "demo", str(tmp_path / "out"), "--json"]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    stock, steered = result["stock"], result["steered"]
    assert result["frames"] == 96
    assert 0.99 * stock["bytes"] <= steered["bytes"] <= stock["bytes"]
    assert (tmp_path / "out" / "steered.mp4").stat().st_size == steered["bytes"]
    assert 0 < stock["kept"] <= stock["detections"] == steered["detections"]
    assert steered["distance"] < stock["distance"]
    with Image.open(result["picture"]) as sheet:
        assert sheet.size[0] >= 3 * 640
        assert sheet.size[1] >= 2 * 480
