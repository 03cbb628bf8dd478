"""Tables and trellis weights of a JPEG from the importance of its coefficients."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from idse.allocation import tables
from idse.errors import InputError

pytestmark = pytest.mark.fast


def falling(rows=6, columns=7, *, energy=1.0, seed=0):
    """Random weights whose mean falls by three orders of magnitude over the frequencies."""
    rng = np.random.default_rng(seed)
    spectrum = 10.0 ** (-3 * np.add.outer(np.arange(8), np.arange(8)) / 14)
    noise = rng.chisquare(8, (rows, columns, 8, 8)) / 8
    return (energy * spectrum * noise).astype(np.float32)


def picture(energy=1.0):
    return [falling(energy=energy), falling(3, 4, energy=4 * energy, seed=1), falling(3, 4, seed=2)]


def test_steps_are_as_long_as_an_error_of_each_frequency_is_cheap():
    weights = picture()
    plan = tables.plan(weights, alpha=0)
    point = plan.at(5.0)
    for table, spectrum, w in zip(point.tables, plan.spectra, weights, strict=True):
        # Steeper than what the network says, for those that see less.
        expected = (w.mean((0, 1)) / w[..., 0, 0].mean()) ** 1.3
        np.testing.assert_allclose(spectrum / spectrum[0, 0], expected, rtol=1e-5)
        assert table.shape == (8, 8)
        assert table.dtype == np.uint8
        exact = 5.0 / np.sqrt(spectrum)
        inside = (exact > 1) & (exact < 255)
        assert inside.any()
        assert np.abs(table - exact)[inside].max() <= 0.5


def test_lambda_is_the_slope_of_one_step_whatever_the_frequency():
    weights = picture()
    point = tables.plan(weights, strength=1).at(7.0)
    assert point.lam == pytest.approx(0.12 * 7.0**2)
    assert tables.plan(weights, strength=1).at(14.0).lam == pytest.approx(4 * point.lam)
    # The trellis keeps more where other networks count, too.
    assert tables.plan(weights, strength=0.5).at(7.0).lam == pytest.approx(point.lam / 6)


def test_tables_stay_within_eight_bits_at_any_scale():
    plan = tables.plan(picture())
    before = None
    for scale in 10.0 ** np.arange(-6, 7):
        found = np.stack(plan.at(scale).tables)
        assert found.min() >= 1
        assert found.max() <= 255
        assert before is None or (found >= before).all()
        before = found
    assert (np.stack(plan.at(1e-6).tables) == 1).all()
    assert (np.stack(plan.at(1e6).tables) == 255).all()


def test_weights_keep_their_mean_and_lose_noise():
    weights = picture()
    plan = tables.plan(weights, alpha=0, balance=1, strength=1)
    shares = (1, 0.7, 0.7)
    for found, w, share, spectrum in zip(plan.weights, weights, shares, plan.spectra, strict=True):
        assert found.dtype == np.float32
        assert found.shape == w.shape
        assert found.mean() == pytest.approx(share * w.mean(), rel=0.1)
        assert spectrum.mean() == pytest.approx(share * w.mean(), rel=1e-5)
        assert np.std(found / spectrum) < 0.7 * np.std(w / w.mean((0, 1)))


@pytest.mark.parametrize(("strength", "least"), [(1, 0.0), (0.5, 0.0625), (0.25, 0.75**4)])
def test_a_block_that_matters_weighs_more_and_others_keep_a_part(strength, least):
    weights = falling()
    weights[:, 3:] = 0
    weights[2, 1] *= 50
    plan = tables.plan([weights], strength=strength, alpha=0)
    block = (plan.weights[0] / plan.spectra[0]).mean((2, 3))
    assert np.unravel_index(block.argmax(), block.shape) == (2, 1)
    np.testing.assert_allclose(block[:, 5:], least, atol=1e-5)
    assert block.max() > 5 * (1 - least)


def test_alpha_counts_squared_error_everywhere():
    weights = falling()
    weights[:, 3:] = 0
    bare, beside = (tables.plan([weights], alpha=a, strength=1).weights[0][:, -1] for a in (0, 0.5))
    assert bare.max() < 1e-6 * weights.mean()
    np.testing.assert_allclose(beside, beside[0, 0, 0])
    mean = tables.plan([weights], alpha=0.5, balance=1, strength=1).weights[0][0, -1, 0, 0]
    assert mean == pytest.approx(0.5 * weights.mean(), rel=1e-3)


@pytest.mark.parametrize(("balance", "expected"), [(1, 10.0), (0.5, 10.0**0.5), (0, 1.0)])
def test_balance_says_how_much_more_a_sensitive_picture_gets(balance, expected):
    weak, strong = ([e * w for w in picture()] for e in (np.float32(1e-8), np.float32(1e-7)))
    ours, theirs = (tables.plan(w, balance=balance).weights[0] for w in (weak, strong))
    np.testing.assert_allclose(theirs / ours, expected, rtol=1e-4)


def test_a_component_that_does_not_matter_has_the_longest_steps():
    weights = [falling(), np.zeros((3, 4, 8, 8), np.float32)]
    point = tables.plan(weights, alpha=0).at(2.0)
    assert (point.tables[1] == 255).all()
    assert point.tables[0].min() < 10


def test_a_blind_network_leaves_plain_squared_error():
    plan = tables.plan([np.zeros((2, 2, 8, 8), np.float32)] * 3)
    assert all(np.ptp(w) == 0 and w[0, 0, 0, 0] > 0 for w in plan.weights)
    luma, *chroma = plan.at(8.0).tables
    assert (luma == 8).all()
    assert all((table == 9).all() for table in chroma)


@pytest.mark.parametrize(
    ("weights", "kwargs", "message"),
    [
        ([], {}, "at least one component"),
        ([np.ones((2, 2, 4, 4), np.float32)], {}, r"\(2, 2, 4, 4\)"),
        ([np.ones((0, 2, 8, 8), np.float32)], {}, r"\(0, 2, 8, 8\)"),
        ([np.full((1, 1, 8, 8), -1, np.float32)], {}, "not negative"),
        ([np.full((1, 1, 8, 8), np.nan, np.float32)], {}, "finite"),
        ([falling()], {"alpha": -0.1}, "alpha -0.1"),
        ([falling()], {"balance": 1.5}, "balance 1.5"),
        ([falling()], {"strength": -1}, "strength -1"),
    ],
)
def test_refuses_what_makes_no_sense(weights, kwargs, message):
    with pytest.raises(InputError, match=message):
        tables.plan(weights, **kwargs)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf")])
def test_refuses_a_scale_that_is_none(scale):
    with pytest.raises(InputError, match="scale"):
        tables.plan([falling()]).at(scale)


def test_needs_no_torch():
    code = "import sys, idse.allocation.tables; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
