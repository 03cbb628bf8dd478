"""What is copied from a picture: importance per amount, along the motion."""

import numpy as np
import pytest

from idse.importance.lookahead import Lookahead
from idse.importance.motion import MotionField
from idse.importance.reuse import copied_share, inherited, mean_log_weight

pytestmark = pytest.mark.fast

SHAPE = (6, 8)


def field(dx=0.0, residual=0.0, *, cut=False):
    ones = np.ones(SHAPE, np.float32)
    return MotionField(
        vectors=np.stack([ones * np.float32(dx), ones * 0], axis=-1),
        reliability=ones,
        scene_cut=cut,
        residual=(ones * residual).astype(np.float32),
    )


def level(value):
    return np.full(SHAPE, value, np.float32)


def test_more_is_copied_at_a_coarser_step():
    shares = [float(copied_share(field(residual=8), qp).mean()) for qp in (18, 26, 34, 42)]
    assert shares == sorted(shares)
    assert shares[0] < 0.15
    assert shares[-1] > 0.7
    assert (copied_share(field(), 26) == 1).all()
    assert not copied_share(field(cut=True), 26).any()


def test_importance_and_amount_add_up_along_the_motion():
    """Content that moves one macroblock to the right per picture."""
    moving = field(dx=-16)
    weight = level(0)
    weight[2, 5] = 3
    taken = inherited([(weight, moving, level(1)), (level(0), moving, level(0.5))])
    assert taken[0, 2, 3] == 1.5  # two pictures back, two macroblocks to the left
    assert np.count_nonzero(taken[0]) == 1
    assert taken[1, 2, 3] == 0.5 * (1 + 1)


def test_the_mean_of_equals_is_their_own_weight():
    own = level(2)
    taken = inherited([(own, field(), level(0.7))] * 5)
    assert mean_log_weight(own, taken) == pytest.approx(level(1))
    assert mean_log_weight(own, None) == pytest.approx(level(1))


def leaving(looks, residual=0.0, length=4):
    """Return the mean log-weight of every picture of a still scene."""
    window = Lookahead(length, qp=26)
    told = {}
    for index, count in enumerate(looks):
        motion = field(residual=residual) if index else None
        fresh = level(0) if index == 0 else None
        window.push(index, motion, fresh, seconds=index, looks=count)
        told.update(window.ready())
    told.update(window.rest())
    return [float(values.mean()) for values in told.values()]


def test_pictures_that_all_are_read_are_left_alone():
    assert leaving([1] * 8) == pytest.approx([0] * 8, abs=1e-5)


def test_a_picture_that_is_not_read_counts_by_what_copies_it():
    told = leaving([1, 0, 0, 1], length=3)
    assert told == pytest.approx([-1, np.log2(1 / 3), -1, 0], abs=1e-5)
    # Where nothing is copied it counts for nothing, and one that is read for as much as ever.
    apart = leaving([1, 0, 0, 1], residual=1000.0, length=3)
    assert apart == pytest.approx([0, -16, -16, 0], abs=1e-5)


def test_nothing_is_copied_across_a_gap():
    window = Lookahead(4, qp=26)
    window.push("a", None, level(0), seconds=0, looks=0.0)
    window.push("b", field(), None, seconds=1, looks=0.0)
    window.push("c", None, level(0), seconds=2)
    told = dict(window.rest())
    assert told["a"] == pytest.approx(level(-16))
    assert told["b"] == pytest.approx(level(-16))
    assert told["c"] == pytest.approx(level(0))
