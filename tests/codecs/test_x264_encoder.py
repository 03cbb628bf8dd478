"""Timing, formats, rate control, lifetime and refusals of the encoder."""

import gc
import itertools
import logging
import threading
import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from x264_clips import (
    LIBRARIES,
    LIBRARY_IDS,
    decode,
    encode_clip,
    library,
    moving_clip,
    noise_clip,
    stream_of,
)

from idse.codecs.x264 import Encoder
from idse.errors import CodecError, InputError
from idse.picture import PIX_FMTS, PictureFormat

pytestmark = pytest.mark.fast

each_library = pytest.mark.parametrize("path", LIBRARIES, ids=LIBRARY_IDS)


def make(**settings):
    return Encoder(**{"width": 96, "height": 64, "fps": Fraction(25), **settings})


@each_library
@pytest.mark.parametrize("options", [{}, {"bframes": "5"}, {"b-pyramid": "0"}, {"open-gop": "1"}])
def test_timestamps_of_reordered_pictures_with_variable_frame_rate(path, options):
    pts = list(np.cumsum(np.random.default_rng(0).integers(1, 200, 30)) + 1000)
    options = {"keyint": "12", **options}
    packets = encode_clip(
        moving_clip(30),
        pts=[int(value) for value in pts],
        time_base=Fraction(1, 1000),
        options=options,
        library=library(path),
        global_headers=False,
    )
    assert any(packet.frame_type in {"b", "bref"} for packet in packets)
    assert sorted(packet.pts for packet in packets) == pts
    dts = [packet.dts for packet in packets]
    assert all(a < b for a, b in itertools.pairwise(dts))
    assert all(packet.dts <= packet.pts for packet in packets)
    assert [frame.pts for frame in decode(packets)] == pts


def test_rate_control_uses_the_durations_of_the_timestamps():
    clip = noise_clip(40)
    options = {"bitrate": "400", "keyint": "10"}
    slow = encode_clip(clip, pts=[4 * i for i in range(40)], options=options)
    fast = encode_clip(clip, options=options)
    assert len(stream_of(slow)) > 2 * len(stream_of(fast))


@each_library
@pytest.mark.parametrize("name", ["idr", "keyframe"])
def test_forced_keyframes_land_on_their_picture(path, name):
    packets = encode_clip(
        moving_clip(24, cut=False), types={7: name, 16: name, 20: "i"}, library=library(path)
    )
    assert [p.pts for p in packets if p.keyframe] == [0, 7, 16]
    assert {p.pts: p.frame_type for p in packets}[20] == "i"


@each_library
@pytest.mark.parametrize("pix_fmt", PIX_FMTS)
@pytest.mark.parametrize("headers", [True, False], ids=["global", "in-band"])
def test_every_format_decodes_to_what_went_in(path, pix_fmt, headers):
    clip = moving_clip(5, pix_fmt=pix_fmt)
    settings = {"pix_fmt": pix_fmt, "options": {"crf": "4"}, "library": library(path)}
    packets = encode_clip(clip, global_headers=headers, **settings)
    with make(**settings) as encoder:
        frames = decode(packets, encoder.extradata if headers else None)
    assert len(frames) == 5
    for frame, planes in zip(frames, clip, strict=True):
        assert frame.format.name == pix_fmt
        for decoded, source in zip(frame.planes, planes, strict=True):
            rows = np.frombuffer(decoded, np.uint8).reshape(decoded.height, decoded.line_size)
            samples = rows.view(source.dtype)[:, : decoded.width].astype(int)
            limit = 6 << (PictureFormat(width=1, height=1, pix_fmt=pix_fmt).bit_depth - 8)
            assert np.abs(samples - source).mean() < limit / 3


