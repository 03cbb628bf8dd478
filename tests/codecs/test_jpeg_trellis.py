"""What the trellis gives and takes; that it finds the optimum is tested in C."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_pictures import SAMPLINGS, layouts, picture

from idse.codecs import jpeg
from idse.errors import InputError

pytestmark = pytest.mark.fast


def _quantiser(sampling="4:2:0", size=(203, 118), seed=7, weights=None):
    layout = jpeg.JpegLayout(*size, sampling)
    values = jpeg.transform(picture(*size, seed=seed), layout)
    if weights is None:
        weights = [np.ones_like(v) for v in values]
    return jpeg.Quantiser(layout, values, weights), values, weights


def _tables(layout, quality=60):
    return [jpeg.standard_table(quality, chroma=i > 0) for i in range(layout.components)]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("progressive", [False, True])
def test_lambda_0_rounds(sampling, progressive):
    quantiser, values, _ = _quantiser(sampling)
    tables = _tables(quantiser.layout)
    found = quantiser.run(tables, 0, progressive=progressive)
    for levels, value, table in zip(found.coefficients, values, tables, strict=True):
        exact = value / table
        assert np.abs(levels - exact).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("progressive", [False, True])
def test_larger_lambda_makes_smaller_files_of_more_error(sampling, progressive):
    quantiser, *_ = _quantiser(sampling)
    tables = _tables(quantiser.layout)
    runs = [
        quantiser.run(tables, lam, progressive=progressive) for lam in (0, 3, 10, 30, 100, 1000)
    ]
    sizes = [run.size(jpeg.best_scans(run) if progressive else None) for run in runs]
    errors = [run.distortion for run in runs]
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert sizes[-1] < sizes[0] / 2


@pytest.mark.parametrize("progressive", [False, True])
def test_no_lambda_is_better_served_by_another_lambdas_choice(progressive):
    quantiser, *_ = _quantiser()
    tables = _tables(quantiser.layout)
    lams = (3.0, 10.0, 30.0, 100.0)
    runs = [quantiser.run(tables, lam, progressive=progressive) for lam in lams]
    sizes = [run.size(jpeg.best_scans(run) if progressive else None) for run in runs]
    for i, lam in enumerate(lams):
        costs = [run.distortion + lam * 8 * size for run, size in zip(runs, sizes, strict=True)]
        assert costs[i] == min(costs)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_distortion_is_the_weighted_squared_error(data):
    layout = data.draw(layouts)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shapes = [(*layout.block_shape(i), 8, 8) for i in range(layout.components)]
    values = [rng.laplace(0, 60, shape).astype(np.float32) for shape in shapes]
    weights = [rng.exponential(1, shape).astype(np.float32) for shape in shapes]
    tables = [rng.integers(1, 99, (8, 8)).astype(np.uint16) for _ in shapes]
    lam = data.draw(st.sampled_from([0.0, 1.0, 100.0, 1e4]))
    progressive = data.draw(st.booleans())
    found = jpeg.Quantiser(layout, values, weights).run(tables, lam, progressive=progressive)
    expected = sum(
        float((w * (v - t * c.astype(np.float64)) ** 2).sum())
        for v, w, t, c in zip(values, weights, tables, found.coefficients, strict=True)
    )
    assert found.distortion == pytest.approx(expected, rel=1e-4)
    rounded = jpeg.Quantiser(layout, values, weights).run(tables, 0)
    assert found.distortion >= rounded.distortion * (1 - 1e-6)
    file = jpeg.read(jpeg.write(layout, found.coefficients, tables))
    for levels, back in zip(found.coefficients, file.coefficients, strict=True):
        np.testing.assert_array_equal(levels, back)


@pytest.mark.parametrize("progressive", [False, True])
def test_blocks_without_weight_are_left_empty(progressive):
    _, values, weights = _quantiser()
    for array in weights:
        array[::2] = 0
    quantiser, *_ = _quantiser(weights=weights)
    found = quantiser.run(_tables(quantiser.layout), 5.0, progressive=progressive)
    for levels in found.coefficients:
        assert not levels[::2].reshape(-1, 64)[:, 1:].any()
        assert levels[1::2].reshape(-1, 64)[:, 1:].any()
    nothing = jpeg.Quantiser(quantiser.layout, values, [np.zeros_like(v) for v in values])
    assert not nothing.run(_tables(quantiser.layout), 5.0, progressive=progressive).levels.any()


def test_weights_move_bits_to_where_they_are():
    _, _, weights = _quantiser()
    for array in weights:
        array[:, : array.shape[1] // 2] *= 30
    quantiser, *_ = _quantiser(weights=weights)
    found = quantiser.run(_tables(quantiser.layout), 300.0).coefficients[0] != 0
    half = found.shape[1] // 2
    assert found[:, :half].sum() > 3 * found[:, half:].sum()


@pytest.mark.parametrize("progressive", [False, True])
def test_mixing_goes_from_one_to_the_other(progressive):
    quantiser, *_ = _quantiser()
    tables = _tables(quantiser.layout)
    one = quantiser.run(tables, 20.0, progressive=progressive)
    two = quantiser.run(tables, 30.0, progressive=progressive)
    counts = np.linspace(0, one.blocks, 30).astype(int)
    mixes = [jpeg.mix(one, two, int(count)) for count in counts]
    assert np.array_equal(mixes[0].levels, two.levels)
    assert np.array_equal(mixes[-1].levels, one.levels)
    taken = [(m.levels == one.levels).all(1) for m in mixes]
    assert all((a <= b).all() for a, b in pairwise(taken))
    sizes = [m.size(jpeg.best_scans(m) if progressive else None) for m in mixes]
    steps = np.diff(sizes)
    assert abs(steps).max() < 0.2 * (sizes[-1] - sizes[0])


def test_extremes_are_kept_within_what_a_file_holds():
    layout = jpeg.JpegLayout(16, 16, "grey")
    values = [np.full((2, 2, 8, 8), 1e30, np.float32)]
    values[0][0] *= -1
    tables = [np.ones((8, 8), np.uint16)]
    for scale in (1.0, 1e-30, 3e38):
        quantiser = jpeg.Quantiser(layout, values, [np.full_like(values[0], scale)])
        for lam in (0, 1e-30, 1.0, 1e30):
            for progressive in (False, True):
                found = quantiser.run(tables, lam, progressive=progressive)
                jpeg.read(jpeg.write(layout, found.coefficients, tables))


def test_threads_share_a_quantiser():
    quantiser, *_ = _quantiser(size=(300, 200))
    tables = _tables(quantiser.layout)
    lams = [float(lam) for lam in range(1, 17)]
    alone = [quantiser.run(tables, lam).levels for lam in lams]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda lam: quantiser.run(tables, lam).levels, lams))
    assert all(map(np.array_equal, alone, together))


def test_what_does_not_fit_is_refused():
    quantiser, values, weights = _quantiser()
    layout, tables = quantiser.layout, _tables(quantiser.layout)
    with pytest.raises(InputError, match="takes"):
        jpeg.Quantiser(layout, values[:2], weights)
    with pytest.raises(InputError, match="finite"):
        jpeg.Quantiser(layout, [v * np.nan for v in values], weights)
    with pytest.raises(InputError, match=r"-1\.0: they must be"):
        jpeg.Quantiser(layout, values, [-w for w in weights])
    for lam in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="lambda"):
            quantiser.run(tables, lam)
    with pytest.raises(InputError, match="tables"):
        quantiser.run(tables[:1], 1.0)
    found = quantiser.run(tables, 1.0)
    with pytest.raises(InputError, match="cannot be taken"):
        jpeg.mix(found, found, found.blocks + 1)
    with pytest.raises(InputError, match="mixed"):
        jpeg.mix(found, quantiser.run(_tables(layout, 20), 1.0), 1)
