"""Weights as int8: what is lost, and what is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from idse.learned.student.rounding import LARGEST, restored, rounded

pytestmark = pytest.mark.fast

WEIGHTS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=1, max_dims=4, max_side=9),
    elements=st.floats(-8e6, 8e6, width=32),
)


@settings(max_examples=150, deadline=None)
@given(weights=WEIGHTS, scale=st.floats(1e-12, 1.0))
def test_no_weight_is_off_by_a_step_and_no_sum_by_more_than_half(weights, scale):
    weights = (weights * scale).astype(np.float32)
    found, step = rounded(weights)
    assert found.dtype == np.int8
    assert found.shape == weights.shape
    assert np.abs(found.astype(int)).max() <= LARGEST
    assert (step > 0).all()
    np.testing.assert_array_equal(step.astype(np.float16).astype(np.float32), step)
    error = weights.astype(np.float64) - restored(found, step).astype(np.float64)
    error = error.reshape(len(weights), -1) / step[:, None]
    assert (np.abs(error) < 1 + 1e-9).all()
    assert (np.abs(error.sum(1)) <= 0.5 + 1e-6).all()


@settings(max_examples=100, deadline=None)
@given(weights=WEIGHTS)
def test_what_was_rounded_stays(weights):
    found, step = rounded(weights)
    again, same = rounded(restored(found, step))
    kept = np.abs(weights.reshape(len(weights), -1)).max(1) > 0.002
    np.testing.assert_array_equal(again[kept], found[kept])
    np.testing.assert_array_equal(same[kept], step[kept])


def test_every_output_has_the_least_step_that_reaches_its_largest_weight():
    weights = np.array([[1.0, -0.5, 0.25], [0.0, 0.0, 0.0], [-0.1, 1e-5, 0.0]])
    found, step = rounded(weights)
    assert found[0, 0] == -found[2, 0] == LARGEST
    assert not found[1].any()
    assert 1 / LARGEST <= step[0] < 1.001 / LARGEST


def test_sums_are_kept_where_plain_rounding_loses_them():
    weights = np.array([[1.27, *[0.0049] * 20]])
    found, step = rounded(weights)
    assert np.rint(weights[:, 1:] / step).sum() == 0
    assert abs(restored(found, step).sum() - weights.sum()) <= step / 2
