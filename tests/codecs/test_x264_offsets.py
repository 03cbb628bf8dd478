"""QP offsets: they arrive exactly, are not kept, and are never dropped silently."""

import logging
from fractions import Fraction

import numpy as np
import pytest
from x264_clips import (
    LIBRARIES,
    LIBRARY_IDS,
    encode_clip,
    library,
    moving_clip,
    noise_clip,
    qps_of,
    stream_of,
)

from idse.codecs.x264 import Encoder
from idse.errors import InputError
from x264_recipes import VERBATIM

pytestmark = pytest.mark.fast

each_library = pytest.mark.parametrize("path", LIBRARIES, ids=LIBRARY_IDS)


def even_offsets(shape, seed, span=6):
    return (2 * np.random.default_rng(seed).integers(-span // 2, span // 2 + 1, shape)).astype("f4")


@each_library
@pytest.mark.parametrize("options", [{"keyint": "1"}, {"bframes": "3"}], ids=["intra", "inter"])
def test_offsets_come_back_exactly_from_the_bitstream(path, options):
    clip = noise_clip(frames=5)
    offsets = [even_offsets((4, 6), seed) for seed in range(5)]
    settings = {"library": library(path), "global_headers": False, "options": VERBATIM | options}
    plain = qps_of(encode_clip(clip, **settings))
    steered = qps_of(encode_clip(clip, offsets, **settings))
    for before, after, asked in zip(plain, steered, offsets, strict=True):
        assert np.ptp(before) == 0  # the recipe itself leaves one QP per frame
        assert np.array_equal(after - before, asked)


@each_library
@pytest.mark.parametrize("threads", ["1", "4"])
def test_offsets_and_planes_may_be_overwritten_after_the_call(path, threads):
    clip, shape = moving_clip(frames=30), (4, 6)
    wanted = [even_offsets(shape, seed) for seed in range(30)]
    options = {"threads": threads, "rc-lookahead": "20"}
    expected = encode_clip(clip, wanted, library=library(path), options=options)
    reused, planes, packets = np.zeros(shape, "f4"), [p.copy() for p in clip[0]], []
    with Encoder(
        width=96, height=64, fps=Fraction(25), library=library(path), options=options
    ) as encoder:
        for index in range(30):
            reused[...] = wanted[index]
            for ours, source in zip(planes, clip[index], strict=True):
                ours[...] = source
            packets += encoder.encode(planes, pts=index, offsets=reused)
            reused[...] = 100
            for ours in planes:
                ours[...] = 0
        packets += encoder.flush()
    assert packets == expected


@each_library
@pytest.mark.parametrize("preset", ["medium", "ultrafast"])
def test_zero_offsets_leave_the_stream_of_stock_x264(path, preset):
    clip = moving_clip()
    settings = {"library": library(path), "preset": preset}
    zeros = [np.zeros((4, 6), np.float32)] * len(clip)
    stock = encode_clip(clip, **settings)
    assert encode_clip(clip, zeros, **settings) == stock
    assert encode_clip(clip, zeros, steer=True, **settings) == stock


# Every combination in which adaptive quantisation ends up off.
AQ_OFF = {
    "ultrafast": {"preset": "ultrafast"},
    "aq-mode": {"options": {"aq-mode": "0", "mbtree": "0"}},
    "aq-strength": {"options": {"aq-strength": "0", "mbtree": "0"}},
    "psnr": {"tune": "psnr", "options": {"mbtree": "0"}},
    "in-band": {"preset": "ultrafast", "global_headers": False},
    "all-intra": {"tune": "psnr", "options": {"keyint": "1"}},
    "10-bit": {"pix_fmt": "yuv420p10le", "options": {"aq-mode": "0", "mbtree": "0"}},
}


@each_library
@pytest.mark.parametrize("name", AQ_OFF)
def test_correction_of_aq_off_is_invisible_without_offsets_and_effective_with(path, name):
    settings = {"library": library(path), **AQ_OFF[name]}
    clip = moving_clip(pix_fmt=settings.get("pix_fmt", "yuv420p"))
    stock = encode_clip(clip, **settings)
    assert encode_clip(clip, steer=True, **settings) == stock
    offsets = [even_offsets((4, 6), seed) for seed in range(len(clip))]
    steered = encode_clip(clip, offsets, steer=True, **settings)
    assert stream_of(steered) != stream_of(stock)


@each_library
def test_corrected_encoder_applies_offsets_verbatim(path):
    clip = noise_clip(frames=3)
    offsets = [even_offsets((4, 6), seed) for seed in range(3)]
    options = {**VERBATIM, "aq-mode": "0", "keyint": "1"}
    settings = {"library": library(path), "options": options, "global_headers": False}
    plain = qps_of(encode_clip(clip, **settings))
    steered = qps_of(encode_clip(clip, offsets, steer=True, **settings))
    for before, after, asked in zip(plain, steered, offsets, strict=True):
        assert np.array_equal(after - before, asked)


@each_library
def test_aq_off_with_mbtree_keeps_offsets_without_help(path):
    settings = {"library": library(path), "options": {"aq-mode": "0"}}
    with Encoder(width=96, height=64, fps=Fraction(25), **settings) as encoder:
        assert encoder.parameters.aq_mode == 1
        assert encoder.parameters.aq_strength == 0
    clip = moving_clip()
    offsets = [even_offsets((4, 6), seed) for seed in range(len(clip))]
    assert encode_clip(clip, offsets, **settings) != encode_clip(clip, **settings)


def test_correction_says_what_it_did(caplog):
    with caplog.at_level(logging.INFO, "idse.codecs.x264"):
        Encoder(width=64, height=64, fps=Fraction(25), preset="ultrafast", steer=True).close()
    assert "opened with aq-mode=1:aq-strength=1e-30" in caplog.text


@each_library
@pytest.mark.parametrize(
    ("options", "pix_fmt", "quoted"),
    [
        ({"qp": "30"}, "yuv420p", "qp=30"),
        ({"qp": "0"}, "yuv420p", "lossless"),
        ({"crf": "0"}, "yuv420p", "lossless"),
        ({"qp": "30"}, "yuv420p10le", "qp=30"),
    ],
)
def test_rate_controls_without_offsets_are_refused(path, options, pix_fmt, quoted):
    with pytest.raises(InputError, match=f"ignores QP offsets with {quoted}"):
        Encoder(
            width=64,
            height=64,
            pix_fmt=pix_fmt,
            fps=Fraction(25),
            options=options,
            steer=True,
            library=library(path),
        )


@pytest.mark.parametrize(
    "rate",
    [
        {"bitrate": "200"},
        {"vbv-maxrate": "300", "vbv-bufsize": "200"},
        {"pass": "1", "stats": "/dev/null"},
    ],
)
def test_aq_off_under_a_rate_target_is_refused(rate):
    with pytest.raises(InputError, match="add mbtree=1 or aq-mode=1"):
        Encoder(width=64, height=64, fps=Fraction(25), preset="ultrafast", options=rate, steer=True)


@pytest.mark.parametrize("settings", [{"preset": "ultrafast"}, {"options": {"qp": "30"}}])
def test_offsets_to_an_encoder_that_drops_them_are_refused(settings):
    clip = moving_clip(frames=1)
    with pytest.raises(InputError, match="steer=True"):
        encode_clip(clip, [np.ones((4, 6), np.float32)], **settings)


@pytest.mark.parametrize("height", [64, 72, 96, 100])
@pytest.mark.parametrize("order", ["tff", "bff", "fake-interlaced"])
def test_interlaced_offsets_cover_rows_of_32_lines(order, height):
    shape = (2 * -(-height // 32), 6)
    clip = noise_clip(frames=2, height=height)
    options = {**VERBATIM, "keyint": "1", order: "1"}
    with Encoder(width=96, height=height, fps=Fraction(25), options=options) as encoder:
        assert encoder.mb_shape == shape
        assert encoder.parameters.interlaced == (order != "fake-interlaced")
    rows = np.zeros(shape, np.float32)
    rows[-2:] = 8  # both macroblocks of the last pairs, whatever field they hold
    stock = encode_clip(clip, options=options)
    steered = encode_clip(clip, [rows, rows], options=options)
    assert all(len(s.data) < len(p.data) for s, p in zip(steered, stock, strict=True))
    with pytest.raises(InputError, match="shape"):
        encode_clip(clip, [np.zeros((shape[0] - 1, 6), np.float32)] * 2, options=options)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        (np.zeros((4, 5), np.float32), r"shape \(4, 5\), expected \(4, 6\)"),
        (np.zeros((6, 4), np.float32).T.astype(np.float64), "float64, expected .* float32"),
        ([[0.0] * 6] * 4, "list, expected .* float32"),
        (np.full((4, 6), np.nan, np.float32), "offset nan of macroblock row 0, column 0"),
        (np.where(np.eye(4, 6) > 0, np.inf, 0).astype("f4"), "offset inf"),
        (np.full((4, 6), 129, np.float32), "offset 129.0 .* within"),
    ],
)
def test_unusable_offsets_are_refused_with_their_value(offsets, message):
    with pytest.raises(InputError, match=message):
        encode_clip(moving_clip(frames=1), [offsets])


def test_strided_offsets_are_read_as_they_look():
    clip = moving_clip(frames=6)
    offsets = even_offsets((4, 6), 3)
    strided = np.zeros((8, 12), np.float32)[::2, ::2]
    strided[...] = offsets
    assert encode_clip(clip, [strided] * 6) == encode_clip(clip, [offsets] * 6)
