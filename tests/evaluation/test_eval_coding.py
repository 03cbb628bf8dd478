"""Encoding and decoding: every picture is its own, whole, and as ffmpeg gives it out."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from eval_media import write_clip, write_images

from idse.codecs.x264 import Encoder
from idse.errors import InputError
from idse.evaluation.coders.x264 import X264, slice_bytes
from idse.evaluation.coding import _key, encode_images, prepare_images
from idse.evaluation.configuration import Configuration
from idse.evaluation.decoding import decode_clip, decode_stills
from idse.evaluation.fingerprint import model_digest
from idse.evaluation.sources import Clip, find_sources
from idse.evaluation.usage import run
from idse.learned.student import analyser
from idse.learned.student.analyser import student_path
from idse.pipeline.options import EncodeOptions
from idse.pipeline.stills import encode_stills

pytestmark = pytest.mark.fast
# Among them several of as many macroblocks, which FFmpeg crops alike unless it is kept from that.
SIZES = [(64, 48), (48, 64), (51, 33), (63, 48), (64, 42)]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return find_sources([str(write_images(tmp_path_factory.mktemp("images"), SIZES))])[0]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
def test_lossless_stills_come_back_as_they_were(images, pix_fmt):
    pictures = replace(images, pix_fmt=pix_fmt).pictures()
    streams = encode_stills(pictures, EncodeOptions(), crf=0)
    formats = [item.format for item in pictures]
    for source, decoded in zip(pictures, decode_stills(streams, formats), strict=True):
        assert decoded.format == source.format
        assert decoded.index == source.index
        for a, b in zip(source.planes, decoded.planes, strict=True):
            assert np.array_equal(a, b)


def test_streams_that_are_not_all_there(images):
    pictures = images.pictures()
    streams = encode_stills(pictures, EncodeOptions(), crf=40)
    formats = [item.format for item in pictures]
    with pytest.raises(InputError, match="4 of 5 pictures"):
        list(decode_stills(streams[:4], formats))
    with pytest.raises(InputError, match="more than 4"):
        list(decode_stills(streams, formats[:4]))


def test_bytes_are_those_of_the_slices(images):
    item = images.pictures()[0]
    options = {"crf": "30", "keyint": "1", "threads": "1"}
    form = {"width": item.format.width, "height": item.format.height, "fps": Fraction(25)}
    with Encoder(**form, options=options) as encoder:
        packets = [*encoder.encode(item.planes, pts=0), *encoder.flush()]
        message = len(encoder.headers.sei) + 4
    (stream,) = encode_stills([item], EncodeOptions(), crf=30)
    assert slice_bytes(stream) == sum(len(packet.data) for packet in packets) - message
    with pytest.raises(InputError, match="bitrate"):
        encode_stills([item], EncodeOptions(options={"bitrate": "100"}), crf=30)


def test_steering_a_set_moves_bits_between_its_pictures(images, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    network = "eval_networks:judge"
    steered = Configuration.parse(f"steered: --model {network} --max-offset 12")
    stock = Configuration.parse("stock: --no-steer")
    prepare_images(tmp_path, images, steered.coder)
    one = encode_images(tmp_path, images, steered, 30)
    two = encode_images(tmp_path, images, stock, 30)
    assert len(one.streams()) == len(two.streams()) == len(SIZES)
    assert not np.array_equal(one.size, two.size)
    assert b"".join(one.streams()) == one.path.read_bytes()
    kept = one.path.stat().st_mtime_ns
    again = encode_images(tmp_path, images, steered, 30)
    assert again.path == one.path
    assert again.path.stat().st_mtime_ns == kept
    assert encode_images(tmp_path, images, stock, 31).path != two.path


def test_the_frames_of_a_part_in_their_order_and_size(tmp_path):
    path = write_clip(tmp_path / "clip.mkv", seconds=4)
    part = Clip.open(path, start=1, end=4, step=3, block=1)
    sources = list(part.pictures())
    found = list(decode_clip(path, part, part.format()))
    assert len(found) == len(sources) == 5
    for source, decoded in zip(sources, found, strict=True):
        assert decoded.format == source.format
        assert np.array_equal(source.planes[0], decoded.planes[0])
    small = tmp_path / "small.mkv"
    run(["ffmpeg", "-v", "error", "-i", path, "-vf", "scale=80:48", "-c:v", "ffv1", small])
    (first, *_) = decode_clip(small, part, part.format())
    assert (first.format.width, first.format.height) == (80, 48)
    with av.open(small) as container:
        frame = list(container.decode(video=0))[5]
    assert np.array_equal(first.planes[0], frame.to_ndarray()[:48, :80])


def test_a_clip_that_ends_early(tmp_path):
    path = write_clip(tmp_path / "clip.mkv", seconds=4)
    short = write_clip(tmp_path / "short.mkv", seconds=2)
    whole = Clip.open(path, block=1)
    with pytest.raises(InputError, match="10 of 20 frames"):
        list(decode_clip(short, whole, whole.format()))


def test_a_program_that_fails_is_quoted(tmp_path):
    with pytest.raises(InputError, match=r"missing\.mkv"):
        run(["ffmpeg", "-v", "error", "-i", tmp_path / "missing.mkv", "-f", "null", "-"])


@pytest.mark.parametrize("spec", ["{}", "{}=2", "{}@layer", "{}@layer=2"])
def test_another_network_of_the_same_name_is_another_one(tmp_path, spec):
    network = tmp_path / "net.onnx"
    network.write_bytes(b"one")
    before = model_digest(spec.format(network))
    network.write_bytes(b"another")
    assert model_digest(spec.format(network)) != before


def test_stills_and_video_are_steered_by_networks_of_their_own(images, tmp_path, monkeypatch):
    for stills in (False, True):
        path = tmp_path / student_path("student", stills=stills).name
        path.write_bytes(student_path("student", stills=stills).read_bytes())
    monkeypatch.setattr(analyser, "_WEIGHTS", tmp_path)
    clip = Clip.open(write_clip(tmp_path / "clip.mkv", seconds=2), block=1)
    steered = X264.parse(["--model", "student"])
    before = [steered.key(source) for source in (images, clip)]
    analysed = steered.analysis_key(images)
    student_path("student", stills=True).write_bytes(b"another")
    assert steered.key(clip) == before[1]
    assert steered.key(images) != before[0]
    assert steered.analysis_key(images) != analysed
    assert model_digest("student", stills=True) != model_digest("student")


def test_other_maps_of_the_same_name_are_other_encodes(images, tmp_path):
    maps = tmp_path / "maps.safetensors"
    maps.write_bytes(b"one")
    item = Configuration(name="mapped", arguments=f"--maps {maps}")
    before = _key(images, item, 30)
    maps.write_bytes(b"another")
    assert _key(images, item, 30) != before
