"""Coefficients before quantisation are those that libjpeg-turbo quantises."""

import numpy as np
import pytest
from jpeg_pictures import SAMPLINGS, SIZES, picture
from PIL import Image
from scipy.fft import dctn

from idse.codecs import jpeg
from idse.errors import InputError

pytestmark = pytest.mark.fast

_FINE = np.ones((8, 8), np.uint16)


def _planes(pixels, layout):
    """Samples by the formulas of libjpeg's sources, in plain numpy."""
    if pixels.ndim == 2:
        planes = [pixels.astype(np.int64)]
    else:
        r, g, b = np.moveaxis(pixels.astype(np.int64), -1, 0)
        half, centre = 1 << 15, 128 << 16
        planes = [
            (19595 * r + 38470 * g + 7471 * b + half) >> 16,
            (-11059 * r - 21709 * g + 32768 * b + centre + half - 1) >> 16,
            (32768 * r - 27439 * g - 5329 * b + centre + half - 1) >> 16,
        ]
    out = []
    for i in range(layout.components):
        across = layout.factors[0][0] // layout.factors[i][0]
        down = layout.factors[0][1] // layout.factors[i][1]
        rows, cols = (8 * n for n in layout.block_shape(i))
        height, width = planes[i].shape
        plane = np.pad(planes[i], ((0, -height % down), (0, cols * across - width)), mode="edge")
        bias = np.arange(cols) % 2
        if (across, down) == (2, 2):
            sums = plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]
            plane = (sums + 1 + bias) >> 2
        elif across == 2:
            plane = (plane[:, ::2] + plane[:, 1::2] + bias) >> 1
        out.append(np.pad(plane, ((0, rows - len(plane)), (0, 0)), mode="edge"))
    return out


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("sampling", "grey"), [*((sampling, False) for sampling in SAMPLINGS), ("grey", True)]
)
def test_coefficients_are_the_dct_of_libjpegs_samples(size, sampling, grey):
    pixels = picture(*size, grey=grey, seed=sum(size))
    layout = jpeg.JpegLayout(*size, sampling)
    found, samples = jpeg.transform_with_samples(pixels, layout)
    for i, plane in enumerate(_planes(pixels, layout)):
        rows, cols = layout.block_shape(i)
        height, width = layout.sample_shape(i)
        assert samples[i].dtype == np.uint8
        np.testing.assert_array_equal(samples[i], plane[:height, :width])
        blocks = plane.reshape(rows, 8, cols, 8).swapaxes(1, 2) - 128.0
        expected = dctn(blocks, axes=(2, 3), norm="ortho")
        assert found[i].dtype == np.float32
        np.testing.assert_allclose(found[i], expected, atol=1e-3)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(1, 1), (31, 47), (100, 75), (64, 1), (203, 118)])
def test_libjpeg_quantises_the_same(sampling, size):
    pixels = picture(*size, seed=3)
    layout = jpeg.JpegLayout(*size, sampling)
    # With steps of 1 libjpeg's own integer DCT shows; it is off by up to an eighth.
    tables = [_FINE] * layout.components
    file = jpeg.read(jpeg.encode(pixels, tables=tables, sampling=sampling))
    for mine, theirs in zip(jpeg.transform(pixels, layout), file.coefficients, strict=True):
        assert np.abs(mine - theirs).max() < 0.7
    # With coarser ones the two differ only where the coefficient is half-way.
    file = jpeg.read(jpeg.encode(pixels, quality=60, sampling=sampling))
    for mine, theirs, table in zip(
        jpeg.transform(pixels, layout), file.coefficients, file.tables, strict=True
    ):
        levels = mine / table
        differs = np.round(levels) != theirs
        assert differs.mean() < 0.02
        assert np.all(np.abs(np.abs(levels - theirs)[differs] - 0.5) < 0.3 / table.min())


def test_real_photographs_are_quantised_the_same(shared):
    for name in ("05", "23"):
        pixels = np.asarray(Image.open(shared / "kodak" / f"{name}.png").convert("RGB"))
        layout = jpeg.JpegLayout(pixels.shape[1], pixels.shape[0])
        file = jpeg.read(jpeg.encode(pixels, quality=75))
        for mine, theirs, table in zip(
            jpeg.transform(pixels, layout), file.coefficients, file.tables, strict=True
        ):
            assert (np.round(mine / table) != theirs).mean() < 0.005


def test_pixels_need_not_be_contiguous():
    pixels = picture(40, 30)
    layout = jpeg.JpegLayout(40, 30)
    flipped = np.ascontiguousarray(pixels[::-1, ::-1])
    for one, two in zip(
        jpeg.transform(pixels[::-1, ::-1], layout), jpeg.transform(flipped, layout), strict=True
    ):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("pixels", "sampling"),
    [
        (np.zeros((8, 9, 3), np.uint8), "4:2:0"),
        (np.zeros((8, 8), np.uint8), "4:2:0"),
        (np.zeros((8, 8, 4), np.uint8), "4:4:4"),
        (np.zeros((8, 8, 3), np.float32), "4:2:0"),
        (np.zeros((8, 8, 1), np.uint8), "grey"),
    ],
)
def test_pixels_that_do_not_fit_are_refused(pixels, sampling):
    with pytest.raises(InputError, match="does not fit"):
        jpeg.transform(pixels, jpeg.JpegLayout(8, 8, sampling))
