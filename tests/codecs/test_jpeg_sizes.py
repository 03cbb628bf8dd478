"""Predicted sizes are those of the files that are written, to the byte."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_pictures import SAMPLINGS, coefficients, layouts, picture, scripts
from PIL import Image

from idse.codecs import jpeg
from idse.codecs.jpeg.sizes import file_size

pytestmark = pytest.mark.fast


def _levels(arrays):
    return np.concatenate([array.reshape(-1, 64) for array in arrays])


def _predicted(layout, arrays, tables, scans, restart_rows=0):
    return file_size(layout, _levels(arrays), np.stack(tables), scans, restart_rows=restart_rows)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_file(data):
    layout = data.draw(layouts)
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    arrays = coefficients(layout, seed, scale=data.draw(st.sampled_from([0.1, 0.5, 8.0, 200.0])))
    most = data.draw(st.sampled_from([2, 256, 65536]))
    tables = [rng.integers(1, most, (8, 8)).astype(np.uint16) for _ in range(layout.components)]
    scans = data.draw(scripts(layout.components))
    restart_rows = data.draw(st.integers(0, 3))
    written = jpeg.write(layout, arrays, tables, scans=scans, restart_rows=restart_rows)
    assert _predicted(layout, arrays, tables, scans, restart_rows) == len(written)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("script", ["sequential", "simple"])
@pytest.mark.parametrize("quality", [3, 60, 97])
def test_libjpegs_own_files(sampling, script, quality):
    file = jpeg.read(
        jpeg.encode(picture(203, 118, seed=quality), quality=quality, sampling=sampling)
    )
    scans = None if script == "sequential" else jpeg.simple_script(file.layout.components)
    written = jpeg.write(file.layout, file.coefficients, file.tables, scans=scans)
    assert _predicted(file.layout, file.coefficients, file.tables, scans) == len(written)


def test_long_runs_and_full_correction_buffers():
    """Runs of 32767 ended blocks, and more correction bits than libjpeg holds back."""
    layout = jpeg.JpegLayout(8 * 200, 8 * 200, "grey")
    empty = np.zeros((200, 200, 8, 8), np.int16)
    busy = np.full((200, 200, 8, 8), 2, np.int16)
    busy[::7] = 0
    tables = [np.ones((8, 8), np.uint16)]
    for arrays in ([empty], [busy]):
        scans = jpeg.simple_script(1)
        written = jpeg.write(layout, arrays, tables, scans=scans)
        assert _predicted(layout, arrays, tables, scans) == len(written)


@pytest.mark.parametrize("progressive", [False, True])
def test_photographs_after_the_trellis(shared, progressive):
    pixels = np.asarray(Image.open(shared / "kodak" / "13.png").convert("RGB"))
    layout = jpeg.JpegLayout(pixels.shape[1], pixels.shape[0])
    values = jpeg.transform(pixels, layout)
    tables = [jpeg.standard_table(50, chroma=i > 0) for i in range(3)]
    quantiser = jpeg.Quantiser(layout, values, [np.ones_like(v) for v in values])
    for lam in (0, 20.0, 200.0):
        found = quantiser.run(tables, lam, progressive=progressive)
        scans = jpeg.best_scans(found) if progressive else None
        written = jpeg.write(layout, found.coefficients, tables, scans=scans)
        assert found.size(scans) == len(written)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_best_scans_are_smaller_than_libjpegs(sampling):
    pixels = picture(203, 118, seed=5)
    layout = jpeg.JpegLayout(203, 118, sampling)
    values = jpeg.transform(pixels, layout)
    tables = [jpeg.standard_table(70, chroma=i > 0) for i in range(layout.components)]
    quantiser = jpeg.Quantiser(layout, values, [np.ones_like(v) for v in values])
    for lam in (0, 50.0):
        found = quantiser.run(tables, lam, progressive=True)
        scans = jpeg.best_scans(found)
        assert found.size(scans) < found.size(jpeg.simple_script(layout.components))
        file = jpeg.read(jpeg.write(layout, found.coefficients, tables, scans=scans))
        assert np.array_equal(_levels(file.coefficients), found.levels)


@pytest.mark.parametrize("size", [(65500, 9), (9, 65500), (1100, 900)])
def test_scans_are_chosen_for_any_shape(size):
    layout = jpeg.JpegLayout(*size, "grey")
    rng = np.random.default_rng(0)
    values = [rng.laplace(0, 2, (*layout.block_shape(0), 8, 8)).astype(np.float32)]
    quantiser = jpeg.Quantiser(layout, values, [np.ones_like(values[0])])
    tables = [np.full((8, 8), 3, np.uint16)]
    found = quantiser.run(tables, 1.0, progressive=True)
    scans = jpeg.best_scans(found)
    written = jpeg.write(layout, found.coefficients, tables, scans=scans)
    assert found.size(scans) == len(written)
    assert len(written) < len(jpeg.write(layout, found.coefficients, tables, scans=jpeg.SIMPLE))
    assert quantiser.estimate(tables, 1.0, progressive=True) == pytest.approx(len(written), rel=0.1)
