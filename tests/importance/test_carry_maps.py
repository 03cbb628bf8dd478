"""Maps that travel with content and fade where nobody knows."""

import numpy as np
import pytest

from idse.errors import InputError
from idse.importance.carry import ImportanceTrack, carry
from idse.importance.motion import MotionField

pytestmark = pytest.mark.fast

SHAPE = (6, 8)


def field(dx=0.0, dy=0.0, reliability=1.0, *, cut=False):
    ones = np.ones(SHAPE, np.float32)
    vectors = np.stack([ones * dx, ones * dy], axis=-1)
    return MotionField(
        vectors=vectors,
        reliability=(ones * reliability).astype(np.float32),
        scene_cut=cut,
        residual=ones,
    )


def spike():
    values = np.zeros(SHAPE, np.float32)
    values[2, 3] = 4.0
    return values


def test_moves_with_the_content():
    moved = carry(spike(), field(dx=-32, dy=16))
    # Content was 2 macroblocks left and 1 below: what was at (2, 3) is now at (1, 5).
    assert moved[1, 5] == 4.0
    assert moved.sum() == 4.0
    assert moved.dtype == np.float32


def test_moves_by_parts_of_a_macroblock():
    moved = carry(spike(), field(dx=-4))
    assert moved[2, 3] == pytest.approx(3.0)
    assert moved[2, 4] == pytest.approx(1.0)


def test_takes_the_edge_for_what_comes_from_outside():
    values = np.tile(np.arange(8, dtype=np.float32), (6, 1))
    assert (carry(values, field(dx=100))[:, -4:] == 7).all()


def test_fades_only_where_unreliable():
    values = np.ones(SHAPE, np.float32)
    half = field(reliability=0.0)
    half.reliability[:, :4] = 1.0
    for _ in range(10):
        values = carry(values, half)
    assert (values[:, :4] == 1).all()
    assert (values[:, 4:] < 0.001).all()


def test_forgets_at_a_cut():
    assert not carry(spike(), field(cut=True)).any()
    track = ImportanceTrack()
    track.advance(None, spike())
    assert track.advance(field(cut=True), None) is None
    assert track.advance(field(), None) is None
    assert track.advance(field(), spike()) is not None


def test_analyses_are_averaged_along_motion():
    """The error of noisy maps of one scene falls; a scene that changed is followed."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=SHAPE).astype(np.float32)
    track = ImportanceTrack()
    errors = []
    for i in range(12):
        noisy = truth + rng.normal(size=SHAPE).astype(np.float32)
        errors.append(float(np.abs(track.advance(field() if i else None, noisy) - truth).mean()))
    assert np.mean(errors[4:]) < 0.75 * errors[0]
    for _ in range(6):
        result = track.advance(field(), -truth)
    assert np.abs(result + truth).max() < 0.1 * np.abs(truth).max() + 0.1


def test_new_content_takes_more_of_the_fresh_value():
    """What was carried along a bad match counts less than what was carried along a good one."""
    results = {}
    for reliability in (0.0, 1.0):
        track = ImportanceTrack()
        track.advance(None, np.ones(SHAPE, np.float32))
        fresh = np.full(SHAPE, 3, np.float32)
        results[reliability] = track.advance(field(reliability=reliability), fresh)
    np.testing.assert_allclose(results[1.0], 2)  # the mean of both analyses
    np.testing.assert_allclose(results[0.0], (0.5 * 0.5 + 3) / 1.5)  # value and evidence halved


def test_refuses_other_shapes():
    with pytest.raises(InputError, match=r"\(3, 3\)"):
        carry(np.zeros((3, 3), np.float32), field())
