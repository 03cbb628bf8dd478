"""Importance with sight of what comes: from both sides of a picture, never across a cut."""

import numpy as np
import pytest

from idse.importance.lookahead import Lookahead
from idse.importance.motion import MotionField

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


def spike(row, col):
    values = level(0)
    values[row, col] = 4
    return values


def run(length, pictures):
    """Return what each picture is told, for (field, fresh) pairs one second apart."""
    window = Lookahead(length)
    told = {}
    for index, (motion, fresh) in enumerate(pictures):
        window.push(index, motion, fresh, seconds=float(index))
        told.update(window.ready())
    told.update(window.rest())
    assert list(told) == list(range(len(pictures)))
    return list(told.values())


def test_between_two_analyses_the_nearer_one_counts_more():
    pictures = [(None, level(0)), *[(field(), None)] * 3, (field(), level(2))]
    told = [float(values.mean()) for values in run(4, pictures)]
    assert told[:4] == pytest.approx([0, 0.5, 1, 1.5])
    # The last one is the mean of both analyses, as without any sight of what comes.
    assert told[4] == pytest.approx(run(0, pictures)[4].mean()) == pytest.approx(1)


def test_sees_no_further_than_its_length():
    pictures = [(None, level(0)), *[(field(), None)] * 5, (field(), level(2))]
    told = [float(values.mean()) for values in run(2, pictures)]
    assert told[:4] == [0, 0, 0, 0]
    assert told[4] == pytest.approx(2 * 4 / 6)


def test_what_comes_is_carried_back_to_where_it_was():
    """Content that moves one macroblock to the right per picture and matters at the end."""
    moving = field(dx=-16)
    pictures = [(None, level(0)), (moving, None), (moving, None), (moving, spike(2, 6))]
    told = run(3, pictures)
    for index in (1, 2):
        assert np.unravel_index(told[index].argmax(), SHAPE) == (2, 3 + index)
        assert told[index].max() == pytest.approx(4 * index / 3)
        assert np.count_nonzero(told[index]) == 1


def test_unreliable_motion_carries_little_back():
    pictures = [(None, level(1)), (field(), None), (field(reliability=0.0), level(5))]
    assert run(2, pictures)[1] == pytest.approx(level(1))


@pytest.mark.parametrize("gap", ["cut", "size"])
def test_nothing_is_carried_back_over_a_cut(gap):
    other = field(cut=True) if gap == "cut" else None
    pictures = [(None, level(1)), (field(), None), (other, level(5)), (field(), None)]
    told = run(4, pictures)
    assert told[1] == pytest.approx(level(1))
    assert told[3] == pytest.approx(level(5))


def test_pictures_of_which_nothing_was_known_stay_so():
    told = run(4, [(None, None), (field(), None), (field(), level(3))])
    assert told[0] is None
    assert told[1] is None
    assert told[2] == pytest.approx(level(3))


def test_forgetting_ends_the_scene():
    window = Lookahead(4)
    window.push("a", None, level(1), seconds=0)
    window.forget()
    window.push("failed", None, None, seconds=1)
    window.push("b", field(), None, seconds=2)
    window.push("c", field(), level(3), seconds=3)
    told = dict(window.rest())
    assert told["a"] == pytest.approx(level(1))
    assert told["failed"] is None
    assert told["b"] is None
    assert told["c"] == pytest.approx(level(3))


def test_the_window_holds_so_many_pictures():
    window = Lookahead(3)
    for index in range(10):
        window.push(index, field() if index else None, level(0), seconds=index)
        assert [item for item, _ in window.ready()] == ([index - 3] if index >= 3 else [])
    assert [item for item, _ in window.rest()] == [7, 8, 9]


def test_a_picture_that_could_not_be_taken_in_can_be_handed_in_again(monkeypatch):
    window = Lookahead(2)
    window.push(0, None, level(0), seconds=0.0)
    window.push(1, field(), None, seconds=1.0)

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("idse.kernels.flow_back", fail)
    with pytest.raises(MemoryError):
        window.push(2, field(), level(1), seconds=2.0)
    window.forget()
    window.push(2, None, None, seconds=2.0)
    assert [item for item, _ in window.rest()] == [0, 1, 2]
