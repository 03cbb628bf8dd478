"""Log-weights that hold still where nothing changes, and follow where something does."""

import numpy as np
import pytest

from idse.importance.motion import MotionField
from idse.importance.steady import SteadyMaps

pytestmark = pytest.mark.fast

SHAPE = (6, 8)


def field(dx=0.0, reliability=1.0, *, cut=False):
    ones = np.ones(SHAPE, np.float32)
    return MotionField(
        vectors=np.stack([ones * np.float32(dx), ones * 0], axis=-1),
        reliability=(ones * reliability).astype(np.float32),
        scene_cut=cut,
        residual=ones,
    )


def level(value):
    return np.full(SHAPE, value, np.float32)


def told(pictures):
    steady = SteadyMaps()
    return [steady.advance(motion, found, analysed=True) for motion, found in pictures]


def test_noise_of_a_still_scene_is_not_followed():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=SHAPE).astype(np.float32)
    noisy = [truth + rng.uniform(-0.2, 0.2, SHAPE).astype(np.float32) for _ in range(30)]
    found = told([(field(), values) for values in noisy])
    assert all(np.array_equal(values, found[0]) for values in found)


def test_a_change_is_followed_at_once_and_from_a_distance():
    found = told([(field(), level(value)) for value in (0, 3, 3, 2.75, -1)])
    assert [float(values[0, 0]) for values in found] == [0, 2.5, 2.5, 2.5, -0.5]


def test_what_moves_is_held_less_firmly():
    found = told([(field(dx=3), level(value)) for value in (0, 0.2, 1)])
    assert [float(values[0, 0]) for values in found] == [0, 0, 0.75]


def test_what_is_held_moves_with_its_content():
    values = level(0)
    values[2, 3] = 4
    moved = level(0.1)
    moved[2, 4] = 3.9
    found = told([(None, values), (field(dx=-16), moved)])[1]
    assert found[2, 4] == 4
    assert np.count_nonzero(found) == 1


@pytest.mark.parametrize("motion", [None, field(cut=True), field(reliability=0.0)])
def test_nothing_is_held_where_content_is_new(motion):
    new = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    assert np.array_equal(told([(None, level(0)), (motion, new)])[1], new)


def test_nothing_is_held_over_what_nobody_knows():
    found = told([(None, level(0)), (field(), None), (field(), level(0.1))])
    assert found[1] is None
    assert (found[2] == np.float32(0.1)).all()


def test_nothing_is_held_between_analyses():
    steady = SteadyMaps()
    for analysed, value in ((True, 0.0), (False, 0.1), (True, 0.2), (False, 0.3), (False, 0.4)):
        found = steady.advance(field(), level(value), analysed=analysed)
        assert (found == np.float32(value)).all()
