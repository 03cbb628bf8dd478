"""Sketches against the exact Jacobian of small networks, in float64 where it counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from idse.errors import InputError, ModelError
from idse.importance import Analyser
from idse.importance.bounds import epsilon_reached, rows_needed
from idse.importance.sketch import SketchSettings, rademacher, sketch_gradients
from idse.picture import Picture, PictureFormat
from idse.vision import FeatureExtractor

pytestmark = pytest.mark.fast


def small_network(*, size=(12, 16), fit="letterbox", n_f=6, dtype=torch.float64):
    """A smooth network with a few features, whose exact Jacobian is cheap."""
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Conv2d(5, 7, 3, padding=1),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.Flatten(),
        nn.Linear(42, n_f),
    ).to(dtype)
    return FeatureExtractor(
        module, size=size, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), fit=fit, name="small"
    )


def random_picture(seed=0, index=0, **kwargs):
    form = PictureFormat(**{"width": 37, "height": 29, **kwargs})
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if form.bit_depth == 8 else np.uint16
    top = 2**form.bit_depth
    # In the middle of the range: R'G'B' stays within 0..1, where PQ and HLG do not clip.
    planes = tuple(
        rng.integers(top * 3 // 8, top * 5 // 8, shape).astype(dtype)
        for shape in [(form.height, form.width), form.chroma_shape, form.chroma_shape]
    )
    return Picture(planes=planes, format=form, index=index)


def features_of(network, picture):
    """Features as a function of one vector: all samples of Y, Cb, Cr."""
    form = picture.format
    shapes = [(1, 1, form.height, form.width), *[(1, 1, *form.chroma_shape)] * 2]
    flat = np.concatenate([plane.ravel() for plane in picture.planes]).astype(np.float64)

    def function(x):
        parts = x.split([math.prod(shape) for shape in shapes])
        planes = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return network.features(network.to_input(*planes, form))[0]

    return function, torch.from_numpy(flat)


def exact_jacobian(network, picture):
    function, x = features_of(network, picture)
    return torch.autograd.functional.jacobian(function, x).numpy()


def flat_sketch(analyser, picture):
    sketch = analyser.sketch(picture)
    return np.concatenate([p.reshape(len(p), -1) for p in (sketch.y, sketch.cb, sketch.cr)], axis=1)


FORMATS = [
    {},
    {"pix_fmt": "yuv422p", "matrix": "bt709", "full_range": True},
    {"pix_fmt": "yuv444p"},
    {"pix_fmt": "yuv420p10le", "matrix": "bt2020nc", "transfer": "pq"},
    {"pix_fmt": "yuv422p10le", "matrix": "bt2020nc", "transfer": "hlg"},
    {"rotation": 90},
    {"width": 16, "height": 5},
]


@pytest.mark.parametrize("kwargs", FORMATS, ids=str)
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_rows_are_signed_sums_of_the_exact_jacobian(kwargs, fit):
    network, picture = small_network(fit=fit), random_picture(index=4, **kwargs)
    jacobian = exact_jacobian(network, picture)
    signs = rademacher(5, len(jacobian), 11, 4).numpy()
    found = flat_sketch(Analyser([(network, 1)], n_s=5, seed=11, dtype="float64"), picture)
    np.testing.assert_allclose(
        found, signs @ jacobian / math.sqrt(5), rtol=1e-9, atol=1e-12 * np.abs(jacobian).max()
    )


@pytest.mark.parametrize("kwargs", FORMATS, ids=str)
def test_finite_differences_through_all_of_the_preprocessing(kwargs):
    network, picture = small_network(), random_picture(**kwargs)
    function, x = features_of(network, picture)
    analyser = Analyser([(network, 1)], n_s=3, dtype="float64")
    sketch = flat_sketch(analyser, picture)
    signs = rademacher(3, 6, 0, 0).double() / math.sqrt(3)
    rng = np.random.default_rng(1)
    for _ in range(4):
        direction = torch.from_numpy(rng.standard_normal(len(x)))
        step = 1e-4 * 2 ** (picture.format.bit_depth - 8)
        difference = function(x + step * direction) - function(x - step * direction)
        slope = (signs @ difference).numpy() / (2 * step)
        np.testing.assert_allclose(sketch @ direction.numpy(), slope, rtol=1e-5, atol=1e-10)


def test_energy_is_unbiased_within_its_standard_error():
    network, picture = small_network(), random_picture()
    exact = (exact_jacobian(network, picture)[:, : 37 * 29] ** 2).sum(0).reshape(29, 37)
    exact = np.add.reduceat(np.add.reduceat(exact, [0, 16], 0), [0, 16, 32], 1)
    draws = np.stack(
        [
            Analyser([(network, 1)], n_s=2, seed=s, dtype="float64").analyse(picture).energy[0]
            for s in range(400)
        ]
    )
    error = draws.mean(0) - exact
    # Six macroblocks: beyond 4 standard errors by chance once in 2,600 times, and seeds are fixed.
    assert (np.abs(error) < 4 * draws.std(0) / math.sqrt(len(draws))).all()
    assert (draws.std(0) / exact < 2).all()  # the bound above is not vacuous


def test_error_falls_as_one_over_root_of_rows():
    network, picture = small_network(n_f=24), random_picture()
    jacobian = exact_jacobian(network, picture)
    exact = (jacobian**2).sum()
    counts = np.array([2, 4, 8, 16, 32, 64])
    errors = []
    for n_s in counts:
        signs = [rademacher(int(n_s), 24, seed, 0).numpy() for seed in range(300)]
        energies = [((s @ jacobian) ** 2).sum() / n_s for s in signs]
        errors.append(math.sqrt(np.mean((np.array(energies) / exact - 1) ** 2)))
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert -0.56 < slope < -0.44
    # And the analyser divides by exactly that root.
    energy = Analyser([(network, 1)], n_s=16, dtype="float64").analyse(picture).energy
    signs = rademacher(16, 24, 0, 0).numpy()
    np.testing.assert_allclose(energy.sum(), ((signs @ jacobian) ** 2).sum() / 16, rtol=1e-5)


@pytest.mark.parametrize("size", [(12, 16), (64, 96), (29, 37)], ids=str)
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"pix_fmt": "yuv422p"},
        {"pix_fmt": "yuv444p"},
        {"pix_fmt": "yuv420p10le"},
        {"width": 1, "height": 1},
        {"width": 33, "height": 16},
        {"width": 17, "height": 50, "pix_fmt": "yuv422p10le"},
        {"width": 130, "height": 49},
    ],
    ids=str,
)
def test_block_sums_add_up(size, kwargs):
    network = small_network(size=size, fit="stretch")
    picture = random_picture(**kwargs)
    analyser = Analyser([(network, 1)], n_s=3, dtype="float64")
    sketch, found = analyser.sketch(picture), analyser.analyse(picture)
    planes = (sketch.y, sketch.cb, sketch.cr)
    assert [p.shape[1:] for p in planes] == [p.shape for p in picture.planes]
    np.testing.assert_allclose(found.energy, sketch.block_energy(), rtol=1e-6)
    np.testing.assert_allclose(
        sketch.block_energy().sum((1, 2)), [(p**2).sum() for p in planes], rtol=1e-12
    )
    # One macroblock by hand: the last one, cut off by the picture's edges.
    sub_x, sub_y = picture.format.subsampling
    rows, columns = (n - 1 for n in picture.format.mb_shape)
    corner = sketch.cb[:, rows * 16 >> sub_y :, columns * 16 >> sub_x :]
    np.testing.assert_allclose(found.energy[1, -1, -1], (corner**2).sum(), rtol=1e-6)


def test_large_networks_are_summed_in_groups(monkeypatch):
    network, picture = small_network(), random_picture()
    whole = Analyser([(network, 1)], n_s=5, dtype="float64").analyse(picture)
    monkeypatch.setattr("idse.importance.energy._GROUP", 2 * 12 * 15)  # two rows at a time
    parts = Analyser([(network, 1)], n_s=5, dtype="float64").analyse(picture)
    np.testing.assert_allclose(parts.energy, whole.energy, rtol=1e-6)


def test_batched_passes_equal_one_by_one():
    network, picture = small_network(), random_picture(pix_fmt="yuv422p")
    settings = SketchSettings(n_s=6, seed=5, dtype=torch.float64)
    one, all_at_once = (
        sketch_gradients(network, picture, settings, batched=batched) for batched in (False, True)
    )
    torch.testing.assert_close(one, all_at_once, rtol=1e-10, atol=1e-14)


def test_maps_are_a_function_of_seed_and_frame():
    network = small_network(dtype=torch.float32)
    pictures = [random_picture(seed=9, index=i) for i in range(3)]
    forwards = [Analyser([(network, 1)], seed=2).analyse(p).energy for p in pictures]
    analyser = Analyser([(network, 1)], seed=2)
    for energy, picture in reversed(list(zip(forwards, pictures, strict=True))):
        np.testing.assert_array_equal(analyser.analyse(picture).energy, energy)
    # The same samples at another frame index, or with another seed, are sketched anew.
    assert not np.array_equal(forwards[0], forwards[1])
    other = Analyser([(network, 1)], seed=3).analyse(pictures[0]).energy
    assert not np.array_equal(other, forwards[0])


def test_threads_of_the_caller_change_nothing():
    # 128 x 128 x 16 samples: large enough that torch would split the convolutions.
    module = nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.Tanh(), nn.Conv2d(16, 1, 5))
    network = FeatureExtractor(module, size=(128, 128))
    picture = random_picture(width=200, height=160)
    before = torch.get_num_threads()
    try:
        energies = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            energies.append(Analyser([(network, 1)]).analyse(picture).energy)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*energies)


def test_signs_are_pinned_fair_and_nested():
    signs = rademacher(4, 100, 7, 3).numpy()
    # A change of these makes every map another one: a breaking change.
    assert (
        "".join("+" if s > 0 else "-" for s in signs[0, :32]) == "++---++-++-+-+-+-+-++---+-+++-+-"
    )
    np.testing.assert_array_equal(rademacher(2, 100, 7, 3).numpy(), signs[:2])
    assert set(np.unique(signs)) == {-1, 1}
    many = rademacher(8, 100_000, 0, 0).numpy().astype(np.float64)
    assert np.abs(many.mean(1)).max() < 5 / math.sqrt(100_000)
    correlation = np.corrcoef(np.concatenate([many, rademacher(8, 100_000, 0, 1, 1).numpy()]))
    assert np.abs(correlation - np.eye(16)).max() < 5 / math.sqrt(100_000)


def test_bfloat16_keeps_the_map_and_leaves_the_network_alone():
    network, picture = small_network(dtype=torch.float32), random_picture(width=200, height=160)
    full = Analyser([(network, 1)], n_s=32).analyse(picture).energy
    half = Analyser([(network, 1)], n_s=32, dtype="bfloat16").analyse(picture).energy
    assert network.module[0].weight.dtype == torch.float32
    assert 0 < np.abs(half / full - 1).max() < 0.1


def test_networks_share_by_weight_whatever_their_units():
    loud, quiet = small_network(dtype=torch.float32), small_network(n_f=4, dtype=torch.float32)
    quiet.module[-1].weight.data *= 1e-4
    picture = random_picture()
    alone = [Analyser([(n, 1)]).analyse(picture).energy.sum() for n in (loud, quiet)]
    assert alone[0] > 1e6 * alone[1]
    both = Analyser([(loud, 1), (quiet, 3)], n_s=8)
    found = both.analyse(picture)
    sketch = both.sketch(picture)
    np.testing.assert_allclose(sketch.block_energy(), found.energy, rtol=1e-4)
    parts = [(sketch.y[rows] ** 2).sum() for rows in (slice(0, 8), slice(8, 16))]
    chroma = [
        (p[rows] ** 2).sum() for rows in (slice(0, 8), slice(8, 16)) for p in (sketch.cb, sketch.cr)
    ]
    shares = np.array([parts[0] + sum(chroma[:2]), parts[1] + sum(chroma[2:])])
    np.testing.assert_allclose(shares / shares.sum(), [0.25, 0.75], rtol=1e-4)
    assert both.metadata.model == "small=1 small=3"


def test_running_mean_lets_a_blind_network_fade():
    """A frame in which one network sees nothing is left to the other one."""
    networks = [small_network(dtype=torch.float32), small_network(n_f=4, dtype=torch.float32)]
    both = Analyser([(n, 1) for n in networks], n_s=8)
    first = both.analyse(random_picture(seed=1, index=0))
    networks[1].module[-1].weight.data *= 1e-3
    second = both.analyse(random_picture(seed=1, index=1))
    again = both.analyse(random_picture(seed=1, index=1))
    np.testing.assert_array_equal(second.energy, again.energy)
    assert first.energy.sum() == pytest.approx(37 * 29, rel=1e-4)
    # Mean of (about) 1 for the network that goes on as before, none of the other one.
    assert 0.4 < second.energy.sum() / (37 * 29) < 0.6


def broken(function):
    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return function(x * self.scale)

    return FeatureExtractor(Module(), size=(12, 16), name="broken")


def raise_index_error(_):
    raise IndexError("list index out of range")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x * torch.inf, "features of broken on frame 7 are not finite"),
        (lambda x: (x - x).abs().sqrt(), "gradients that are not finite"),
        (lambda x: x * 1e30, "too large to square"),
        (lambda x: x.detach(), "do not depend on its input differentiably"),
        (raise_index_error, "broken on frame 7 failed: IndexError: list index out of range"),
        (lambda x: x[:, :0], r"are \(1, 0\), expected"),
    ],
)
def test_networks_that_fail_are_named_with_the_frame(function, message):
    with pytest.raises(ModelError, match=message):
        Analyser([(broken(function), 1)]).analyse(random_picture(index=7))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"networks": []}, "at least one network"),
        ({"n_s": 0}, "n_s 0"),
        ({"seed": -1}, "seed -1"),
        ({"dtype": "int8"}, "'int8'"),
        ({"weight": 0.0}, "weight 0.0 of small"),
        ({"weight": math.nan}, "weight nan"),
    ],
)
def test_settings_out_of_range_are_refused(kwargs, message):
    networks = kwargs.pop("networks", [(small_network(), kwargs.pop("weight", 1.0))])
    with pytest.raises(InputError, match=message):
        Analyser(networks, **kwargs)


def test_inference_mode_of_the_caller_does_not_matter():
    network, picture = small_network(), random_picture()
    plain = Analyser([(network, 1)], dtype="float64").analyse(picture).energy
    with torch.inference_mode():
        inside = Analyser([(network, 1)], dtype="float64").analyse(picture).energy
    np.testing.assert_array_equal(plain, inside)


def test_bound_of_johnson_and_lindenstrauss():
    # Equation (16) with the paper's 18 candidates: 8 ln 18 / 0.25 = 92.5.
    assert rows_needed(18, 0.5) == 93
    assert rows_needed(1, 0.5) == 1
    for candidates in (2, 18, 1000):
        for epsilon in (0.1, 0.5, 0.9):
            n_s = rows_needed(candidates, epsilon)
            assert (
                epsilon_reached(candidates, n_s) <= epsilon < epsilon_reached(candidates, n_s - 1)
            )
    for call in (
        lambda: rows_needed(0, 0.5),
        lambda: rows_needed(2, 1.0),
        lambda: rows_needed(2, 0.0),
        lambda: epsilon_reached(2, 0),
    ):
        with pytest.raises(InputError):
            call()
