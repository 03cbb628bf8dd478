"""PyAV frames as pictures: samples, names and colour descriptions."""

from __future__ import annotations

import gc

import av
import numpy as np
import pytest

from idse.errors import InputError
from idse.pipeline.frames import picture, picture_format, rgb

pytestmark = pytest.mark.fast


def filled(name, value, width=65, height=47, **attributes):
    """A frame whose 16-bit words (8-bit samples) all hold ``value``."""
    frame = av.VideoFrame(width, height, name)
    wide = max(c.bits for c in frame.format.components) > 8
    for plane in frame.planes:
        samples = np.full(plane.buffer_size // (2 if wide else 1), value, "<u2" if wide else "u1")
        plane.update(samples.tobytes())
    for key, item in attributes.items():
        setattr(frame, key, item)
    return frame


@pytest.mark.parametrize("name", ["yuv420p", "yuvj422p", "yuv444p", "yuv420p10le"])
def test_planar_formats_are_views_of_the_frame(name):
    frame = filled(name, 77)
    shown = picture(frame, 5)
    assert shown.index == 5
    assert shown.format.pix_fmt == name.replace("yuvj", "yuv")
    assert shown.format.full_range == name.startswith("yuvj")
    plane = frame.planes[1]
    data = np.frombuffer(plane, np.uint8).copy()
    data[:] = 3
    plane.update(data.tobytes())
    wide = shown.format.bit_depth == 10
    assert shown.planes[1][-1, -1] == (3 * 257 if wide else 3)


def test_views_keep_the_frame_alive():
    shown = picture(filled("yuv420p", 77, 640, 480), 0)
    gc.collect()
    for _ in range(20):  # would reuse the buffer if it had been freed
        filled("yuv420p", 1, 640, 480)
    assert (shown.planes[0] == 77).all()


@pytest.mark.parametrize(
    ("name", "value", "expected", "samples"),
    [
        ("nv12", 77, "yuv420p", 77),
        ("yuyv422", 77, "yuv422p", 77),
        ("nv24", 77, "yuv444p", 77),
        ("yuv411p", 77, "yuv422p", 77),
        ("yuv440p", 77, "yuv444p", 77),
        ("yuva420p", 77, "yuv420p", 77),
        ("yuv420p12le", 77 << 4, "yuv420p10le", 77 << 2),
        ("p010le", 77 << 8, "yuv420p10le", 77 << 2),
        ("yuv444p16le", 77 << 8, "yuv444p10le", 77 << 2),
    ],
)
def test_other_formats_keep_code_values(name, value, expected, samples):
    for colour_range in (0, 1, 2):
        shown = picture(filled(name, value, color_range=colour_range), 0)
        assert shown.format.pix_fmt == expected
        assert shown.format.full_range == (colour_range == 2)
        # Between full ranges the depth changes by 1023 / 4095, not by a shift: one code off.
        for plane in shown.planes:
            np.testing.assert_allclose(plane.astype(int), samples, atol=int(colour_range == 2))


def test_conversion_does_not_depend_on_threads():
    """libswscale's slices race for the chroma of small P010 pictures: one conversion in ten."""
    for _ in range(60):
        shown = picture(filled("p010le", 77 << 8, color_range=1), 0)
        assert all((plane == 77 << 2).all() for plane in shown.planes)


@pytest.mark.parametrize("name", ["gray", "ya8"])
@pytest.mark.parametrize("colour_range", [0, 1, 2])
def test_grey_keeps_code_values_and_gets_neutral_chroma(name, colour_range):
    shown = picture(filled(name, 200, color_range=colour_range), 0)
    assert shown.format.full_range == (colour_range != 1)  # untagged grey: as FFmpeg takes it
    assert [plane[20, 20] for plane in shown.planes] == [200, 128, 128]


@pytest.mark.parametrize(("height", "matrix"), [(576, "bt601"), (720, "bt709")])
def test_rgb_becomes_limited_444(height, matrix):
    colours = np.full((height, 64, 3), (200, 30, 60), np.uint8)
    shown = picture(av.VideoFrame.from_ndarray(colours, "rgb24"), 0)
    form = shown.format
    assert (form.pix_fmt, form.matrix, form.full_range) == ("yuv444p", matrix, False)
    k_r, k_b = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    luma = k_r * 200 + (1 - k_r - k_b) * 30 + k_b * 60
    expected = [
        16 + luma * 219 / 255,
        128 + (60 - luma) / (2 * (1 - k_b)) * 224 / 255,
        128 + (200 - luma) / (2 * (1 - k_r)) * 224 / 255,
    ]
    found = [float(plane[9, 9]) for plane in shown.planes]
    np.testing.assert_allclose(found, expected, atol=1)


@pytest.mark.parametrize(
    ("height", "code", "matrix"),
    [
        (576, 2, "bt601"),
        (719, 2, "bt601"),
        (720, 2, "bt709"),
        (2160, 2, "bt709"),
        (576, 1, "bt709"),
        (1080, 5, "bt601"),
        (1080, 6, "bt601"),
        (1080, 7, "bt709"),
        (2160, 9, "bt2020nc"),
        (2160, 10, "bt2020nc"),
    ],
)
def test_matrix_is_the_streams_or_what_players_assume(height, code, matrix):
    frame = av.VideoFrame(64, height, "yuv420p")
    frame.colorspace = code
    assert picture_format(frame).matrix == matrix


def test_matrices_that_cannot_be_read_are_named():
    frame = av.VideoFrame(64, 48, "yuv420p")
    for code in (8, 14):
        frame.colorspace = code
        with pytest.raises(InputError, match=f"H.273 code {code}"):
            picture_format(frame)


def test_transfer_is_told():
    frame = av.VideoFrame(64, 48, "yuv420p10le")
    for code, transfer in ((1, "sdr"), (2, "sdr"), (14, "sdr"), (16, "pq"), (18, "hlg")):
        frame.color_trc = code
        assert picture_format(frame).transfer == transfer


@pytest.mark.parametrize("attributes", [{}, {"colorspace": 1}, {"color_range": 2}], ids=str)
def test_rgb_view_reads_frames_as_the_network_does(attributes):
    import torch

    from idse.vision.colour import planes_to_rgb

    frame = filled("yuv444p", 0, **attributes)
    for plane, value in zip(frame.planes, (150, 100, 140), strict=True):
        plane.update(np.full(plane.buffer_size, value, np.uint8).tobytes())
    codes = torch.tensor([150.0, 100.0, 140.0])[None, :, None, None]
    expected = planes_to_rgb(codes, picture_format(frame))[0, :, 0, 0] * 255
    np.testing.assert_allclose(rgb(frame)[20, 20], expected.numpy(), atol=1.5)
    assert frame.colorspace == attributes.get("colorspace", 2)
