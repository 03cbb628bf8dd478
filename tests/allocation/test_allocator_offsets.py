"""Offsets from maps: what they promise whatever the content."""

import numpy as np
import pytest

from idse.allocation import Allocator, OffsetPolicy, Rect
from idse.allocation.compensation import HALVING_QP, MARGIN
from idse.errors import InputError, MapError

pytestmark = pytest.mark.fast

SHAPE = (9, 12)
RATE = np.full(SHAPE, 100, np.float32)


def weights(seed=0, spread=1.5):
    rng = np.random.default_rng(seed)
    return np.exp(spread * rng.normal(size=SHAPE)).astype(np.float32)


def allocator(crf=23.0, shape=SHAPE, **policy):
    return Allocator(OffsetPolicy(**policy), shape, crf=crf)


def steer(subject, weight, rate=RATE):
    subject.observe(weight)
    return subject.offsets(subject.normalise(weight), rate)


@pytest.mark.parametrize("level", [1.0, 0.37, 1e-9, 1e6])
def test_uniform_maps_and_no_map_are_exactly_neutral(level):
    subject = allocator()
    for _ in range(5):
        offsets = steer(subject, np.full(SHAPE, level, np.float32))
        assert offsets.dtype == np.float32
        assert offsets.shape == SHAPE
        assert not offsets.any()
    assert not subject.offsets(None, RATE).any()


def test_a_neutral_map_stays_neutral_after_steered_pictures():
    subject = allocator()
    assert steer(subject, weights()).any()
    assert not subject.offsets(np.zeros(SHAPE, np.float32), RATE).any()


def test_a_map_of_zeros_is_neutral():
    assert not steer(allocator(), np.zeros(SHAPE, np.float32)).any()


def test_important_macroblocks_get_a_lower_qp_as_the_formula_says():
    policy = {"strength": 0.5, "alpha": 0.2, "compensate": False, "max_offset": 51.0}
    subject = allocator(**policy)
    # Halves that are far apart, so that smoothing does not reach their inner columns.
    weight = np.ones(SHAPE, np.float32)
    weight[:, 6:] = 7.0
    offsets = steer(subject, weight)
    for column, value in ((2, 1.0), (9, 7.0)):
        expected = -1.5 * np.log2((value + 0.2 * 4.0) / (4.0 + 0.2 * 4.0))
        assert offsets[:, column] == pytest.approx(expected, rel=1e-5)


def test_normalisation_is_over_the_segment_and_not_per_picture():
    easy, hard = weights(1), 16 * weights(1)
    subject = allocator(compensate=False, alpha=0.0, max_offset=51.0, strength=1.0)
    for weight in (easy, hard):
        subject.observe(weight)
    first, second = (subject.offsets(subject.normalise(w)) for w in (easy, hard))
    assert first - second == pytest.approx(3 * 4, abs=1e-4)


