"""What is reported about macroblocks, and what is refused."""

import subprocess

import numpy as np
import pytest
from h264_clips import code, encode, ffmpeg_frames, nal_unit, nal_units

from idse.codecs.h264 import read_macroblocks
from idse.codecs.h264.parser import Parser
from idse.codecs.h264.qp_file import QpFile
from idse.errors import InputError, OutputError

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("h264") / "clip.mp4"
    encode(path, "-x264-params", "bframes=3:b-adapt=0", frames=20)
    return path


def test_intra_noise_carries_its_qp_everywhere(tmp_path):
    path = tmp_path / "noise.mp4"
    encode(path, "-crf", "8", "-g", "1", frames=2, noise=60)
    for frame in read_macroblocks(path):
        assert frame.coded.all()
        assert frame.intra.all()
        assert not np.isnan(frame.qp_array).any()


def test_a_frame_of_skips_has_the_slice_qp_and_no_qp_of_its_own(tmp_path):
    path = tmp_path / "still.mp4"
    still = "trim=end_frame=1,loop=11:1:0,setpts=N/25/TB"
    encode(path, "-x264-params", "bframes=0:scenecut=0", video_filter=still)
    last = list(read_macroblocks(path))[-1]
    assert last.skipped.all()
    assert not last.coded.any()
    assert len(np.unique(last.qp)) == 1
    assert np.isnan(last.qp_array).all()


def test_flags_exclude_each_other(clip):
    for frame in read_macroblocks(clip):
        assert not (frame.skipped & (frame.coded | frame.intra)).any()
        assert frame.qp.shape == frame.bits.shape == (9, 11)
        own = frame.qp_array[~frame.skipped]
        np.testing.assert_array_equal(own, frame.qp[~frame.skipped])


def test_bits_are_those_of_the_file(clip, tmp_path):
    stream = tmp_path / "clip.h264"
    subprocess.run(["ffmpeg", "-v", "error", "-i", clip, "-c", "copy", stream], check=True)
    slices = [unit for unit in nal_units(stream.read_bytes()) if unit[0] & 31 in (1, 5)]
    spent = sum(int(frame.bits.sum()) for frame in read_macroblocks(clip))
    total = 8 * sum(len(unit) for unit in slices)
    # What is left: NAL unit and slice headers, alignment, escapes.
    assert 0 < total - spent < 120 * len(slices)


def test_frames_that_an_edit_list_hides_are_left_out(tmp_path):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    encode(whole, "-g", "60", frames=30)
    command = ["ffmpeg", "-v", "error", "-ss", "0.5", "-i", whole, "-c", "copy", cut]
    subprocess.run(command, check=True)
    shown = [pts for pts, _, _ in ffmpeg_frames(cut)]
    assert [frame.pts for frame in read_macroblocks(cut)] == shown
    assert len(shown) < 30


