"""Weights inside macroblocks, from the network to the stream (``--weighted``)."""

from __future__ import annotations

import numpy as np
import pytest
from media_clips import assert_decodes, clip, elementary

from idse.allocation import Allocator, OffsetPolicy
from idse.cli.__main__ import main
from idse.errors import InputError, LibraryLoadError
from idse.evaluation.decoding import decode_stills
from idse.importance.maps import ImportanceMap
from idse.pipeline import stills
from idse.pipeline.inner import InnerWeights
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.maps import FrameFailed, NetworkMaps, RecordedMaps
from idse.pipeline.options import EncodeOptions
from idse.pipeline.report import Warnings
from idse.pipeline.schedule import Schedule
from idse.pipeline.source import DecodedFrame, Source
from idse.pipeline.steering import Steering
from idse.pipeline.transcode import transcode

pytestmark = pytest.mark.fast

SHAPE = (6, 10)
MODEL = "half_blind:sees_left"


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("street") / "street.mkv", "-c:v", "ffv1", seconds=0.6)


class Given:
    """Maps of frames 0, 5 and 10, and blocks, of which the left column of a macroblock matters."""

    def __init__(self, broken=(), failed=()):
        self._broken = broken
        self._failed = failed

    def weight(self, picture, seconds, *, cut):
        if picture.index in self._failed:
            raise FrameFailed
        return np.ones(SHAPE, np.float32) if picture.index % 5 == 0 else None

    def blocks(self, picture):
        if picture.index in self._broken:
            return np.full((3, 3), -1.0, np.float32)
        found = np.ones((4 * SHAPE[0], 4 * SHAPE[1]), np.float32)
        found[:, :: 4 + picture.index] = 9
        return found

    def close(self):
        pass


def steered(path, maps, *, shape=SHAPE, warnings=None, lookahead=3, inner=True, **options):
    """Return what every frame gets."""
    warnings = warnings or Warnings()
    with Source(str(path), warnings=warnings) as source:
        steering = Steering(
            maps,
            Allocator(OffsetPolicy(), shape, crf=26.0, **options),
            qp=26.0,
            time_base=source.time_base,
            warnings=warnings,
            lookahead=lookahead,
            inner=InnerWeights(shape, 1.0, warnings) if inner else None,
        )
        return [given for item, given in steering.run(source.items()) if is_frame(item)]


def is_frame(item):
    return isinstance(item, DecodedFrame)


def test_every_frame_has_weights_beside_the_offsets_that_it_has_anyway(street):
    found = steered(street, Given())
    plain = steered(street, Given(), inner=False)
    for given, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(given.offsets, other.offsets)
        assert other.weights is None
        assert given.weights.shape == (24, 40)
        assert given.weights.dtype == np.float32
        means = given.weights.reshape(6, 4, 10, 4).mean((1, 3))
        np.testing.assert_allclose(means, 1, rtol=1e-5)
        assert given.nbytes == given.offsets.nbytes + given.weights.nbytes
    assert found[0].weights.std() > 0.1
    assert not np.array_equal(found[4].weights, found[5].weights)


def test_waiting_changes_nothing_in_them(street):
    at_once = steered(street, Given(), lookahead=0)
    for given, other in zip(steered(street, Given(), lookahead=9), at_once, strict=True):
        np.testing.assert_array_equal(given.weights, other.weights)


def test_what_fails_in_the_weights_costs_the_weights_alone(street):
    warnings = Warnings()
    found = steered(street, Given(broken=(0, 10)), warnings=warnings)
    assert all(given is not None for given in found)
    assert [given.weights is None for given in found[:6]] == [True] * 5 + [False]
    (message,) = warnings.messages
    assert "weights inside macroblocks on frame 0 (InputError" in message
    with pytest.raises(InputError, match="on frame 0"):
        steered(street, Given(broken=(0,)), warnings=Warnings(strict=True))


def test_a_network_that_has_a_map_but_no_blocks_keeps_its_map(street):
    class Coarse:
        def __call__(self):
            return self

        def weight(self, picture):
            return ImportanceMap.neutral(picture).weight()

        def blocks(self, picture):
            raise RuntimeError("too fine")

    warnings = Warnings()
    found = steered(
        street, NetworkMaps(Coarse(), Schedule(0.2), warnings, inner=True), warnings=warnings
    )
    assert all(given is not None and given.weights is None for given in found)
    (message,) = warnings.messages
    assert "too fine" in message
    assert "with offsets alone" in message


def test_an_unsteered_frame_has_none(street):
    found = steered(street, Given(failed=(3,)))
    assert [index for index, given in enumerate(found) if given is None] == [3]


