"""BD-rate: known answers, curves that allow none, and what pairing is for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idse.errors import InputError
from idse.evaluation.bdrate import (
    bd_rates,
    bootstrap_bd_rates,
    bootstrap_weights,
    mean_of,
)

pytestmark = pytest.mark.fast

RATES = np.array([100.0, 170, 310, 560, 1010, 1900, 3600])
SCORES = np.array([0.21, 0.35, 0.48, 0.55, 0.61, 0.64, 0.66])


def pair(rate, score, kind="score", base=(RATES, SCORES)):
    return bd_rates({"stock": base, "test": (rate, score)}, anchor="stock", kind=kind)["test"]


@given(factor=st.floats(0.7, 1.5), order=st.permutations(range(7)))
def test_a_curve_at_a_multiple_of_the_rate_gives_that_multiple(factor, order):
    order = list(order)
    result = pair(RATES[order] * factor, SCORES[order])
    assert result.percent == pytest.approx(100 * (factor - 1), abs=1e-9)
    assert result.overlap == 1


@given(scale=st.floats(1e-6, 1e6), factor=st.floats(0.7, 1.5))
def test_distances_are_compared_by_ratio(scale, factor):
    distances = 1 / RATES
    both = {"stock": (RATES, distances * scale), "test": (RATES * factor, distances * scale)}
    result = bd_rates(both, anchor="stock", kind="distance")["test"]
    assert result.percent == pytest.approx(100 * (factor - 1), abs=1e-6)


def test_a_lower_distance_at_the_same_rate_saves_bytes():
    # distance = 1000 / rate, and half of that: as good at half the rate.
    result = pair(RATES, 500 / RATES, "distance", (RATES, 1000 / RATES))
    assert result.percent == pytest.approx(-50)
    assert 0.5 < result.overlap < 1


def test_the_integral_of_a_hand_computed_case():
    # log2 rate 0..5 at scores 0..5; the other needs 2^0 at 0 rising to 2^10 at 5: on average over
    # 0..5 its log2 rate is 5 against 2.5, so it costs 2^2.5 as much.
    steps = np.arange(6.0)
    result = pair(4**steps, steps, base=(2**steps, steps))
    assert result.percent == pytest.approx(100 * (2**2.5 - 1))


def test_only_the_range_that_all_curves_reach_is_integrated():
    steps = np.arange(6.0)
    # Twice the rate up to score 4, ten times beyond; a third curve ends at 4.
    twice = 2 ** (steps + 1) * np.where(steps > 4, 5, 1)
    curves = {"stock": (2**steps, steps), "test": (twice, steps)}
    alone = bd_rates(curves, anchor="stock", kind="score")["test"]
    third = {"third": (2**steps, steps * 0.8)}
    together = bd_rates(curves | third, anchor="stock", kind="score")
    assert alone.percent > 110
    assert together["test"].percent == pytest.approx(100)
    assert together["test"].overlap == pytest.approx(0.8)


def test_noise_is_made_monotone_before_it_is_integrated():
    noisy = SCORES.copy()
    noisy[[2, 3]] = noisy[[3, 2]]
    pooled = SCORES.copy()
    pooled[[2, 3]] = (SCORES[2] + SCORES[3]) / 2
    assert pair(RATES, noisy).percent == pytest.approx(pair(RATES, pooled).percent)


@pytest.mark.parametrize(
    ("score", "why"),
    [
        (SCORES + 1, "share 0%"),
        (SCORES + 0.3, "share 33%"),
        (np.full(7, 0.5), "share 0%"),
        (-SCORES, "share 0%"),
    ],
    ids=["apart", "too little", "flat", "falling"],
)
def test_too_little_overlap_is_undefined_and_says_so(score, why):
    result = pair(RATES, score)
    assert math.isnan(result.percent)
    assert why in result.undefined


@pytest.mark.parametrize(
    ("rate", "score", "kind", "message"),
    [
        (RATES[:5], SCORES[:5], "score", "at least 6"),
        (RATES, SCORES[:6], "score", "at least 6"),
        (RATES, np.where(SCORES > 0.6, np.nan, SCORES), "score", "'test'"),
        (RATES * 0, SCORES, "score", "'test'"),
        (RATES, SCORES - SCORES[0], "distance", "lossless"),
    ],
)
def test_unusable_curves_are_refused_by_name(rate, score, kind, message):
    with pytest.raises(InputError, match=message):
        pair(rate, score, kind)
    with pytest.raises(InputError, match="anchor 'none'"):
        bd_rates({"stock": (RATES, SCORES)}, anchor="none", kind="score")


def image_set(units=40, seed=3):
    """Bytes and distances of images that differ by orders of magnitude, as real ones do."""
    rng = np.random.default_rng(seed)
    size = np.exp(rng.normal(0, 1.0, units))
    hardness = np.exp(rng.normal(0, 1.0, units))
    rates = RATES[:, None] * size
    return rates, hardness / (RATES[:, None]) ** 0.8


def curves_of(weights, rates, distances, factor):
    def reduce(values):
        return mean_of(values, weights)

    return {
        "stock": (reduce(rates), reduce(distances)),
        "test": (reduce(rates * factor), reduce(distances)),
    }


def test_paired_resampling_cancels_what_the_images_share():
    rates, distances = image_set()
    factor = np.exp(np.random.default_rng(5).normal(np.log(0.9), 0.05, rates.shape[1]))
    weights = bootstrap_weights(rates.shape[1], resamples=200, seed=1)
    other = bootstrap_weights(rates.shape[1], resamples=200, seed=2)
    paired = curves_of(weights, rates, distances, factor)
    unpaired = paired | {"test": curves_of(other, rates, distances, factor)["test"]}

    def run(curves):
        return bootstrap_bd_rates(curves, anchor="stock", kind="distance")["test"]

    estimate, loose = run(paired), run(unpaired)
    assert estimate.low < estimate.percent < estimate.high < 0
    assert estimate.percent == loose.percent
    assert (loose.high - loose.low) > 4 * (estimate.high - estimate.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(1000 + seed)
        rates, distances = image_set(30, seed)
        factor = np.exp(rng.normal(np.log(0.9), 0.1, 30) - 0.1**2 / 2)
        curves = curves_of(
            bootstrap_weights(30, resamples=100, seed=seed), rates, distances, factor
        )
        estimate = bootstrap_bd_rates(curves, anchor="stock", kind="distance")["test"]
        covered += estimate.low <= -10 <= estimate.high
    assert 48 <= covered <= 60


def test_weights_are_resamples_and_the_same_for_the_same_seed():
    weights = bootstrap_weights(8, resamples=300, seed=4)
    assert weights.shape == (301, 8)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 8).all()
    assert weights[1:].std() == pytest.approx(math.sqrt(7 / 8), rel=0.1)
    assert (weights == bootstrap_weights(8, resamples=300, seed=4)).all()
    assert (weights != bootstrap_weights(8, resamples=300, seed=5)).any()
    with pytest.raises(InputError, match="1 unit"):
        bootstrap_weights(1)


@pytest.mark.parametrize("lost", [1.0, math.nan], ids=["no overlap", "not measured"])
@pytest.mark.parametrize(("count", "told"), [(1, False), (4, True)])
def test_undefined_resamples_take_the_interval_away(lost, count, told):
    rates, scores = np.tile(RATES, (41, 1)), np.tile(SCORES, (41, 1))
    broken = scores.copy()
    broken[1 : 1 + count] += lost
    curves = {"stock": (rates, scores), "test": (rates * 0.9, broken)}
    estimate = bootstrap_bd_rates(curves, anchor="stock", kind="score")["test"]
    assert estimate.percent == pytest.approx(-10)
    if told:
        assert math.isnan(estimate.low)
        assert "undefined in 10% of the resamples" in estimate.undefined
    else:
        assert estimate.low == pytest.approx(-10)