@pytest.mark.parametrize(
    ("width", "height", "pix_fmt", "options", "coded"),
    [
        (33, 17, "yuv420p", {}, (34, 18)),
        (33, 17, "yuv422p", {}, (34, 17)),
        (33, 17, "yuv444p", {}, (33, 17)),
        (32, 18, "yuv420p", {"tff": "1"}, (32, 20)),
        (33, 17, "yuv420p10le", {"bff": "1"}, (34, 20)),
        (1, 1, "yuv420p", {}, (2, 2)),
        (50, 22, "yuv420p", {}, (50, 22)),
    ],
)
def test_odd_sizes_are_coded_with_repeated_edges(width, height, pix_fmt, options, coded, caplog):
    picture = PictureFormat(width=width, height=height, pix_fmt=pix_fmt)
    dtype = np.uint8 if picture.bit_depth == 8 else np.uint16
    luma = np.add.outer(np.arange(height) % 2 * 60 + 40, np.arange(width)).astype(dtype)
    planes = [luma, *(np.full(picture.chroma_shape, 128, dtype) for _ in range(2))]
    settings = {"width": width, "height": height, "pix_fmt": pix_fmt}
    options = {"crf": "1", **options}
    with caplog.at_level(logging.INFO, "idse.codecs.x264"):
        packets = encode_clip([planes], global_headers=False, options=options, **settings)
    assert ("edges repeated" in caplog.text) == (coded != (width, height))
    (frame,) = decode(packets)
    assert (frame.width, frame.height) == coded
    rows = np.frombuffer(frame.planes[0], np.uint8).reshape(coded[1], -1).view(dtype)
    rows = rows[:, : coded[0]].astype(int)
    assert np.abs(rows[:height, :width] - luma).max() <= 8
    # What is beyond the edge continues it: the last column, and the last row of the same field.
    assert np.abs(rows[:height, width:] - luma[:, -1:]).max(initial=0) <= 8
    step = 2 if len(options) > 1 else 1
    for row in range(height, coded[1]):
        source = row - -(-(row - height + 1) // step) * step
        assert np.abs(rows[row, :width] - luma[max(source, 0)]).max() <= 8


def test_crfs_below_0_are_those_of_more_bits():
    settings = {"pix_fmt": "yuv420p10le", "width": 64, "height": 48}
    with make(options={"crf": "-3.5"}, **settings) as encoder:
        assert encoder.parameters.crf == -3.5
    # A bitrate is aimed for whatever the CRF was.
    with make(options={"crf": "-5", "bitrate": "100"}) as encoder:
        assert encoder.parameters.rc_method == "abr"
    (clip,) = moving_clip(1, **settings)
    packets = encode_clip([clip], global_headers=False, options={"crf": "-12"}, **settings)
    (frame,) = decode(packets)
    luma = np.frombuffer(frame.planes[0], np.uint16).reshape(48, -1)[:, :64]
    np.testing.assert_array_equal(luma, clip[0])


@each_library
def test_two_passes_hit_the_bitrate(path, tmp_path):
    clip = moving_clip(75, width=160, height=96)
    options = {"bitrate": "150", "stats": str(tmp_path / "stats")}
    for number in "12":
        packets = encode_clip(clip, options={**options, "pass": number}, library=library(path))
    kilobits = len(stream_of(packets)) * 8 / 3 / 1000
    assert kilobits == pytest.approx(150, rel=0.1)


def test_first_pass_is_fast_unless_told_otherwise(tmp_path):
    options = {"bitrate": "150", "stats": str(tmp_path / "stats"), "pass": "1"}
    with make(options=options) as fast, make(options={**options, "slow-firstpass": "1"}) as slow:
        assert (fast.parameters.ref, slow.parameters.ref) == (1, 3)
        assert fast.parameters.pass_ == 1


def test_vbv_bounds_the_bits_of_any_second():
    clip = noise_clip(60)
    options = {"crf": "10", "vbv-maxrate": "300", "vbv-bufsize": "300"}
    packets = encode_clip(clip, options=options)
    bits = np.cumsum([0] + [8 * len(packet.data) for packet in packets])
    seconds = np.arange(len(bits)) / 25
    inflow = bits[:, None] - bits - 300_000 * (seconds[:, None] - seconds)
    assert inflow.max() <= 300_000 * 1.05


@each_library
def test_effective_parameters(path):
    options = {"crf": "21.5", "aq-mode": "3", "aq-strength": "0.7", "qcomp": "0.7", "keyint": "50"}
    with make(library=library(path), options={**options, "threads": "2"}) as encoder:
        found = encoder.parameters
    assert (found.rc_method, found.crf, found.aq_mode) == ("crf", 21.5, 3)
    assert found.aq_strength == pytest.approx(0.7)
    assert (found.qcomp, found.mbtree, found.keyint, found.threads) == (0.7, True, 50, 2)
    assert "crf=21.5" in found.options
    assert "aq=3:0.70" in found.options
    with make(library=library(path), options={"bitrate": "77"}, preset="ultrafast") as encoder:
        found = encoder.parameters
        assert (found.rc_method, found.bitrate, found.aq_mode) == ("abr", 77, 0)
        assert not found.mbtree


def test_delayed_counts_what_is_inside():
    with make(options={"threads": "1", "rc-lookahead": "10"}) as encoder:
        out = 0
        for index, planes in enumerate(moving_clip(30)):
            out += len(encoder.encode(planes, pts=index))
            assert encoder.delayed == index + 1 - out
        assert encoder.delayed > 10
        assert len(list(encoder.flush())) == 30 - out
        assert encoder.delayed == 0


def test_strided_planes_are_read_as_they_look():
    clip = moving_clip(6, pix_fmt="yuv420p10le")
    padded = []
    for planes in clip:
        wide = [np.full((p.shape[0] + 3, p.shape[1] + 41), 777, np.uint16) for p in planes]
        for target, plane in zip(wide, planes, strict=True):
            target[2:-1, 5:-36] = plane
        padded.append([target[2:-1, 5:-36] for target in wide])
    flipped = [[np.ascontiguousarray(p[::-1])[::-1] for p in planes] for planes in clip]
    expected = encode_clip(clip, pix_fmt="yuv420p10le")
    assert encode_clip(padded, pix_fmt="yuv420p10le") == expected
    assert encode_clip(flipped, pix_fmt="yuv420p10le") == expected


def test_encoders_run_side_by_side():
    clips = [moving_clip(20, seed=seed) for seed in range(4)]
    libraries = [library(LIBRARIES[index % 2]) for index in range(4)]
    expected = [encode_clip(clips[index], library=libraries[index]) for index in range(4)]
    found = [None] * 4

    def work(index):
        found[index] = encode_clip(clips[index], library=libraries[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


@each_library
def test_log_reaches_logging_formatted(path, caplog, capfd):
    with caplog.at_level(logging.DEBUG, "idse.codecs.x264"):
        encode_clip(moving_clip(5), library=library(path), profile="high")
    assert "profile High, level 1.0, 4:2:0, 8-bit" in caplog.messages
    assert any(record.levelno == logging.DEBUG for record in caplog.records)
    assert any(message.startswith("frame I:1 ") for message in caplog.messages)
    assert capfd.readouterr() == ("", "")


def test_what_a_logging_handler_raises_arrives_after_the_call():
    class Handler(logging.Handler):
        def handle(self, record):
            raise KeyboardInterrupt

    handler, logger = Handler(), logging.getLogger("idse.codecs.x264")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with pytest.raises(KeyboardInterrupt):
            make()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    gc.collect()


def test_a_forgotten_encoder_is_closed_by_the_collector():
    def threads():
        return len(list(Path("/proc/self/task").iterdir()))

    before = threads()
    encoder = make(options={"threads": "4"})
    for index, planes in enumerate(moving_clip(4)):
        encoder.encode(planes, pts=index)
    gone = weakref.ref(encoder)
    assert threads() > before
    del encoder
    assert gone() is None
    assert threads() == before


def test_use_after_flush_and_close():
    planes = moving_clip(1)[0]
    encoder = make()
    encoder.encode(planes, pts=0)
    assert len(list(encoder.flush())) == 1
    with pytest.raises(CodecError, match="was flushed"):
        encoder.encode(planes, pts=1)
    encoder.close()
    encoder.close()
    with pytest.raises(CodecError, match="closed"):
        _ = encoder.delayed
    with pytest.raises(CodecError, match="closed"):
        list(encoder.flush())
    assert encoder.headers.sps[0] & 31 == 7


@each_library
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "fastest"}, "preset 'fastest' is not one of ultrafast"),
        ({"tune": "films"}, "tune 'films' is not one of film"),
        ({"tune": "film+grain"}, "only one can be used"),
        ({"profile": "hi"}, "profile 'hi' is not one of baseline"),
        ({"profile": "high", "pix_fmt": "yuv420p10le"}, "needs high10"),
        ({"profile": "high10", "pix_fmt": "yuv422p"}, "needs high422"),
        ({"profile": "main", "pix_fmt": "yuv444p"}, "needs high444"),
        ({"profile": "high", "options": {"qp": "0"}}, "no lossless coding"),
        ({"profile": "baseline", "options": {"tff": "1"}}, "no interlaced coding"),
        ({"options": {"bframe": "3"}}, "no option 'bframe'; did you mean bframes"),
        ({"options": {"maxrate": "3"}}, "no option 'maxrate'; x264 calls it vbv-maxrate"),
        ({"options": {"crf": "low"}}, "option crf does not take the value 'low'"),
        ({"options": {"crf": "-0.5"}}, "CRF -0.5 is below the lowest of 8-bit .* from 0, which"),
        (
            {"pix_fmt": "yuv422p10le", "options": {"crf": "-13"}},
            "CRF -13 is below the lowest of 10-bit .* from -12, which",
        ),
        ({"options": {"crf": "nan"}}, "CRF nan is no number: give one from 0 to 51"),
        ({"options": {"crf": "inf"}}, "CRF inf is no number"),
        ({"options": {"annexb": "0"}}, "annexb=0 cannot be set: use global_headers"),
        ({"options": {"no-repeat-headers": "1"}}, "use global_headers"),
        ({"pix_fmt": "nv12"}, "pixel format 'nv12'"),
        ({"width": 0}, "0x64"),
        ({"fps": Fraction(0)}, "fps=0"),
        ({"time_base": Fraction(-1, 25)}, "time_base=-1/25"),
    ],
)
def test_unusable_settings_are_refused_with_their_value(path, settings, message, capfd):
    with pytest.raises(InputError, match=message):
        make(library=library(path), **settings)
    assert capfd.readouterr() == ("", "")