def test_interlaced_encoders_have_a_row_more(street):
    # Of the shape that an encoder of 160x80 has, whose maps have 5 rows.
    inner = InnerWeights((6, 10), 1.0, Warnings(strict=True))
    weights = np.random.default_rng(0).uniform(0.5, 2, (20, 40)).astype(np.float32)
    found = inner.take(0, None, weights)
    assert found.shape == (24, 40)
    np.testing.assert_array_equal(found[20:], weights[16:])


def test_a_second_pass_gets_the_same(street):
    recorded = RecordedMaps(Given(broken=(5,), failed=(7,)))
    first = steered(street, recorded)
    recorded.rewind()
    second = steered(street, recorded)
    recorded.close()
    assert first[7] is None
    assert second[7] is None
    for given, other in zip(first, second, strict=True):
        if given is not None:
            np.testing.assert_array_equal(given.offsets, other.offsets)
            np.testing.assert_array_equal(given.weights, other.weights)


def run(street, out, *, weighted, strength=1.0, model=MODEL, **encode):
    transcode(
        str(street),
        str(out),
        encode=EncodeOptions(
            **{"preset": "medium", "options": {"threads": "1", "crf": "30"}, **encode}
        ),
        steering=SteeringOptions(
            policy=OffsetPolicy(strength=strength),
            models=(model,),
            analyse_every=0.2,
            weighted=weighted,
        ),
        overwrite=True,
        strict=True,
    )
    return elementary(out)


@pytest.fixture
def library(weighted_library, monkeypatch):
    """The library that takes weights, also for encodes without."""
    monkeypatch.setenv("IDSE_X264_LIBRARY", str(weighted_library))


@pytest.mark.usefixtures("library")
def test_a_stream_that_is_weighted_is_another_and_decodes(street, tmp_path):
    out = tmp_path / "out.mp4"
    weighted = run(street, out, weighted=True)
    assert_decodes(out)
    assert weighted == run(street, out, weighted=True)
    assert weighted != run(street, out, weighted=False)


@pytest.mark.usefixtures("library")
def test_without_strength_it_is_stock(street, tmp_path):
    streams = [
        run(street, tmp_path / "out.mp4", weighted=weighted, strength=0.0, matrices=0.0)
        for weighted in (True, False)
    ]
    assert streams[0] == streams[1]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("options", [{"bitrate": "100"}, {"bitrate": "100", "tff": "1"}], ids=str)
def test_two_passes_and_interlaced_encodes_take_them(options, tmp_path):
    path = clip(tmp_path / "in.mkv", "-c:v", "ffv1", size="160x80", seconds=0.4)
    out = tmp_path / "out.mkv"
    run(path, out, weighted=True, two_pass=True, options={"threads": "1", **options})
    assert_decodes(out)


@pytest.mark.usefixtures("library")
def test_stills_take_them(street):
    with Source(str(street), warnings=Warnings()) as source:
        pictures = [item.picture for item in source.items() if is_frame(item)][:2]
    policy = OffsetPolicy()
    plain, weighted = (
        SteeringOptions(policy=policy, models=(MODEL,), weighted=given) for given in (False, True)
    )
    assert stills.analysis_key(plain) != stills.analysis_key(weighted)
    encode = EncodeOptions(preset="medium")
    known = stills.analyse(pictures, weighted)
    assert known["blocks/1"].shape == (24, 40)
    streams = stills.encode_set(pictures, encode, crf=30, steering=weighted, analysis=known)
    assert streams == stills.encode_set(pictures, encode, crf=30, steering=weighted)
    assert streams != stills.encode_set(pictures, encode, crf=30, steering=plain, analysis=known)
    assert len(list(decode_stills(streams, [item.format for item in pictures]))) == 2


def test_a_library_that_takes_none_is_told_of(street, tmp_path, monkeypatch):
    monkeypatch.setenv("IDSE_X264_LIBRARY", str(tmp_path / "none.so"))
    with pytest.raises(LibraryLoadError, match="idse build-x264"):
        run(street, tmp_path / "out.mp4", weighted=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--no-steer"], "--weighted needs to know what matters, which --no-steer leaves out"),
        (["--maps", "m.safetensors"], "give --model, not --maps"),
        (["--effort", "oracle", "--model", "yolov4-tiny"], "leave out --weighted"),
    ],
    ids=str,
)
def test_what_cannot_be_weighted_is_one_line(street, tmp_path, capsys, words, message):
    assert main(["transcode", str(street), str(tmp_path / "o.mp4"), "--weighted", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
