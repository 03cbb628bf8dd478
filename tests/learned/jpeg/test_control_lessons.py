"""What JPEG control learns from: examples, slopes, lessons, what networks say of files."""

import numpy as np
import pytest
import torch
from jpeg_photos import photo

from idse.codecs import jpeg
from idse.learned.jpeg import control_rate, control_training, sampling, windows
from idse.learned.jpeg.control_network import ControlNetwork
from idse.learned.jpeg.examples import SAMPLINGS, Example, load, save
from idse.learned.jpeg.judged import Judged
from idse.vision import FeatureExtractor

pytestmark = pytest.mark.fast


def example(seed=0, size=(160, 128), sampling="4:2:0"):
    """A picture of which networks see low frequencies best, the second less of colour."""
    pixels = photo(*size, seed=seed)
    layout = jpeg.JpegLayout(*size, sampling)
    coefficients = jpeg.transform(pixels, layout)
    rng = np.random.default_rng(seed)
    falling = 1 / (1 + np.hypot(*np.mgrid[:8, :8])) ** 2
    weights = {}
    for name, colour in (("first", 0.5), ("second", 0.1)):
        planes = []
        for component, plane in enumerate(coefficients):
            noise = np.exp(rng.normal(0, 0.5, plane.shape))
            planes.append((falling * noise * (colour if component else 1)).astype(np.float32))
        weights[name] = planes
    return Example(pixels, coefficients, weights, sampling)


class Means(torch.nn.Module):
    """Sees means of 8x8 samples."""

    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, 8)


