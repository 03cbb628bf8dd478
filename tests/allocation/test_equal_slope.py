"""Offsets by slopes: pooled along the motion, moved towards equality."""

from __future__ import annotations

import numpy as np
import pytest

from idse.allocation.equal_slope import Pool, towards_equal_slopes, warp
from idse.importance.motion import MotionField
from idse.importance.smoothing import binomial

pytestmark = pytest.mark.fast
SHAPE = (6, 8)


def field(dx=0.0, *, cut=False, reliable=1.0):
    vectors = np.zeros((*SHAPE, 2), np.float32)
    vectors[..., 0] = 16 * dx
    return MotionField(
        vectors=vectors,
        reliability=np.full(SHAPE, reliable, np.float32),
        scene_cut=cut,
        residual=np.zeros(SHAPE, np.float32),
    )


def dot(row, col):
    values = np.zeros(SHAPE)
    values[row, col] = 1.0
    return values


def test_a_map_moves_with_its_content_and_fades_where_that_is_uncertain():
    # The content was two macroblocks further left.
    np.testing.assert_allclose(warp(dot(2, 3), field(-2)), dot(2, 5))
    np.testing.assert_allclose(warp(dot(2, 3), field(-2, reliable=0.25)), 0.25 * dot(2, 5))
    half = warp(dot(2, 3), field(-0.5))
    assert half[2, 3] == half[2, 4] == pytest.approx(0.5)


def test_a_pool_gathers_along_the_motion_from_both_sides():
    moving = np.stack([dot(2, 1), dot(2, 2), dot(2, 3)])
    pool = Pool([None, field(-1), field(-1)], [field(1), field(1), None], memory=0.5)
    found = pool(moving)
    still = Pool([None, field(), field()], [field(), field(), None], memory=0.5)(moving)
    # The binomial kernel leaves a quarter at the centre.
    assert found[1, 2, 2] == pytest.approx(0.25 * (1 + 0.5 + 0.5))
    assert found[0, 2, 1] == pytest.approx(0.25 * (1 + 0.5 + 0.25))
    assert still[1, 2, 2] < found[1, 2, 2]


def test_a_pool_ends_at_a_cut():
    values = np.stack([dot(2, 3), np.zeros(SHAPE)])
    assert not Pool([None, field(cut=True)], [None, None], memory=0.9)(values)[1].any()


def test_quotients_of_pools_are_those_of_equal_pictures():
    rng = np.random.default_rng(0)
    gain = rng.uniform(1, 2, SHAPE)
    pool = Pool([None] + [field()] * 4, [field()] * 4 + [None], memory=0.8)
    many, cost = np.stack([gain] * 5), np.ones((5, *SHAPE))
    ratio = pool(many) / pool(cost)
    np.testing.assert_allclose(ratio, np.stack([ratio[0]] * 5), rtol=1e-5)
    np.testing.assert_allclose(ratio[0], binomial(gain), rtol=1e-5)


def test_bits_go_where_they_buy_more_until_slopes_are_equal():
    """D = w 2^(q/3) and R = -q: the best q is -3 log2 w and a constant."""
    weight = np.exp2(np.linspace(-2, 2, 48)).reshape(1, *SHAPE)
    offsets = np.zeros((1, *SHAPE), np.float32)
    for _ in range(8):
        distortion = [weight * np.exp2((offsets + shift) / 3) for shift in (2, -2)]
        cost = np.full(weight.shape, 4.0)
        offsets = towards_equal_slopes(
            offsets, distortion[0] - distortion[1], cost, damping=0.6, longest=7, bound=14
        )
    found = offsets + 3 * np.log2(weight)
    assert np.ptp(found) < 0.7  # what the reserve holds back


def test_steps_and_offsets_are_bounded_and_nothing_known_changes_nothing():
    offsets = np.full((1, *SHAPE), 5.0, np.float32)
    gain, cost = np.ones(offsets.shape), np.ones(offsets.shape)
    gain[0, 0], cost[0, 1] = 1e9, 1e9
    found = towards_equal_slopes(offsets, gain, cost, damping=1.0, longest=3, bound=6)
    assert np.abs(found).max() <= 6
    assert np.abs(found - offsets).max() <= 3
    nothing = np.zeros(offsets.shape)
    np.testing.assert_array_equal(
        towards_equal_slopes(offsets, nothing, cost, damping=1.0, longest=3, bound=6), offsets
    )