def test_a_recording_that_starts_between_key_frames(tmp_path):
    whole, tail = tmp_path / "whole.ts", tmp_path / "tail.ts"
    encode(whole, "-x264-params", "keyint=8:scenecut=0:bframes=2", frames=30)
    data = whole.read_bytes()
    packets = len(data) // 188
    tail.write_bytes(data[: 3 * 188] + data[packets // 3 * 188 :])
    shown = [pts for pts, _, _ in ffmpeg_frames(tail)]
    assert [frame.pts for frame in read_macroblocks(tail)] == shown
    assert 8 <= len(shown) < 30


def test_reading_is_streaming(clip, monkeypatch):
    fed = []
    original = Parser.feed

    def feed(self, data, **arguments):
        fed.append(len(data))
        return original(self, data, **arguments)

    monkeypatch.setattr(Parser, "feed", feed)
    next(read_macroblocks(clip))
    assert len(fed) < 22  # 20 packets and 2 parameter sets: the first frame needs not all of them


def test_size_may_change_but_not_inside_an_array(tmp_path):
    for name, size in (("a", "64x48"), ("b", "96x48")):
        encode(tmp_path / f"{name}.h264", size=size, frames=2)
    both = tmp_path / "both.h264"
    both.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    frames = list(read_macroblocks(both))
    assert [frame.qp.shape for frame in frames] == [(3, 4)] * 2 + [(3, 6)] * 2
    output = tmp_path / "qp.npy"
    with QpFile(output) as file:
        file.append(frames[0].qp_array)
        with pytest.raises(InputError, match="frame 1 has 3x6 macroblocks"):
            file.append(frames[2].qp_array)
    assert np.load(output).shape == (1, 3, 4)


def test_qp_file_leaves_nothing_after_an_error(tmp_path):
    output = tmp_path / "qp.npy"
    output.write_bytes(b"before")

    def fail_midway():
        with QpFile(output) as file:
            file.append(np.zeros((3, 4), np.float32))
            raise KeyError

    with pytest.raises(KeyError):
        fail_midway()
    assert output.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [output]
    with pytest.raises(OutputError, match="cannot write"), QpFile(tmp_path):
        pass


def test_qp_file_is_an_ordinary_array(tmp_path):
    path = tmp_path / "qp.npy"
    arrays = np.random.default_rng(1).normal(size=(123, 3, 5)).astype(np.float32)
    arrays[7, 1, 2] = np.nan
    with QpFile(path) as file:
        for array in arrays:
            file.append(array)
    loaded = np.load(path, allow_pickle=False)
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, arrays)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-f", "lavfi", "-i", "sine", "-t", "0.2", "x.m4a"], "no video stream"),
        (["-f", "lavfi", "-i", "testsrc", "-t", "0.2", "-c:v", "mpeg4", "x.avi"], "mpeg4 video"),
    ],
)
def test_other_files_are_named(arguments, message, tmp_path):
    path = tmp_path / arguments.pop()
    subprocess.run(["ffmpeg", "-v", "error", *arguments, str(path)], check=True)
    with pytest.raises(InputError, match=message):
        list(read_macroblocks(path))


def test_damage_is_an_error_that_names_the_file(clip, tmp_path):
    whole = tmp_path / "faststart.mp4"
    command = ["ffmpeg", "-v", "error", "-i", clip, "-c", "copy", "-movflags", "faststart", whole]
    subprocess.run(command, check=True)
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(InputError, match=r"cut\.mp4: .* cut off at coded picture \d+"):
        list(read_macroblocks(cut))
    damaged = tmp_path / "damaged.mp4"
    middle = len(data) // 2
    damaged.write_bytes(data[:middle] + b"\xa5" * 64 + data[middle + 64 :])
    with pytest.raises(InputError, match=r"damaged\.mp4"):
        list(read_macroblocks(damaged))
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    with pytest.raises(InputError, match="cannot read"):
        list(read_macroblocks(empty))


def test_missing_slices_are_an_error(tmp_path):
    path = tmp_path / "clip.h264"
    encode(path, "-x264-params", "slices=3", frames=2)
    units = nal_units(path.read_bytes())
    dropped = next(i for i, unit in enumerate(units) if unit[0] & 31 == 1)
    del units[dropped]
    path.write_bytes(b"".join(b"\0\0\0\1" + unit for unit in units))
    with pytest.raises(InputError, match="lacks macroblocks"):
        list(read_macroblocks(path))


def parameter_sets(path) -> bytes:
    units = [unit for unit in nal_units(path.read_bytes()) if unit[0] & 31 in (7, 8)]
    return b"".join(b"\0\0\0\1" + unit for unit in units)


def test_extended_profile_is_refused(tmp_path):
    path = tmp_path / "clip.h264"
    encode(path, frames=1)
    sp_slice = nal_unit(f"{0x41:08b}" + code(0) + code(3) + code(0) + "0" * 32)
    with pytest.raises(InputError, match="SP and SI slices"):
        list(Parser().feed(parameter_sets(path) + sp_slice, length_size=0, tag=0))
    with pytest.raises(InputError, match="data partitioning"):
        list(Parser().feed(nal_unit(f"{0x42:08b}" + code(0)), length_size=0, tag=0))
