"""Quantisation matrices from a slope, as x264 options, and in the stream that x264 writes."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction

import numpy as np
import pytest

from idse.allocation import OffsetPolicy, Rect
from idse.allocation.matrices import MAX_SLOPE, Matrices, matrix_options
from idse.codecs.x264 import Encoder
from idse.errors import InputError
from idse.importance.spectrum import Spectrum
from idse.picture import PIX_FMTS, PictureFormat

pytestmark = pytest.mark.fast

# ITU-T H.264, table 8-2: (column, row) of the first places of the 4x4 zigzag scan.
ZIGZAG = [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1), (2, 0), (3, 0), (2, 1), (1, 2), (0, 3)]


def encoded(pix_fmt="yuv420p", **settings):
    """Return an encoder that is closed, and the stream of a picture of noise."""
    form = PictureFormat(width=64, height=48, pix_fmt=pix_fmt)
    rng = np.random.default_rng(0)
    dtype = np.uint8 if form.bit_depth == 8 else np.uint16
    planes = [
        rng.integers(0, 2**form.bit_depth, shape).astype(dtype) for shape in form.plane_shapes
    ]
    with Encoder(
        width=64, height=48, pix_fmt=pix_fmt, fps=Fraction(25), global_headers=False, **settings
    ) as encoder:
        packets = [*encoder.encode(planes, pts=0), *encoder.flush()]
    return encoder, b"".join(packet.data for packet in packets)


def first_list(stream, tmp_path):
    """Return the first scaling list of a stream in the order of its scan, by FFmpeg's reading."""
    path = tmp_path / "stream.h264"
    path.write_bytes(stream)
    command = ["ffmpeg", "-v", "info", "-i", path, "-c", "copy", "-bsf:v", "trace_headers"]
    text = subprocess.run([*command, "-f", "null", "-"], capture_output=True, check=True).stderr
    text = text.decode().split("scaling_list_present_flag[0]")[1]
    text = text.split("scaling_list_present_flag[1]")[0]
    deltas = [int(value) for value in re.findall(r"delta_scale\[\d+\] .* = (-?\d+)", text)]
    return (8 + np.cumsum(deltas)) % 256


def test_a_slope_says_by_how_many_octaves_steps_grow():
    matrices = Matrices.of_slope(0.5)
    assert matrices.luma8[0, :2].tolist() == [16, 16]
    # One octave for two units beyond the first.
    assert matrices.luma8[0, 3] == matrices.luma8[3, 0] == 32
    assert matrices.luma8[7, 0] == 128
    # Index k of the 4x4 transform is as high a frequency as index 2k of the 8x8 transform.
    np.testing.assert_array_equal(matrices.luma4, matrices.luma8[::2, ::2])
    assert Matrices.of_slope(MAX_SLOPE).luma8.max() == 255


@pytest.mark.parametrize("slope", [-0.1, MAX_SLOPE + 0.1, float("nan"), float("inf")])
def test_other_slopes_are_refused(slope):
    with pytest.raises(InputError, match=re.escape(repr(slope))):
        matrix_options(slope)


def spectrum(luma8, *, chroma=0.0):
    """Return a spectrum whose 4x4 transform sees every other frequency of the 8x8 one."""
    flat = {4: np.full((4, 4), chroma), 8: np.full((8, 8), chroma)}
    return Spectrum({4: luma8[::2, ::2], 8: luma8}, flat, 0.5)


def test_steps_follow_importance_until_squared_error_outweighs_it():
    importance = np.full((8, 8), 1e-9)
    importance[:2, :2], importance[2, 2] = 15.0, 3.0
    found = spectrum(importance)
    assert found.per_sample == pytest.approx(63 / 64)
    alpha = 64 / 63  # tau is 1: totals are 16, 4 and 1
    matrices = Matrices.of_spectrum(found, alpha=alpha)
    assert (matrices.luma8[0, 0], matrices.luma8[2, 2], matrices.luma8[7, 7]) == (16, 32, 64)
    assert matrices.luma4[1, 1] == 32
    assert (matrices.chroma4 == 16).all()
    half = Matrices.of_spectrum(found, alpha=alpha, strength=0.5)
    assert (half.luma8[2, 2], half.luma8[7, 7]) == (23, 32)
    # Chroma counts in the mean that tau is a share of.
    more = spectrum(importance, chroma=2 * found.per_sample)
    assert Matrices.of_spectrum(more, alpha=alpha / 2).luma8[2, 2] == 32