@each_library
def test_what_x264_itself_refuses_is_quoted_and_not_logged_as_well(path, caplog):
    with pytest.raises(CodecError, match="can't open file '/nonexistent'"):
        make(library=library(path), options={"cqmfile": "/nonexistent"})
    with pytest.raises(CodecError, match="30000x30000: invalid width x height"):
        make(library=library(path), width=30000, height=30000)
    assert not caplog.records


GOOD = moving_clip(1)[0]
BAD_PICTURES = [
    ({"planes": GOOD[:2]}, "2 planes were given"),
    ({"planes": [GOOD[0][:, :-1], *GOOD[1:]]}, r"plane Y is uint8 \(64, 95\), expected"),
    ({"planes": [GOOD[0], GOOD[1].astype(np.uint16), GOOD[2]]}, "plane Cb is uint16"),
    ({"planes": [np.asfortranarray(GOOD[0]), *GOOD[1:]]}, "strides"),
    ({"planes": [np.broadcast_to(GOOD[0][0], (64, 96)), *GOOD[1:]]}, "strides"),
    ({"planes": [GOOD[0].tolist(), *GOOD[1:]]}, "plane Y is a list"),
    ({"pts": 5}, "pts 5 does not follow 5"),
    ({"pts": 2**63}, "out of range"),
    ({"frame_type": "x"}, "frame type 'x' is not one of auto, idr"),
]


