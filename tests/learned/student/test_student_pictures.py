"""Views and inputs of pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idse.errors import InputError
from idse.learned.student.pictures import content_key, mosaic, view
from idse.learned.student.resize import box_matrix, box_resize, input_size, student_planes
from idse.picture import Picture, PictureFormat

pytestmark = pytest.mark.fast


def picture(width=321, height=243, *, pix_fmt="yuv420p", seed=0, **more):
    form = PictureFormat(width=width, height=height, pix_fmt=pix_fmt, **more)
    top = 2**form.bit_depth
    random = np.random.default_rng(seed)
    dtype = np.uint8 if form.bit_depth == 8 else np.uint16
    planes = tuple(random.integers(0, top, shape).astype(dtype) for shape in form.plane_shapes)
    return Picture(planes=planes, format=form)


@given(st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_boxes_share_out_every_sample(n_in, n_out):
    matrix = box_matrix(n_in, n_out)
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(matrix.sum(0), n_out / n_in, rtol=1e-4)


def test_whole_factors_are_means_of_blocks():
    plane = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
    expected = plane.reshape(12, 4, 32, 2).mean((1, 3))
    np.testing.assert_allclose(box_resize(plane, 12, 32), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1920, 1080), (192, 320)), ((640, 480), (224, 288)), ((8, 8), (256, 256))],
)
def test_the_input_keeps_the_shape_about(size, expected):
    assert input_size(*size, area=61440, multiple=32) == expected


def test_inputs_are_in_codes_of_8_bit_and_limited_range():
    limited = picture(64, 64, pix_fmt="yuv444p")
    y, cb, cr = limited.planes
    deep = replace(
        limited,
        planes=tuple(plane.astype(np.uint16) * 4 for plane in limited.planes),
        format=replace(limited.format, pix_fmt="yuv444p10le"),
    )
    grey = replace(
        limited,
        planes=(np.full_like(y, 0), np.full_like(cb, 128), np.full_like(cr, 255)),
        format=replace(limited.format, full_range=True),
    )
    plain = student_planes(limited, area=1024, multiple=32)
    np.testing.assert_allclose(plain, student_planes(deep, area=1024, multiple=32), rtol=1e-5)
    black = student_planes(grey, area=1024, multiple=32)[:, 0, 0]
    np.testing.assert_allclose(black, [16, 128, 128 + 127 * 224 / 255], rtol=1e-5)


def test_inputs_are_upright():
    plain = picture(96, 64)
    turned = replace(plain, format=replace(plain.format, rotation=90))
    upright = student_planes(turned, area=6144, multiple=32)
    assert upright.shape == (3, 96, 64)
    lying = student_planes(plain, area=6144, multiple=32)
    np.testing.assert_allclose(upright, np.rot90(lying, 1, (1, 2)))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv422p10le"])
@pytest.mark.parametrize("number", range(6))
def test_views_are_pictures_of_whole_blocks(pix_fmt, number):
    found = view(picture(pix_fmt=pix_fmt), number)
    form = found.format
    assert form.width % 8 == 0
    assert form.height % 8 == 0
    assert min(form.width, form.height) >= 152
    if not number:
        assert (form.width, form.height) == (320, 240)
        np.testing.assert_array_equal(
            found.planes[0], picture(pix_fmt=pix_fmt).planes[0][:240, :320]
        )


def test_views_repeat_and_differ():
    item = picture()
    assert content_key(view(item, 3)) == content_key(view(item, 3))
    assert len({content_key(view(item, number)) for number in range(8)}) == 8
    assert content_key(view(item, 3, seed=1)) != content_key(view(item, 3))


def test_large_pictures_are_seen_smaller():
    assert view(picture(2000, 1000), 0).format.width == 1280


def test_keys_tell_formats_apart():
    plain = picture()
    full = replace(plain, format=replace(plain.format, full_range=True))
    assert content_key(plain) != content_key(full)


@given(st.integers(2, 4), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_mosaics_show_every_picture_and_nothing_else(count, number):
    flat = [
        Picture(
            planes=tuple(
                np.full(shape, 40 * k + plane, np.uint8)
                for plane, shape in enumerate(picture(243 + 90 * k, 301).format.plane_shapes)
            ),
            format=PictureFormat(width=243 + 90 * k, height=301),
        )
        for k in range(count)
    ]
    made = mosaic(flat, number)
    made.format.check_planes(made.planes)
    for plane, samples in enumerate(made.planes):
        assert set(np.unique(samples)) == {40 * k + plane for k in range(count)}
    luma, cb, _ = made.planes
    # Chroma changes where luma does, and both at edges of macroblocks only.
    np.testing.assert_array_equal(luma[::2, ::2] + 1, cb)
    np.testing.assert_array_equal(luma[::16, ::16].repeat(16, 0).repeat(16, 1), luma)


def test_mosaics_depend_on_their_number_and_seed_alone():
    items = [picture(400, 300, seed=k) for k in range(3)]
    same, again = mosaic(items, 5), mosaic(items, 5)
    assert content_key(same) == content_key(again)
    assert content_key(same) != content_key(mosaic(items, 6))
    assert content_key(same) != content_key(mosaic(items, 5, seed=1))


@pytest.mark.parametrize(
    "items",
    [
        [picture()],
        [picture()] * 5,
        [picture(), picture(pix_fmt="yuv444p")],
        [picture(rotation=90)] * 2,
    ],
)
def test_mosaics_of_what_does_not_fit_are_refused(items):
    with pytest.raises(InputError, match="mosaic of"):
        mosaic(items, 0)