def test_alpha_and_strength_lead_to_flat_matrices():
    found = spectrum(np.geomspace(1, 1e-6, 64).reshape(8, 8), chroma=1.0)
    steepest = [
        Matrices.of_spectrum(found, alpha=alpha).luma8.max() for alpha in (0, 0.01, 0.3, 3, 1e6)
    ]
    assert steepest == sorted(steepest, reverse=True)
    assert (steepest[0], steepest[-1]) == (255, 16)
    assert matrix_options(None, found, OffsetPolicy(strength=0)) == {}
    assert matrix_options(None, found) == matrix_options(None, None, OffsetPolicy()) == {}
    assert matrix_options(0.2, found, OffsetPolicy()) == matrix_options(0.2)
    # A network that is blind to the picture has nothing to say.
    assert Matrices.of_spectrum(spectrum(np.zeros((8, 8))), alpha=0.3).flat


def test_promised_quality_is_kept():
    found = spectrum(np.geomspace(1, 1e-6, 64).reshape(8, 8))
    for policy in (OffsetPolicy(floor_crf=25), OffsetPolicy(protect=(Rect(0, 0, 16, 16),))):
        assert matrix_options(None, found, policy) == {}
        assert matrix_options(0.2, found, policy) == matrix_options(0.2)
    assert matrix_options(None, found, OffsetPolicy())


def test_lists_are_checked():
    good = Matrices.of_slope(0)
    with pytest.raises(InputError, match=r"chroma4 .* must be 4x4"):
        Matrices(luma4=good.luma4, luma8=good.luma8, chroma4=good.luma8)
    with pytest.raises(InputError, match=r"luma4 .* from 1 to 255"):
        Matrices(luma4=good.luma4 * 0, luma8=good.luma8, chroma4=good.chroma4)


def test_rows_are_vertical_frequencies_in_the_stream(tmp_path):
    flat = Matrices.of_slope(0)
    luma4 = np.arange(20, 36).reshape(4, 4)
    matrices = Matrices(luma4=luma4, luma8=flat.luma8, chroma4=flat.chroma4)
    _, stream = encoded(matrices=matrices.options(intra=True))
    expected = [luma4[row, column] for column, row in ZIGZAG]
    assert first_list(stream, tmp_path)[: len(ZIGZAG)].tolist() == expected


@pytest.mark.parametrize("pix_fmt", PIX_FMTS)
@pytest.mark.parametrize("crf", ["1", "51"])
def test_the_steepest_ones_are_taken_in_every_format(pix_fmt, crf):
    encoder, stream = encoded(
        pix_fmt, matrices=matrix_options(MAX_SLOPE, intra=True), options={"crf": crf, "qpmin": "0"}
    )
    assert encoder.parameters.matrices
    assert stream != encoded(pix_fmt, options={"crf": crf, "qpmin": "0"})[1]


@pytest.mark.parametrize(
    "settings",
    [
        {"profile": "main"},
        {"profile": "baseline"},
        {"preset": "ultrafast"},
        {"options": {"8x8dct": "0"}},
        {"options": {"qp": "0"}},
        {"options": {"crf": "0"}},
    ],
    ids=str,
)
def test_what_they_would_change_or_not_touch_stays_byte_identical(settings):
    encoder, stream = encoded(matrices=matrix_options(0.35), **settings)
    assert not encoder.parameters.matrices
    assert stream == encoded(**settings)[1]


@pytest.mark.parametrize("name", ["cqm", "cqm4iy"])
def test_matrices_that_the_user_chooses_stay(name):
    value = "jvt" if name == "cqm" else ",".join(["20"] * 16)
    encoder, stream = encoded(matrices=matrix_options(0.35), options={name: value})
    assert encoder.parameters.matrices
    assert stream == encoded(options={name: value})[1]


def test_intra_coded_blocks_of_video_stay_as_they_are():
    video, stills = matrix_options(0.35), matrix_options(0.35, intra=True)
    assert set(video) == {"cqm4py", "cqm4pc", "cqm8p"}
    assert set(stills) == set(video) | {"cqm4iy", "cqm4ic", "cqm8i"}
    assert stills["cqm8i"] == stills["cqm8p"] == video["cqm8p"]


def test_flat_ones_are_stock():
    assert matrix_options(0) == {}
    _, stream = encoded(matrices=matrix_options(0))
    assert stream == encoded()[1]