@pytest.mark.parametrize("form", SAMPLINGS)
def test_examples_are_read_as_they_were_written(tmp_path, form):
    made = example(sampling=form)
    save(tmp_path / "one.npz", made)
    read = load(tmp_path / "one.npz")
    assert read.layout == made.layout
    np.testing.assert_array_equal(read.pixels, made.pixels)
    for name, planes in made.weights.items():
        for one, two in zip(planes, read.weights[name], strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-3)
    for one, two in zip(made.coefficients, read.coefficients, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("form", SAMPLINGS)
def test_windows_are_aligned_parts(form):
    made = example(size=(400, 300), sampling=form)
    part = windows.window(made, ("first", "second"), np.random.default_rng(3))
    assert (part.layout.width, part.layout.height) == (320, 304)
    assert part.layout.sampling == form
    assert part.description.pixels == 320 * 304
    assert part.description.area == 400 * 300
    for component in range(3):
        plane, source = part.coefficients[component], made.coefficients[component]
        assert plane.shape[1:3] == part.layout.block_shape(component)
        first = plane[0, 0, 0].numpy()
        places = np.argwhere((source == first).all((2, 3)))
        assert len(places) >= 1
    assert part.ideal.mean(1).abs().max() < 1e-5
    # Low frequencies matter most: their steps are the finest.
    ideal = part.ideal.reshape(2, 2, 8, 8)
    assert (ideal[:, 0, 0, 1] < ideal[:, 0, 6, 6]).all()


def test_slopes_lead_to_less_cost_at_the_same_size():
    heads = ("first", "second")
    parts = [windows.window(example(seed), heads, np.random.default_rng(seed)) for seed in range(3)]
    weights, error = windows.fit_rate(parts, seed=0, tables_each=12)
    assert error < 0.1
    part = parts[0]
    size = windows.size_of(0.8, part)
    shape = torch.zeros(128)
    slope = control_training.slopes(part, 0, shape, size, weights)
    assert abs(float(slope.sum())) < 1e-3 * float(slope.abs().sum())
    better = shape - 0.3 * slope / slope.abs().max()
    before = windows.cost_at(part, 0, shape, size)
    assert windows.cost_at(part, 0, better, size) < before - 0.01


def test_a_step_moves_the_network_where_slopes_lead():
    heads = ("first", "second")
    parts = [windows.window(example(seed), heads, np.random.default_rng(seed)) for seed in range(6)]
    torch.manual_seed(0)
    network = ControlNetwork(heads)
    control_training.bootstrap(network, parts)
    network.rate.copy_(windows.fit_rate(parts, seed=0)[0])
    sizes = [windows.size_of(0.8, part) for part in parts]
    with torch.no_grad():
        network.base.zero_()
    optimiser = torch.optim.Adam([network.base], 0.05)
    costs = []
    for _ in range(5):
        with torch.no_grad():
            shapes = network([part.description for part in parts], sizes)
        costs.append(
            np.mean(
                [
                    windows.cost_at(part, 0, shape[0], size)
                    for part, shape, size in zip(parts, shapes, sizes, strict=True)
                ]
            )
        )
        optimiser.zero_grad()
        control_training.step_loss(network, parts, sizes, [0, 1] * 3, [None] * 6).backward()
        optimiser.step()
    assert costs[-1] < costs[0] - 0.02


def test_lessons_are_better_than_what_is_shared_and_learned():
    heads = ("first", "second")
    parts = [
        windows.window(example(seed, (96, 64)), heads, np.random.default_rng(seed))
        for seed in range(8)
    ]
    torch.manual_seed(0)
    network = ControlNetwork(heads)
    control_training.bootstrap(network, parts)
    network.rate.copy_(windows.fit_rate(parts, seed=0)[0])
    lessons = []
    for index, part in enumerate(parts * 2):
        size, head = windows.size_of(1.0 + index / 8, part), index % 2
        with torch.no_grad():
            shape = network.shared([part.description], [size])[0, head]
        wanted = control_training.optimised(part, head, shape, size, network.rate)
        assert abs(float(wanted.mean())) < 1e-5
        before, after = (windows.cost_at(part, head, x, size) for x in (shape, shape + wanted))
        assert after < before - 0.01
        lessons.append(control_training.Lesson(part.description, size, head, wanted))
    centre = network.base.detach().clone()
    errors = [float(control_training.imitation(network, lessons, centre).detach())]
    control_training.take_over(network, lessons)
    errors.append(float(control_training.imitation(network, lessons, centre).detach()))
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(20):
        optimiser.zero_grad()
        control_training.imitation(network, lessons, centre).backward()
        optimiser.step()
    errors.append(float(control_training.imitation(network, lessons, centre).detach()))
    assert errors[0] > errors[1] > errors[2]


def test_the_curriculum_widens_within_reach():
    rng = np.random.default_rng(0)
    part = windows.window(example(), ("first", "second"))
    weights = windows.fit_rate([part], seed=0)[0]
    early, late = (
        np.log2(control_training.curriculum(progress, [part] * 64, weights, rng))
        for progress in (0.0, 1.0)
    )
    assert np.ptp(late) > 2 * np.ptp(early)
    ones = np.ones((2, 64))
    finest = control_rate.file_bytes(part.description, ones, weights.numpy())
    assert 2 ** late.max() < finest
    # One of each bin, but for those out of reach.
    below = np.sort(late)[: np.count_nonzero(late < late.max() - 0.01)]
    assert np.diff(below).max() < 0.3


def test_the_change_of_sampling_is_where_it_gains_most():
    rates = np.array([0.0, 1.0, 2.0, 3.0])
    gains = np.array([[0.5, 0.2, -0.4, -1.0], [0.3, -0.1, 0.1, np.nan]])
    assert sampling.begins(gains, rates) == 1.5
    assert sampling.begins(np.abs(gains), rates) == 4.0
    assert sampling.begins(-np.abs(gains), rates) == -1.0
    # What no picture told of is left as it is.
    assert sampling.begins(np.array([[0.5, 0.2, np.nan, np.nan]]), rates) == 4.0
    # One picture that networks see nothing of does not outweigh all others.
    gains[0, 0] = -50.0
    assert sampling.begins(np.vstack([gains, [[3.5, 0, 0, 0]] * 2]), rates) == 1.5


def test_distances_fall_with_size_in_each_sampling():
    network = FeatureExtractor(Means(), size=(64, 96))
    for name in SAMPLINGS:
        made = example(size=(96, 64), sampling=name)
        part, seen = windows.window(made, ("first",)), Judged(made, network)
        small, large = (
            sampling.log_distance(part, torch.zeros(128), size, seen) for size in (800, 2400)
        )
        assert large < small
        assert windows.finest(part) > 2400


def test_a_network_judges_what_a_file_makes_of_a_picture():
    made = example(size=(96, 64))
    network = FeatureExtractor(Means(), size=(64, 96))
    seen = Judged(made, network)
    planes = [torch.from_numpy(plane)[None] for plane in made.coefficients]
    table = torch.full((8, 8), 60.0)
    coarse = [(table * (plane / table).round()).requires_grad_() for plane in planes]
    distance = seen.distance(coarse)
    assert 50 * float(seen.distance(planes)) < float(distance.detach())
    data = jpeg.encode(made.pixels, tables=[table.numpy().astype(np.uint16)] * 3)
    real, source = (
        network.features(network.from_rgb(np.ascontiguousarray(p)))
        for p in (jpeg.decode(data), made.pixels)
    )
    wanted = float((real - source).square().sum())
    assert float(distance.detach()) == pytest.approx(wanted, rel=0.05)
    # It sees DC, and next to nothing of the highest frequency.
    distance.backward()
    slope = coarse[0].grad.abs().mean((0, 1, 2))
    assert slope[0, 0] > 20 * slope[7, 7]


def test_what_a_network_sees_is_part_of_slopes():
    heads = ("first", "second")
    made = example(size=(96, 64))
    part = windows.window(made, heads)
    weights = windows.fit_rate([part], seed=0)[0]
    seen = Judged(made, FeatureExtractor(Means(), size=(64, 96)))
    asked = (part, 0, torch.zeros(128), windows.size_of(1.0, part), weights)
    slope = control_training.slopes(*asked, judged=seen)
    assert torch.isfinite(slope).all()
    assert not torch.equal(slope, control_training.slopes(*asked))
