"""Importance inside macroblocks as distortion weights."""

import numpy as np
import pytest

from idse.allocation.weights import block_distortion, block_weights
from idse.errors import InputError

pytestmark = pytest.mark.fast
MB_SHAPE = (3, 5)


def energies(seed=0, shape=(12, 20), spread=1.5):
    return np.exp(np.random.default_rng(seed).normal(0, spread, shape))


def macroblock_means(weights):
    return weights.reshape(3, 4, 5, 4).mean((1, 3))


@pytest.mark.parametrize(
    "options", [{}, {"share": 0}, {"strength": 0.5}, {"limit": 2}, {"smooth": False}, {"share": 1}]
)
def test_mean_is_one_inside_every_macroblock(options):
    weights = block_weights(energies(), MB_SHAPE, **options)
    assert weights.dtype == np.float32
    assert weights.shape == (12, 20)
    np.testing.assert_allclose(macroblock_means(weights), 1, atol=1e-6)


def test_macroblocks_of_other_importance_get_the_same_weights():
    energy = energies()
    louder = energy * np.kron(energies(1, MB_SHAPE), np.ones((4, 4)))
    plain = block_weights(energy, MB_SHAPE, smooth=False)
    np.testing.assert_allclose(block_weights(louder, MB_SHAPE, smooth=False), plain, rtol=1e-5)


def test_share_and_strength_and_limit_bound_what_importance_says():
    energy = np.ones((12, 20))
    energy[0, 0] = 17  # its macroblock's mean is 2
    sharp = {"smooth": False, "limit": 1e9}
    assert block_weights(energy, MB_SHAPE, share=0, **sharp)[0, 0] == 8.5
    assert block_weights(energy, MB_SHAPE, share=0.5, **sharp)[0, 0] == 4.75
    half = block_weights(energy, MB_SHAPE, share=0, strength=0.5, **sharp)
    assert half[0, 0] / half[0, 1] == pytest.approx(17**0.5)
    limited = block_weights(energy, MB_SHAPE, share=0, smooth=False, limit=2)
    assert limited[0, 0] / limited[0, 1] == pytest.approx(4)
    assert (block_weights(energy, MB_SHAPE)[:, 4:] == 1).all()


def test_blocks_beyond_the_picture_repeat_its_edge():
    weights = block_weights(energies(shape=(10, 19)), MB_SHAPE, smooth=False, share=0, limit=1e9)
    np.testing.assert_allclose(weights[10], weights[9], rtol=1e-6)
    np.testing.assert_allclose(weights[:, 19], weights[:, 18], rtol=1e-6)


def test_where_nothing_matters_everything_matters_alike():
    assert (block_weights(np.zeros((12, 20)), MB_SHAPE) == 1).all()
    nothing = block_distortion(np.zeros((2, 48, 80), np.float32), MB_SHAPE)
    assert (nothing.sketches == 0).all()
    assert (nothing.shares == 1).all()


def test_unusable_energies_are_refused():
    with pytest.raises(InputError, match=r"\(13, 20\) blocks does not fit \(3, 5\)"):
        block_weights(np.ones((13, 20)), MB_SHAPE)
    with pytest.raises(InputError, match="finite and not negative"):
        block_weights(np.full((12, 20), np.nan), MB_SHAPE)
    with pytest.raises(InputError, match=r"\(2, 49, 80\) samples do not fit"):
        block_distortion(np.ones((2, 49, 80)), MB_SHAPE)


@pytest.mark.parametrize("cells", [4, 8])
def test_quadratic_form_is_to_noise_what_the_squared_error_is(cells):
    rng = np.random.default_rng(3)
    # Smooth over 4x4 samples, so that nothing is lost by averaging over cells; odd size.
    rows = np.kron(rng.normal(0, 1, (4, 12, 20)), np.ones((1, 4, 4)))[:, :41, :77]
    form = block_distortion(rows * 1e-3, MB_SHAPE, cells=cells, share=0.25)
    assert form.sketches.shape == (4, 3 * cells, 5 * cells)
    power = (form.sketches**2).sum(0).reshape(3, cells, 5, cells).mean((1, 3))
    np.testing.assert_allclose(power + form.shares, 1, atol=1e-5)
    # Inside a macroblock the sketches keep their signs and proportions.
    ours = form.sketches[:, : cells // 4, : 4 * (cells // 4)]
    theirs = rows[:, 1, 1:16:4]
    ratio = ours[:, 0, :: cells // 4] / theirs
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)