def test_the_running_mean_forgets_in_seconds():
    subject = allocator(memory=10.0, alpha=0.0)
    subject.observe(np.full(SHAPE, 8, np.float32))
    subject.observe(np.full(SHAPE, 2, np.float32), elapsed=10.0)
    mean = (8 / np.e + 2) / (1 / np.e + 1)
    found = subject.normalise(np.full(SHAPE, 2, np.float32))
    assert found == pytest.approx(np.log2(2 / mean), rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_compensation_holds_the_modelled_size(seed):
    weight = weights(seed)
    rate = 100 * weight**3  # bits lie in what gets finer: without a constant the size would grow
    plain = steer(allocator(max_offset=30.0, compensate=False), weight, rate)
    offsets = steer(allocator(max_offset=30.0), weight, rate)
    assert (rate * 2.0 ** (-plain / HALVING_QP)).sum() > rate.sum()
    size = (rate * 2.0 ** (-offsets / HALVING_QP)).sum()
    assert size == pytest.approx(rate.sum() * 2 ** (-MARGIN / HALVING_QP), rel=0.01)
    assert np.ptp(offsets - plain) < 1e-4


def test_what_is_saved_is_not_spent_on_everything():
    weight = weights()
    assert np.array_equal(
        steer(allocator(), weight, 1 / weight), steer(allocator(compensate=False), weight)
    )


def test_compensation_counts_what_the_bounds_clip():
    rate = RATE.copy()
    rate[0, 0] = 1e5
    weight = weights()
    weight[0, 0] = 1e4  # the costly macroblock is the important one
    offsets = steer(allocator(max_offset=4.0), weight, rate)
    assert offsets.min() >= -4
    assert offsets.max() <= 4
    assert (rate * 2.0 ** (-offsets / HALVING_QP)).sum() <= rate.sum() * 1.001


def test_bits_where_nothing_matters_pay_for_what_does():
    """The same map, with the bits in the important or in the unimportant macroblocks."""
    weight = weights(3)
    cheap = steer(allocator(), weight, 1 / weight)
    dear = steer(allocator(), weight, weight)
    assert cheap.mean() < dear.mean() - 0.5


@pytest.mark.parametrize(("crf", "bound"), [(23.0, 2.0), (25.0, 0.0), (30.0, 0.0)])
def test_floor_crf_bounds_what_is_lost(crf, bound):
    policy = {"floor_crf": 25.0, "compensate": False}
    offsets = steer(allocator(crf=crf, **policy), weights(spread=3.0))
    assert offsets.max() == bound
    assert offsets.min() < -0.5


def test_where_nothing_may_be_lost_nothing_is_gained():
    assert not steer(allocator(crf=30.0, floor_crf=26.0), weights(spread=3.0)).any()


def test_floor_crf_needs_a_crf():
    with pytest.raises(InputError, match=r"floor_crf 30\.0 needs an encode by CRF"):
        allocator(crf=None, floor_crf=30.0)


def test_protected_macroblocks_never_lose():
    # Samples 20..39 x 10..49 touch macroblock columns 1, 2 and rows 0 to 3.
    plain = steer(allocator(), weights(spread=3.0))
    offsets = steer(allocator(protect=(Rect.parse("20,10,20,40"),)), weights(spread=3.0))
    assert plain[:4, 1:3].max() > 1
    assert offsets[:4, 1:3].max() <= 0
    assert offsets[4:].max() > 1
    with pytest.raises(InputError, match="500,0,10,10 lies outside"):
        allocator(protect=(Rect(500, 0, 10, 10),))


def test_interlaced_encodes_get_their_extra_row_and_equal_pairs():
    shape = (SHAPE[0] + 1, SHAPE[1])
    plain = steer(allocator(shape=shape), weights())
    assert (plain[-1] == plain[-2]).all()
    # Macroblock row 3 alone is asked for; its lines are also in the other field's macroblocks.
    policy = OffsetPolicy(protect=(Rect(32, 50, 64, 10),))
    offsets = steer(Allocator(policy, shape, crf=23.0, interlaced=True), weights())
    assert offsets.shape == shape
    assert offsets.flags.c_contiguous
    assert (offsets[::2] == offsets[1::2]).all()
    assert offsets[2:4, 2:6].max() <= 0
    free = np.ones(shape, bool)
    free[2:4, 2:6] = False
    pairs = np.repeat((plain[::2] + plain[1::2]) / 2, 2, axis=0)
    assert np.abs(offsets - pairs)[free].max() < 0.5  # all but what protecting costs the others
    assert offsets[free].max() > 1


def test_pictures_of_several_sizes_are_one_set():
    whole = allocator()
    part = whole.for_shape((3, 4))
    whole.observe(np.full(SHAPE, 4, np.float32))
    small = np.ones((3, 4), np.float32)
    assert (part.normalise(small) < -0.5).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": -1.0}, "strength -1"),
        ({"strength": float("nan")}, "strength nan"),
        ({"alpha": -0.5}, r"alpha -0\.5"),
        ({"max_offset": 60.0}, "max_offset 60"),
        ({"max_offset": 0.0}, "max_offset 0"),
        ({"floor_crf": 99.0}, "floor_crf 99"),
        ({"memory": 0.0}, "memory 0"),
    ],
)
def test_refuses_a_policy_out_of_range(change, message):
    with pytest.raises(InputError, match=message):
        OffsetPolicy(**change)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,x", "0,0,0,5", "-1,0,5,5"])
def test_refuses_what_is_no_rectangle(text):
    with pytest.raises(InputError, match="rectangle"):
        Rect.parse(text)


def test_refuses_damaged_maps():
    subject = allocator()
    bad = weights()
    bad[3, 3] = np.nan
    with pytest.raises(MapError, match="not finite"):
        subject.observe(bad)
    with pytest.raises(MapError, match="not finite"):
        subject.offsets(bad)
    bad[3, 3] = -1
    with pytest.raises(MapError, match=r"negative weight -1\.0"):
        subject.observe(bad)
    with pytest.raises(MapError, match=r"\(4, 4\).*\(9, 12\)"):
        subject.offsets(np.zeros((4, 4), np.float32))
