"""Importance per frequency against the full-resolution sketch, and in a map file."""

from __future__ import annotations

import numpy as np
import pytest
from test_sketch_jacobian import random_picture, small_network

from idse.errors import MapError
from idse.importance import Analyser, read_maps, write_maps
from idse.importance.spectrum import SIZES, Spectrum

pytestmark = pytest.mark.fast


def cosines(size):
    k = np.arange(size)
    basis = np.cos(np.pi * (2 * k[None, :] + 1) * k[:, None] / (2 * size)) * np.sqrt(2 / size)
    basis[0] /= np.sqrt(2)
    return basis


def by_definition(plane, size):
    """Mean over blocks of the summed squares of every row's DCT."""
    rows, height, width = plane.shape
    plane = plane[:, : height - height % size, : width - width % size]
    blocks = plane.reshape(rows, height // size, size, width // size, size).swapaxes(2, 3)
    basis = cosines(size)
    return ((basis @ blocks @ basis.T) ** 2).sum(0).mean((0, 1))


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"pix_fmt": "yuv422p"}, {"pix_fmt": "yuv444p10le"}, {"rotation": 90}, {"width": 101}],
    ids=str,
)
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_is_that_of_the_jacobian_at_the_picture_s_resolution(kwargs, fit):
    network, picture = small_network(fit=fit), random_picture(index=2, **kwargs)
    analyser = Analyser([(network, 1)], n_s=3, dtype="float64")
    found, sketch = analyser.spectrum(picture), analyser.sketch(picture)
    for size in SIZES:
        chroma = (by_definition(sketch.cb, size) + by_definition(sketch.cr, size)) / 2
        np.testing.assert_allclose(found.luma[size], by_definition(sketch.y, size), rtol=1e-9)
        np.testing.assert_allclose(found.chroma[size], chroma, rtol=1e-9)


def test_its_mean_is_the_mean_importance_of_a_map():
    picture = random_picture(width=64, height=48)
    analyser = Analyser([(small_network(), 1), (small_network(n_f=3), 2)], dtype="float64")
    found = analyser.spectrum(picture)
    weight = analyser.analyse(picture).weight()
    assert found.per_sample == pytest.approx(weight.mean(), rel=1e-5)


def test_an_analysis_after_it_is_the_same_as_without(monkeypatch):
    picture, other = random_picture(), random_picture(seed=1, index=1)
    analyser = Analyser([(small_network(), 1)], dtype="float64")
    expected = [analyser.analyse(item).energy for item in (picture, other)]
    analyser.spectrum(picture)
    for item, energy in zip((picture, other), expected, strict=True):
        np.testing.assert_array_equal(analyser.analyse(item).energy, energy)
    # The network need not look twice.
    analyser.spectrum(picture)
    monkeypatch.setattr("idse.importance.analyser.sketch_gradients", None)
    np.testing.assert_array_equal(analyser.analyse(picture).energy, expected[0])


def test_a_picture_smaller_than_a_block_has_none():
    found = Analyser([(small_network(), 1)]).spectrum(random_picture(width=6, height=5))
    assert not found.luma[8].any()
    assert found.luma[4].any()


def test_survives_a_map_file(tmp_path):
    picture, path = random_picture(), tmp_path / "maps"
    analyser = Analyser([(small_network(), 1)])
    maps = [analyser.analyse(picture)]
    write_maps(path, maps, analyser.metadata)
    assert read_maps(path).spectrum is None
    found = analyser.spectrum(picture)
    write_maps(path, maps, analyser.metadata, spectrum=found)
    read = read_maps(path).spectrum
    assert read is not None
    for name, values in found.tensors().items():
        np.testing.assert_array_equal(read.tensors()[name], values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spectrum_luma8", np.full((8, 8), -1.0)),
        ("spectrum_chroma4", np.full((4, 4), np.nan)),
        ("spectrum_luma4", np.ones(3)),
        ("spectrum_chroma_share", np.array([9.0])),
    ],
)
def test_damage_is_refused(name, value):
    plane = {4: np.ones((4, 4)), 8: np.ones((8, 8))}
    tensors = Spectrum(plane, plane, 0.5).tensors()
    with pytest.raises(MapError, match="spectrum"):
        Spectrum.from_tensors(tensors | {name: value})
