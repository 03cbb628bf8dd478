"""Pictures to learn from."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from PIL import Image

from idse.errors import InputError
from idse.pipeline.samples import Decoder, Sample, image_samples, video_samples

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Frames that are told apart by their brightness."""
    path = tmp_path_factory.mktemp("samples") / "clip.mp4"
    source = "color=black:s=64x48:r=10:d=5,geq=lum='16+4*N':cb=128:cr=128"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-bf", "2", "-crf", "1"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", str(path)], check=True)
    return path


def brightness(picture):
    return round(float(picture.planes[0].mean()))


def test_frames_come_from_all_of_a_video(clip):
    found = video_samples(clip, every=1.0, most=100)
    assert [item.frame for item in found] == [0, 10, 20, 30, 40]
    with Decoder() as decoder:
        assert [brightness(decoder.picture(item)) for item in found] == [16, 56, 96, 136, 176]
        # Back, and the same one again.
        assert brightness(decoder.picture(found[1])) == 56
        assert brightness(decoder.picture(found[1])) == 56


def test_no_more_frames_than_wanted_and_only_of_the_part(clip):
    assert len(video_samples(clip, every=0.1, most=7)) == 7
    part = video_samples(clip, every=0.1, most=100, end=0.5)
    assert [item.frame for item in part] == list(range(25))


def test_frames_that_are_not_there(clip):
    with Decoder() as decoder, pytest.raises(InputError, match="has no frame 50"):
        decoder.picture(Sample(path=clip, frame=50))


def test_images_of_folders_and_those_below(tmp_path):
    (tmp_path / "below").mkdir()
    image = Image.fromarray(np.full((33, 50, 3), 128, np.uint8))
    image.save(tmp_path / "b.png")
    image.save(tmp_path / "below" / "a.JPEG")
    (tmp_path / "notes.txt").write_text("none")
    found = image_samples([tmp_path])
    assert [item.path.name for item in found] == ["b.png", "a.JPEG"]
    with Decoder() as decoder:
        picture = decoder.picture(found[0])
        assert (picture.format.width, picture.format.height) == (50, 33)
        assert (picture.format.pix_fmt, picture.format.full_range) == ("yuv420p", False)
        half = decoder.picture(Sample(path=found[0].path, halve=True))
        assert (half.format.width, half.format.height) == (25, 17)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        image_samples([tmp_path / "missing"])
    with pytest.raises(InputError, match="holds no image"):
        image_samples([tmp_path])
    damaged = tmp_path / "a.png"
    damaged.write_bytes(b"no image")
    with Decoder() as decoder, pytest.raises(InputError, match="cannot be read"):
        decoder.picture(Sample(path=damaged))
    video = damaged.rename(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="cannot be read"):
        video_samples(video, every=1, most=5)
