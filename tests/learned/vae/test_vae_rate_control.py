"""Parameters of the target-rate loss: the thesis' formulas, and Algorithm 3."""

from __future__ import annotations

import pytest

from idse.errors import InputError
from idse.learned.vae.rate_control import RateDecay, SearchHeuristic, TargetRate

pytestmark = pytest.mark.fast


def test_decay_is_equation_6_14() -> None:
    decay = RateDecay(iterations=150_000)
    for target in (0.06, 0.5):
        for iteration in (1, 1_000, 75_000, 149_999, 150_000, 700_000):
            power = max(0, 150_000 - iteration) / 150_000
            assert decay(target, iteration) == pytest.approx(min(3.0, target * 50**power))
    assert decay(0.06, 10**6) == 0.06
    assert decay(0.5, 0) == 3.0
    assert decay(0.75, 0) == 0.75


def test_fixed_parameter_never_moves() -> None:
    control = TargetRate.fixed(0.254, beta=60_000)
    control.observe([0.3], [0.1])
    assert (control.parameter, control.beta) == (0.254, 60_000)


def test_adaptive_parameter_is_target_plus_last_shift() -> None:
    control = TargetRate.adaptive(0.25, beta=30_000)
    assert control.parameter == 0.25
    control.observe([0.5, 0.3], [0.2, 0.3])
    assert control.parameter == pytest.approx(0.25 + 0.4 - 0.25)
    control.observe([0.2, 0.2], [0.25, 0.25])
    assert control.parameter == pytest.approx(0.25 - 0.05)


def test_general_parameter_is_a_moving_average_of_decayed_targets() -> None:
    decay = RateDecay(iterations=4, base=16.0)
    control = TargetRate.general(0.1, beta=1, decay=decay, alpha=0.6)
    average = None
    shift = 0.0
    for iteration in range(8):
        wanted = decay(0.1, iteration) + shift
        average = wanted if average is None else 0.6 * wanted + 0.4 * average
        assert control.parameter == pytest.approx(average)
        noisy, rounded = [0.2 + 0.01 * iteration], [0.15]
        control.observe(noisy, rounded)
        shift = noisy[0] - rounded[0]


def test_parameter_stays_positive_however_rates_shift() -> None:
    control = TargetRate.adaptive(0.06, beta=1)
    control.observe([0.1], [5.0])
    assert control.parameter > 0


def test_beta_follows_the_spread_of_rates() -> None:
    wide = TargetRate.adaptive(1.0, beta=100, deviation=0.05)
    narrow = TargetRate.adaptive(1.0, beta=100, deviation=0.05)
    for _ in range(50):
        wide.observe([1.0, 1.0], [0.7, 1.3])
        narrow.observe([1.0, 1.0], [0.99, 1.01])
    assert wide.beta > 200
    assert narrow.beta < 50


def test_state_goes_on_where_it_was() -> None:
    def make() -> TargetRate:
        decay = RateDecay(iterations=9)
        return TargetRate.general(0.1, beta=50, decay=decay, alpha=0.5, deviation=0.1)

    control, other = make(), make()
    for index in range(5):
        control.observe([0.3 + index / 10], [0.2])
    other.restore(control.state())
    for _ in range(5):
        control.observe([0.3], [0.25])
        other.observe([0.3], [0.25])
        assert (control.parameter, control.beta) == (other.parameter, other.beta)


@pytest.mark.parametrize("target", [0.0, -1.0, float("nan")])
def test_targets_are_above_zero(target: float) -> None:
    with pytest.raises(InputError, match="above 0"):
        TargetRate.fixed(target, beta=1)


def test_algorithm_3_moves() -> None:
    search = SearchHeuristic(0.25, deviation=0.02, beta_step=500)
    assert (search.parameter, search.beta) == (0.25, 1.0)
    search.move([0.15, 0.25])  # mean 0.2, deviation 0.05: too low and too wide
    assert search.parameter == pytest.approx(0.30)
    assert search.beta == 501
    search.move([0.30, 0.31])  # too high and narrow
    assert search.parameter == pytest.approx(0.30 - 0.055)
    assert search.beta == 1
    search.move([0.25, 0.25])
    assert search.parameter == pytest.approx(0.245)
    assert search.beta == 1


def test_algorithm_3_finds_the_parameter_of_a_shifted_network() -> None:
    search = SearchHeuristic(0.06, deviation=0.01, beta_step=500)
    for _ in range(20):
        rate = 0.8 * search.parameter - 0.02  # what a network with a mean shift would reach
        search.move([rate])
    assert 0.8 * search.parameter - 0.02 == pytest.approx(0.06, abs=1e-4)


def test_algorithm_3_goes_on_from_a_known_shift() -> None:
    search = SearchHeuristic(0.06, deviation=0.01, beta_step=500, parameter=0.2)
    assert search.parameter == 0.2
    search.move([0.05])
    assert search.parameter == pytest.approx(0.21)
