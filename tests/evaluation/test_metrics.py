"""Picture metrics: values worked out by hand."""

import math

import numpy as np
import pytest

from idse.errors import InputError
from idse.evaluation import metrics
from idse.evaluation.judge import output_distance

pytestmark = pytest.mark.fast


def test_output_distance_is_squared_and_does_not_overflow_small_types():
    a = np.array([200, 0, 3], np.uint8)
    assert output_distance(a, np.array([0, 2, 3], np.uint8)) == 200**2 + 2**2
    with pytest.raises(InputError, match=r"\(3,\) and \(2,\)"):
        output_distance(a, a[:2])


def test_psnr_by_hand():
    a = np.zeros((4, 4), np.uint8)
    assert metrics.psnr(a, a) == math.inf
    assert metrics.psnr(a, a + 255) == pytest.approx(0)
    ten = a.astype(np.uint16)
    assert metrics.psnr(ten, ten + 1, bit_depth=10) == pytest.approx(20 * math.log10(1023))


def test_ms_ssim_of_flat_pictures_is_the_luminance_term_of_the_last_scale():
    a, b = np.full((176, 200), 100, np.uint8), np.full((176, 200), 60, np.uint8)
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 100 * 60 + c1) / (100**2 + 60**2 + c1)
    assert metrics.ms_ssim(a, b) == pytest.approx(luminance**0.1333)
    assert metrics.ms_ssim(a, a) == 1


def test_one_scale_of_ms_ssim_agrees_with_the_definition_at_one_window():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (11, 11))
    y = x + rng.normal(0, 30, (11, 11))
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    mx, my = (window * x).sum(), (window * y).sum()
    cov = (window * (x - mx) * (y - my)).sum()
    vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    structure = (2 * cov + c2) / (vx + vy + c2)
    whole = structure * (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    assert metrics._similarity(x, y, 255) == pytest.approx((whole, structure))


def test_ms_ssim_weighs_coarse_structure_over_fine_noise():
    rng = np.random.default_rng(1)
    base = np.kron(rng.uniform(60, 190, (8, 8)), np.ones((32, 32)))
    fine = base + rng.normal(0, 12, base.shape)
    coarse = base + np.kron(rng.normal(0, 12, (16, 16)), np.ones((16, 16)))
    assert metrics.psnr(base, fine) == pytest.approx(metrics.psnr(base, coarse), abs=1)
    assert metrics.ms_ssim(base, coarse) < metrics.ms_ssim(base, fine) < 1
    with pytest.raises(InputError, match="at least 176"):
        metrics.ms_ssim(base[:175], base[:175])
