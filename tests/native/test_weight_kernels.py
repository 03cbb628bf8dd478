"""Kernels over weights of coefficients against plain numpy, and what the binding refuses."""

import numpy as np
import pytest

from idse import weight_kernels as kernels
from idse.errors import InputError

pytestmark = pytest.mark.fast


def taps(blocks, reach, samples, seed=0):
    rng = np.random.default_rng(seed)
    first = np.sort(rng.integers(0, samples - reach + 1, blocks)).astype(np.int32)
    return kernels.Taps(first, rng.standard_normal((blocks, reach, 8), np.float32))


def by_numpy(gradients, down, across):
    rows = np.arange(down.factor.shape[1]) + down.first[:, None]
    columns = np.arange(across.factor.shape[1]) + across.first[:, None]
    seen = gradients.astype(float)[:, rows[:, None, :, None], columns[None, :, None, :]]
    found = np.einsum("nijyx,iyv,jxu->nijvu", seen, down.factor, across.factor)
    return (found**2).sum(0)


@pytest.mark.parametrize(
    ("n", "shape", "down", "across"),
    [(1, (1, 1), (1, 1), (1, 1)), (8, (40, 52), (9, 6), (11, 7)), (3, (5, 90), (2, 5), (30, 3))],
)
def test_weights_are_squares_of_the_transform(n, shape, down, across):
    gradients = np.random.default_rng(1).standard_normal((n, *shape), np.float32)
    down, across = taps(*down, shape[0]), taps(*across, shape[1], seed=1)
    found = kernels.coefficient_weights(gradients, down, across)
    np.testing.assert_allclose(found, by_numpy(gradients, down, across), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("view", ["plane", "reversed", "transposed"])
def test_gradients_may_be_views(view):
    planes = np.random.default_rng(2).standard_normal((4, 3, 20, 20), np.float32)
    gradients = {
        "plane": planes[:, 1],
        "reversed": planes[::-1, 1],
        "transposed": planes[:, 1].swapaxes(1, 2),
    }[view]
    seen = taps(3, 5, 20)
    np.testing.assert_array_equal(
        kernels.coefficient_weights(gradients, seen, seen),
        kernels.coefficient_weights(gradients.copy(), seen, seen),
    )


def test_sums_and_blends():
    rng = np.random.default_rng(3)
    weights = rng.random((5, 7, 8, 8), np.float32)[:, ::2]
    own, spectrum = rng.random((8, 8)), rng.random((8, 8))
    np.testing.assert_allclose(kernels.frequency_sums(weights), weights.sum((0, 1), float))
    sums = kernels.block_sums(weights, own)
    np.testing.assert_allclose(sums, (weights * own).sum((2, 3)), rtol=1e-5)
    blend = kernels.blend_weights(weights, sums, own=own, spectrum=spectrum, least=0.5)
    expected = sums[..., None, None] * spectrum + weights * own + 0.5
    np.testing.assert_allclose(blend, expected, rtol=1e-5)


def test_what_does_not_fit_is_refused():
    gradients, seen = np.zeros((2, 9, 9), np.float32), taps(3, 4, 9)
    with pytest.raises(InputError, match="beyond gradients of 8 rows"):
        kernels.coefficient_weights(
            gradients[:, :8], kernels.Taps(seen.first + 5, seen.factor), seen
        )
    with pytest.raises(InputError, match="float64"):
        kernels.coefficient_weights(gradients.astype(float), seen, seen)
    with pytest.raises(InputError, match=r"factor is .*\(3, 4, 7\)"):
        kernels.Taps(seen.first, seen.factor[..., :7])
    with pytest.raises(InputError, match="int64"):
        kernels.Taps(seen.first.astype(np.int64), seen.factor)
    weights = np.zeros((2, 3, 8, 8), np.float32)
    with pytest.raises(InputError, match=r"\(2, 3, 64\)"):
        kernels.frequency_sums(weights.reshape(2, 3, 64))
    with pytest.raises(InputError, match=r"\(64,\)"):
        kernels.block_sums(weights, np.zeros(64))
    with pytest.raises(InputError, match=r"common is .*\(3, 2\)"):
        kernels.blend_weights(
            weights,
            np.zeros((3, 2), np.float32),
            own=np.zeros((8, 8)),
            spectrum=np.zeros((8, 8)),
            least=0,
        )
