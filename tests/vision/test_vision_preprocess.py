"""Planes to network input: resize, colour, turn, padding, and their gradients."""

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from idse.errors import InputError
from idse.picture import Picture, PictureFormat
from idse.vision import FeatureExtractor
from idse.vision.preprocess import planes_to_tensors
from idse.vision.resample import Axis, resize, resize_transposed

pytestmark = pytest.mark.fast


def network(size=(24, 40), **options):
    return FeatureExtractor(torch.nn.Identity(), size=size, **options)


def random_planes(fmt, seed=0, n=1):
    generator = torch.Generator().manual_seed(seed)
    top = 2**fmt.bit_depth - 1
    shapes = [(n, 1, fmt.height, fmt.width), *[(n, 1, *fmt.chroma_shape)] * 2]
    return [
        torch.rand(s, generator=generator, dtype=torch.float64) * 0.8 * top + 0.1 * top
        for s in shapes
    ]


@pytest.mark.parametrize(
    ("source", "target"),
    [((57, 90), (13, 21)), ((20, 30), (41, 33)), ((64, 17), (16, 34)), ((33, 33), (33, 8))],
)
def test_resize_is_torchs_antialiased_bilinear(source, target):
    x = torch.rand(2, 1, *source, dtype=torch.float64)
    rows, columns = (Axis(i, o, i) for i, o in zip(source, target, strict=True))
    expected = functional.interpolate(x, target, mode="bilinear", antialias=True)
    torch.testing.assert_close(resize(x, rows, columns), expected, rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_transpose_is_exact_for_any_size_and_phase(data):
    sizes = [data.draw(st.integers(1, 70)) for _ in range(4)]
    phase = data.draw(st.sampled_from([0.25, 0.5]))
    rows = Axis(sizes[0], sizes[1], sizes[0])
    columns = Axis(sizes[2], sizes[3], sizes[2] - 0.5, phase)
    x = torch.rand(1, 1, sizes[0], sizes[2], dtype=torch.float64)
    g = torch.rand(1, 1, sizes[1], sizes[3], dtype=torch.float64)
    small = resize(x, rows, columns)
    torch.testing.assert_close((small * g).sum(), (x * resize_transposed(g, rows, columns)).sum())
    # Weights of an output sum to 1: grey stays grey, up to the very border.
    flat = resize(torch.ones_like(x), rows, columns)
    torch.testing.assert_close(flat, torch.ones_like(flat))


@pytest.mark.parametrize(
    ("pix_fmt", "width", "height", "tolerance"),
    [
        ("yuv420p", 240, 160, 1e-9),
        ("yuv422p", 240, 160, 1e-9),
        ("yuv444p", 97, 61, 1e-9),
        # At other than whole factors a sampled triangle shifts a ramp a little on its own.
        ("yuv420p", 241, 161, 0.2),
    ],
)
@pytest.mark.parametrize("siting", ["left", "center"])
def test_chroma_is_read_where_it_lies(pix_fmt, width, height, tolerance, siting):
    """The same ramp across all planes must come out the same, whatever the subsampling.

    Chroma read half a luma sample off would differ by 1.
    """
    fmt = PictureFormat(width=width, height=height, pix_fmt=pix_fmt, siting=siting)
    sub_x, sub_y = fmt.subsampling
    rows, columns = fmt.chroma_shape

    def ramp(y, x):
        return (2 * x[None, :] + 3 * y[:, None])[None, None]

    span = torch.arange(max(width, height), dtype=torch.float64)
    luma = ramp(span[:height], span[:width])
    # Beside the left one of two luma columns or between them, halfway between two luma rows.
    right = 0.5 if sub_x and siting == "center" else 0
    below = 0.5 if sub_y else 0
    chroma = ramp(span[:rows] * 2**sub_y + below, span[:columns] * 2**sub_x + right)
    small = network(size=(20, 30), fit="stretch").shrink(luma, chroma, chroma, fmt)
    inner = small[0, :, 4:-4, 4:-4]
    torch.testing.assert_close(inner[1], inner[0], atol=tolerance, rtol=0)
    torch.testing.assert_close(inner[2], inner[0], atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    "fmt",
    [
        PictureFormat(width=13, height=11, pix_fmt="yuv420p"),
        PictureFormat(width=12, height=10, pix_fmt="yuvj422p", full_range=True, rotation=90),
        PictureFormat(width=9, height=14, pix_fmt="yuv444p10le", matrix="bt709", rotation=180),
        PictureFormat(
            width=14,
            height=9,
            pix_fmt="yuv420p10le",
            matrix="bt2020nc",
            transfer="pq",
            rotation=270,
        ),
        PictureFormat(
            width=12, height=12, pix_fmt="yuv420p10le", matrix="bt2020nc", transfer="hlg"
        ),
    ],
    ids=lambda f: f"{f.pix_fmt}-{f.matrix}-{f.transfer}-{f.rotation}",
)
def test_gradient_matches_finite_differences(fmt):
    net = network(size=(6, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), channels="bgr")
    planes = [p.requires_grad_() for p in random_planes(fmt)]
    # A step of 1e-3 code values: central differences are good to 1e-9 of a normalised input.
    assert torch.autograd.gradcheck(
        lambda y, cb, cr: net.to_input(y, cb, cr, fmt), planes, eps=1e-3, atol=1e-7, rtol=1e-5
    )


def test_two_halves_and_the_transpose_make_the_whole_gradient():
    fmt = PictureFormat(width=50, height=31, matrix="bt709", rotation=90)
    net = network()
    planes = [p.requires_grad_() for p in random_planes(fmt)]
    x = net.to_input(*planes, fmt)
    seeds = torch.rand(4, *x.shape, dtype=torch.float64)
    whole = torch.autograd.grad(x, planes, seeds, is_grads_batched=True)
    small = net.shrink(*planes, fmt).detach().requires_grad_()
    (g,) = torch.autograd.grad(net.finish(small, fmt), small, seeds, is_grads_batched=True)
    for ours, expected in zip(net.shrink_transposed(g[:, 0], fmt), whole, strict=True):
        torch.testing.assert_close(ours, expected[:, 0])


@pytest.mark.parametrize("matrix", ["bt709", "bt601", "bt2020nc"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("depth", [8, 10])
def test_colour_inverts_swscale(matrix, full_range, depth):
    """Colours that FFmpeg coded as Y'CbCr come back as the RGB they were."""
    rng = np.random.default_rng(3)
    rgb = np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    names = {"bt709": "ITU709", "bt601": "ITU601", "bt2020nc": 9}
    pix_fmt = "yuv444p" if depth == 8 else "yuv444p10le"
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
        format=pix_fmt,
        dst_colorspace=names[matrix],
        src_color_range="JPEG",
        dst_color_range="JPEG" if full_range else "MPEG",
    )
    fmt = PictureFormat(width=64, height=64, pix_fmt=pix_fmt, matrix=matrix, full_range=full_range)
    dtype = np.uint8 if depth == 8 else np.uint16
    planes = tuple(np.frombuffer(p, dtype).reshape(64, -1)[:, :64] for p in frame.planes)
    picture = Picture(planes=planes, format=fmt)
    x = network(size=(64, 64)).from_picture(picture)[0].permute(1, 2, 0).numpy()
    assert np.abs(x * 255 - rgb).max() < (2.5 if depth == 8 else 1.2)


def test_reference_white_of_pq_and_hlg_is_the_same_light_grey():
    """BT.2408: 203 cd/m2 is 58 % PQ and 75 % HLG; ours shows it as documented, at 0.82 linear."""
    for transfer, signal in (("pq", 0.5807), ("hlg", 0.75)):
        fmt = PictureFormat(
            width=4, height=4, pix_fmt="yuv444p10le", matrix="bt2020nc", transfer=transfer
        )
        y = torch.full((1, 1, 4, 4), 64 + 876 * signal, dtype=torch.float64)
        c = torch.full((1, 1, 4, 4), 512.0, dtype=torch.float64)
        grey = network(size=(4, 4)).to_input(y, c, c, fmt)
        linear = 1 - 0.5 * np.exp(-1)
        expected = 1.055 * linear ** (1 / 2.4) - 0.055
        assert grey.mean().item() == pytest.approx(expected, abs=0.005)
        black = network(size=(4, 4)).to_input(y * 0 + 64, c, c, fmt)
        assert black.abs().max().item() < 1e-3


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_network_sees_pictures_upright_and_boxes_come_back(rotation):
    upright = np.full((60, 100), 40, np.uint8)
    upright[10:22, 60:90] = 220
    # A player turns by `rotation` counter-clockwise, so what was coded is turned the other way.
    coded = np.ascontiguousarray(np.rot90(upright, -rotation // 90))
    height, width = coded.shape
    grey = np.full((height, width), 128, np.uint8)
    fmt = PictureFormat(
        width=width, height=height, pix_fmt="yuv444p", full_range=True, rotation=rotation
    )
    net = network(size=(120, 240), pad=0.0)
    x = net.from_picture(Picture(planes=(coded, grey, grey), format=fmt))
    plain = net.from_rgb(np.repeat(upright[:, :, None], 3, axis=2))
    torch.testing.assert_close(x, plain, atol=1e-4, rtol=0)
    rows, columns = np.nonzero(x[0, 0].numpy() > 0.5)
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    ys, xs = np.nonzero(coded > 128)
    expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    np.testing.assert_allclose(net.geometry(fmt).boxes_to_picture(box)[0], expected, atol=0.6)


def test_letterbox_pads_with_grey_and_stops_at_the_stride():
    fmt = PictureFormat(width=192, height=108)
    fixed = network(size=(416, 416), mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    flexible = network(size=(416, 416), stride=32)
    planes = random_planes(fmt)
    x = fixed.to_input(*planes, fmt)
    assert x.shape == (1, 3, 416, 416)
    expected = torch.tensor([0.8, 0.6, 0.4], dtype=torch.float64)
    torch.testing.assert_close(x[0, :, 0, 0], expected)
    torch.testing.assert_close(x[0, :, -1, -1], expected)
    assert flexible.to_input(*planes, fmt).shape == (1, 3, 256, 416)
    # The picture itself is the same in both.
    top = fixed.geometry(fmt).pad[0]
    assert (top, flexible.geometry(fmt).pad[0]) == (91, 11)


def test_what_inference_cached_serves_gradients_too():
    fmt = PictureFormat(width=45, height=27)
    planes = random_planes(fmt)
    net = network(size=(11, 18))
    with torch.inference_mode():
        net.to_input(*planes, fmt)
    y = planes[0].requires_grad_()
    (g,) = torch.autograd.grad(net.to_input(y, *planes[1:], fmt).sum(), y, create_graph=True)
    assert g.abs().sum() > 0


def test_ten_bit_and_strided_planes_are_read_as_they_are():
    fmt = PictureFormat(width=6, height=4, pix_fmt="yuv420p10le")
    wide = np.arange(4 * 8, dtype=np.uint16).reshape(4, 8) + 900
    chroma = np.full((2, 3), 512, np.uint16)
    y, cb, _ = planes_to_tensors(Picture(planes=(wide[:, :6], chroma, chroma), format=fmt))
    np.testing.assert_array_equal(y[0, 0].numpy(), wide[:, :6])
    assert cb.dtype == torch.float32


def test_planes_of_another_size_are_refused():
    fmt = PictureFormat(width=16, height=16)
    planes = random_planes(PictureFormat(width=16, height=16, pix_fmt="yuv444p"))
    with pytest.raises(InputError, match="plane Cb is"):
        network().to_input(*planes, fmt)
