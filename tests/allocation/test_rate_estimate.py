"""The guess of macroblock sizes against what x264 spends."""

import subprocess

import numpy as np
import pytest

from idse.allocation import estimate_bits
from idse.codecs.h264 import read_macroblocks
from idse.importance.motion import MotionEstimator
from idse.picture import Picture, PictureFormat

pytestmark = pytest.mark.fast

WIDTH, HEIGHT = 320, 240


def scene(shift=0, depth=8):
    """Detail that grows from left to right, a part of which moves erratically."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0.5, 40, WIDTH)[None, :]
    luma = 110 + np.cumsum(rng.normal(size=(HEIGHT, WIDTH)), axis=0) * 0.5
    luma = luma + rng.normal(size=(HEIGHT, WIDTH)) * ramp
    if shift:
        again = np.random.default_rng(shift).normal(size=(80, 80))
        luma[80:160, 200:280] = 110 + 40 * again
    form = PictureFormat(
        width=WIDTH, height=HEIGHT, pix_fmt="yuv420p" if depth == 8 else "yuv420p10le"
    )
    grey = np.full(form.chroma_shape, 128)
    planes = [np.clip(np.rint(p), 0, 255) for p in (luma, grey, grey)]
    dtype = np.uint8 if depth == 8 else np.uint16
    scaled = tuple((p * 2 ** (depth - 8)).astype(dtype) for p in planes)
    return Picture(planes=scaled, format=form)


def real_bits(pictures, crf, path):
    command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
    command += ["-s", f"{WIDTH}x{HEIGHT}", "-i", "-", "-c:v", "libx264", "-crf", str(crf)]
    command += ["-bf", "0", str(path)]
    raw = b"".join(plane.tobytes() for p in pictures for plane in p.planes)
    subprocess.run(command, input=raw, check=True)
    return [frame.bits for frame in read_macroblocks(path)]


@pytest.mark.parametrize("crf", [22, 34])
def test_ranks_macroblocks_as_x264_does(crf, tmp_path):
    pictures = [scene(shift) for shift in range(4)]
    real = real_bits(pictures, crf, tmp_path / "scene.mp4")
    estimator = MotionEstimator()
    for i, (picture, bits) in enumerate(zip(pictures, real, strict=True)):
        guess = estimate_bits(picture, estimator.push(picture), qp=crf)
        assert guess.dtype == np.float32
        assert guess.min() >= 0
        moving = np.zeros(guess.shape, bool)
        moving[5:10, 13:17] = True
        if i == 0:
            assert np.corrcoef(guess.ravel(), bits.ravel())[0, 1] > 0.8
        else:
            # Most of a picture's bits lie where it moves, in the guess as in the stream.
            assert guess[moving].sum() > 0.5 * guess.sum()
            assert bits[moving].sum() > 0.5 * bits.sum()


def test_falls_with_the_qp():
    picture = scene()
    sizes = [float(estimate_bits(picture, None, qp=qp).sum()) for qp in (20, 26, 32, 38)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 1.5 * sizes[1]


def test_does_not_depend_on_the_depth():
    estimates = []
    for depth in (8, 10):
        estimator = MotionEstimator()
        estimator.push(scene(0, depth))
        moved = scene(1, depth)
        estimates.append(estimate_bits(moved, estimator.push(moved), qp=26))
    assert estimates[0] == pytest.approx(estimates[1], rel=0.02)
