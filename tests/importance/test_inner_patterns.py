"""Importance of blocks: that of the full sketch, and how it travels inside its macroblocks."""

from __future__ import annotations

import numpy as np
import pytest
from test_carry_maps import SHAPE, field
from test_sketch_jacobian import random_picture, small_network

from idse.errors import InputError
from idse.importance import Analyser
from idse.importance.inner import InnerTrack

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    "kwargs", [{}, {"width": 101}, {"pix_fmt": "yuv444p10le"}, {"rotation": 90}], ids=str
)
def test_blocks_are_those_of_the_full_sketch(kwargs):
    picture = random_picture(**kwargs)
    networks = [(small_network(), 1), (small_network(n_f=3), 2)]
    found = Analyser(networks, n_s=3, dtype="float64").blocks(picture)
    expected = Analyser(networks, n_s=3, dtype="float64").sketch(picture).block_energy(4)[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_map_after_the_blocks_is_the_same_and_quick(monkeypatch):
    picture = random_picture()
    analyser = Analyser([(small_network(), 1)])
    expected = analyser.analyse(picture).energy
    analyser.blocks(picture)
    monkeypatch.setattr("idse.importance.analyser.sketch_gradients", None)
    np.testing.assert_array_equal(analyser.analyse(picture).energy, expected)


def pattern(seed=0):
    """Weights with a mean of 1 inside every macroblock."""
    blocks = np.random.default_rng(seed).uniform(0.3, 3, (SHAPE[0], 4, SHAPE[1], 4))
    blocks /= blocks.mean((1, 3), keepdims=True)
    return blocks.reshape(4 * SHAPE[0], 4 * SHAPE[1]).astype(np.float32)


def means(weights):
    return weights.reshape(SHAPE[0], 4, SHAPE[1], 4).mean((1, 3))


def test_a_pattern_moves_with_its_macroblock():
    track = InnerTrack()
    given = pattern()
    assert track.advance(None, given) is given
    still = track.advance(field(), None)
    np.testing.assert_allclose(still, given, rtol=1e-5)
    moved = track.advance(field(dx=-32), None)
    np.testing.assert_allclose(moved[:, 8:], given[:, :-8], rtol=1e-5)
    assert moved.dtype == np.float32


def test_mixed_and_fading_patterns_keep_their_mean_and_end_as_ones():
    track = InnerTrack()
    last = track.advance(None, pattern())
    for _ in range(12):
        found = track.advance(field(dx=5, dy=-3, reliability=0), None)
        np.testing.assert_allclose(means(found), 1, rtol=1e-5)
        assert found.std() < last.std()
        last = found
    np.testing.assert_allclose(last, 1, atol=2e-3)


def test_an_analysis_replaces_what_was_carried_and_a_cut_ends_it():
    track = InnerTrack()
    assert track.advance(field(), None) is None
    track.advance(field(), pattern())
    other = pattern(1)
    np.testing.assert_array_equal(track.advance(field(), other), other)
    assert track.advance(field(cut=True), None) is None
    assert track.advance(field(), None) is None
    np.testing.assert_array_equal(track.advance(field(cut=True), other), other)
    track.forget()
    assert track.advance(field(), None) is None


def test_another_size_is_refused():
    with pytest.raises(InputError, match=r"\(4, 4\) blocks"):
        InnerTrack().advance(field(), np.ones((4, 4), np.float32))
