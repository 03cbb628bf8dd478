"""How importance depends on the picture's size, against gradients at the picture's resolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from idse.importance.frequencies import spectrum
from idse.importance.spectrum import SIZES
from idse.learned.student.spectrum import code_steps, picture_spectrum
from idse.learned.student.teacher import LAGS, autocorrelation
from idse.picture import PictureFormat
from idse.vision.geometry import place

pytestmark = pytest.mark.fast

TEACHERS = [
    {"size": [128, 128], "fit": "letterbox", "stride": 32},
    {"size": [96, 96], "fit": "stretch", "stride": None},
]


def gradients(size: tuple[int, int], smooth: int) -> torch.Tensor:
    """Coloured noise: what a network's gradients look like, and stationary."""
    noise = torch.randn(24, 3, size[0] + smooth, size[1] + smooth, generator=torch.manual_seed(1))
    scale = torch.tensor([1.0, 0.3, 0.5])[:, None, None]
    return torch.nn.functional.avg_pool2d(noise * scale, smooth + 1, 1)


@pytest.mark.parametrize("teacher", TEACHERS, ids=["letterbox", "stretch"])
@pytest.mark.parametrize(
    ("width", "height", "pix_fmt"),
    [(160, 120, "yuv420p"), (320, 192, "yuv444p"), (96, 64, "yuv420p"), (640, 360, "yuv422p")],
)
def test_the_spectrum_follows_from_the_resize(teacher, width, height, pix_fmt):
    form = PictureFormat(width=width, height=height, pix_fmt=pix_fmt)
    geometry = place(
        width,
        height,
        rotation=0,
        size=tuple(teacher["size"]),
        fit=teacher["fit"],
        stride=teacher["stride"],
    )
    g = gradients(geometry.resized, 2)
    exact = spectrum(g, form, geometry)
    found = picture_spectrum(autocorrelation(g).numpy(), teacher, form)
    assert found.per_sample == pytest.approx(exact.per_sample, rel=0.05)
    assert found.chroma_share == exact.chroma_share
    for size in SIZES:
        for ours, theirs in ((found.luma, exact.luma), (found.chroma, exact.chroma)):
            assert np.abs(ours[size] - theirs[size]).max() < 0.12 * theirs[size].max()


def test_an_autocorrelation_has_the_mean_square_in_its_middle_and_is_symmetric():
    g = gradients((40, 56), 1)
    found = autocorrelation(g)
    assert found.shape == (3, 2 * LAGS + 1, 2 * LAGS + 1)
    near = {"rtol": 1e-4, "atol": 1e-5}
    square = g.double().square().mean((2, 3)).sum(0)
    torch.testing.assert_close(found[:, LAGS, LAGS], square, **near)
    torch.testing.assert_close(found, found.flip(1, 2), **near)
    lagged = (g[:, :, 2:, :-1] * g[:, :, :-2, 1:]).double().sum((0, 2, 3)) / (40 * 56)
    torch.testing.assert_close(found[:, LAGS + 2, LAGS - 1], lagged, **near)


@pytest.mark.parametrize(
    ("pix_fmt", "full_range", "luma", "chroma"),
    [
        ("yuv420p", False, 1.0, 1.0),
        ("yuv420p10le", False, 4.0, 4.0),
        ("yuv444p", True, 255 / 219, 255 / 224),
    ],
)
def test_codes_of_other_depths_and_ranges_are_smaller_or_larger_steps(
    pix_fmt, full_range, luma, chroma
):
    form = PictureFormat(width=64, height=64, pix_fmt=pix_fmt, full_range=full_range)
    assert code_steps(form) == pytest.approx((luma, chroma))
    moments = autocorrelation(gradients((96, 96), 1)).numpy()
    plain = PictureFormat(width=64, height=64, pix_fmt=pix_fmt.removesuffix("10le"))
    ours, reference = (picture_spectrum(moments, TEACHERS[1], item) for item in (form, plain))
    np.testing.assert_allclose(ours.luma[8] * luma**2, reference.luma[8])
    np.testing.assert_allclose(ours.chroma[4] * chroma**2, reference.chroma[4])


def test_planes_smaller_than_a_block_have_no_spectrum():
    moments = autocorrelation(gradients((96, 96), 1)).numpy()
    found = picture_spectrum(moments, TEACHERS[1], PictureFormat(width=12, height=12))
    assert found.luma[8].max() > 0
    assert found.chroma[8].max() == 0
