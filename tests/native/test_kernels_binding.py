"""The kernels through ctypes against plain numpy, and what the binding refuses."""

import numpy as np
import pytest

from idse import kernels
from idse.errors import InputError
from idse.picture import Picture, PictureFormat

pytestmark = pytest.mark.fast


def _picture(width, height, pix_fmt="yuv420p", seed=0, pad=0):
    form = PictureFormat(width=width, height=height, pix_fmt=pix_fmt)
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if form.bit_depth == 8 else np.uint16
    shapes = ((height, width), form.chroma_shape, form.chroma_shape)
    planes = tuple(
        rng.integers(0, 1 << form.bit_depth, (h, w + pad), dtype=dtype)[:, :w] for h, w in shapes
    )
    return Picture(planes=planes, format=form)


def _blocks(plane, rows, cols, height, width):
    pad = ((0, rows * height - plane.shape[0]), (0, cols * width - plane.shape[1]))
    plane = np.pad(plane.astype(np.int64), pad, mode="edge")
    return plane.reshape(rows, height, cols, width).swapaxes(1, 2).reshape(rows, cols, -1)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"])
@pytest.mark.parametrize("size", [(64, 48), (50, 34), (17, 33), (1, 1)])
def test_ac_energy_is_the_sum_of_squared_deviations_over_all_planes(pix_fmt, size):
    picture = _picture(*size, pix_fmt, pad=5)
    rows, cols = picture.format.mb_shape
    sx, sy = picture.format.subsampling
    expected = np.zeros((rows, cols), np.int64)
    for plane, x, y in zip(picture.planes, (0, sx, sx), (0, sy, sy), strict=True):
        blocks = _blocks(plane, rows, cols, 16 >> y, 16 >> x)
        # x264 truncates the square of the sum, plane by plane.
        expected += (blocks**2).sum(-1) - blocks.sum(-1) ** 2 // blocks.shape[-1]
    assert np.array_equal(kernels.ac_energy(picture), expected)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_planes_extend_edges_and_shrink(pix_fmt):
    picture = _picture(50, 34, pix_fmt, pad=3)
    planes = kernels.luma_planes(picture)
    luma = picture.planes[0].astype(np.int64) >> (picture.format.bit_depth - 8)
    whole = np.pad(luma, ((0, 14), (0, 14)), mode="edge")
    assert np.array_equal(planes.full, np.pad(whole, 32, mode="edge"))
    small = (whole.reshape(12, 4, 16, 4).sum((1, 3)) + 8) >> 4
    assert np.array_equal(planes.small, np.pad(small, 8, mode="edge"))


def test_planes_are_written_over_where_they_fit():
    first, other = _picture(50, 34, seed=1), _picture(50, 34, seed=2)
    into = kernels.luma_planes(first)
    assert kernels.luma_planes(other, into=into) is into
    assert np.array_equal(into.full, kernels.luma_planes(other).full)
    assert kernels.luma_planes(_picture(80, 34), into=into) is not into


def test_residual_and_activity_are_what_their_vectors_say():
    current, previous = (kernels.luma_planes(_picture(80, 64, seed=s)) for s in (1, 2))
    match = kernels.motion_search(current, previous)
    now, before = current.full.astype(int), previous.full.astype(int)
    for row in range(4):
        for col in range(5):
            y, x = 32 + 16 * row, 32 + 16 * col
            dx, dy = match.vectors[row, col]
            block = now[y : y + 16, x : x + 16]
            there = before[y + dy : y + dy + 16, x + dx : x + dx + 16]
            assert match.residual[row, col] == np.abs(block - there)[::2].mean()
            left = np.abs(block - now[y : y + 16, x - 1 : x + 15])[::2].mean()
            above = np.abs(block - now[y - 1 : y + 15, x : x + 16])[::2].mean()
            assert match.activity[row, col] == min(left, above)


def test_predictors_out_of_reach_stay_inside_the_plane():
    planes, other = (kernels.luma_planes(_picture(40, 40, seed=s)) for s in (1, 2))
    temporal = np.full((3, 3, 2), 32767, np.int16)
    temporal[1] = -32768
    match = kernels.motion_search(planes, other, temporal=temporal)
    assert np.abs(match.vectors).max() <= 3 * 16 + 32
    match = kernels.motion_search(planes, planes, temporal=temporal)
    assert (match.vectors == 0).all()
    assert (match.residual == 0).all()


def test_refuses_arrays_that_do_not_fit():
    small, large = (kernels.luma_planes(_picture(n, n)) for n in (32, 48))
    with pytest.raises(InputError, match=r"\(3, 3\) and \(2, 2\)"):
        kernels.motion_search(large, small)
    with pytest.raises(InputError, match=r"temporal vectors are float32 \(2, 2, 2\)"):
        kernels.motion_search(small, small, temporal=np.zeros((2, 2, 2), np.float32))


def test_flow_back_splits_values_between_the_macroblocks_that_they_overlap():
    values = np.zeros((2, 4, 5), np.float32)
    values[0, 1, 2], values[1, 1, 2] = 8.0, 1.0
    vectors = np.zeros((4, 5, 2), np.float32)
    vectors[1, 2] = (-12, 24)  # three quarters of a macroblock to the left, one and a half down
    share = np.full((4, 5), 0.5, np.float32)
    out = kernels.flow_back(values, vectors, share)
    assert out[0, 2, 1] == out[0, 3, 1] == 8 * 0.5 * 0.5 * 0.75
    assert out[0, 2, 2] == out[0, 3, 2] == 8 * 0.5 * 0.5 * 0.25
    assert np.array_equal(out[0], 8 * out[1])
    assert out.sum(dtype=np.float64) == 4.5  # nothing is lost


def test_flow_back_keeps_inside_what_comes_from_outside():
    values = np.ones((1, 3, 3), np.float32)
    vectors = np.full((3, 3, 2), -1e9, np.float32)
    out = kernels.flow_back(values, vectors, values[0])
    assert out[0, 0, 0] == 9
    assert out.sum() == 9


def test_carry_interpolates_where_content_comes_from():
    values = np.zeros((2, 4, 5), np.float32)
    values[0, 1, 2], values[1] = 8.0, 3.0
    vectors = np.zeros((4, 5, 2), np.float32)
    vectors[2, 1] = (12, -8)
    vectors[0, 0] = (np.nan, -1e9)
    share = np.full((4, 5), 0.5, np.float32)
    out = kernels.carry(values, vectors, share)
    assert out[0, 2, 1] == 8 * 0.5 * 0.75 * 0.5
    assert out[0, 1, 2] == 4.0
    assert (out[1] == 1.5).all()


@pytest.mark.parametrize("move", [kernels.flow_back, kernels.carry])
def test_what_moves_maps_refuses_arrays_that_do_not_fit(move):
    values, vectors = np.ones((1, 3, 3), np.float32), np.zeros((3, 3, 2), np.float32)
    with pytest.raises(InputError, match=r"vectors is float32 \(3, 2, 2\), expected .*\(3, 3, 2\)"):
        move(values, vectors[:, 1:], values[0])
    with pytest.raises(InputError, match=r"values is float64 \(1, 3, 3\)"):
        move(values.astype(float), vectors, values[0])
    with pytest.raises(InputError, match="share is float32"):
        move(values, vectors, values[0, 0])