@pytest.mark.parametrize(("change", "message"), BAD_PICTURES)
def test_unusable_pictures_are_refused_and_leave_the_encoder_usable(change, message):
    with make() as encoder:
        packets = encoder.encode(GOOD, pts=5)
        with pytest.raises(InputError, match=message):
            encoder.encode(**{"planes": GOOD, "pts": 6, **change})
        packets += encoder.encode(GOOD, pts=7)
        packets += encoder.flush()
    assert [packet.pts for packet in packets] == [5, 7]


def test_samples_beyond_the_bit_depth_are_refused():
    planes = [plane.astype(np.uint16) for plane in GOOD]
    planes[2][3, 4] = 1024
    with pytest.raises(InputError, match="plane Cr has the value 1024, more than 1023"):
        encode_clip([planes], pix_fmt="yuv420p10le")


def test_a_second_thread_is_turned_away():
    encoder = make(preset="veryslow", width=640, height=352, options={"threads": "1"})
    clip, refused, start = moving_clip(6, width=640, height=352), [], threading.Event()

    def work():
        start.set()
        for index, planes in enumerate(clip):
            encoder.encode(planes, pts=index)
        list(encoder.flush())

    thread = threading.Thread(target=work)
    thread.start()
    start.wait()
    while thread.is_alive():
        try:
            with encoder._exclusive():
                pass
        except CodecError as error:
            refused.append(str(error))
            break
    thread.join()
    assert refused == ["the encoder is in use by another thread"]
    encoder.close()
