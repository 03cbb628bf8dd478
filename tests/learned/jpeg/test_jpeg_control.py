"""JPEG control: what it sees, how it tells sizes, the network in numpy and in torch."""

import numpy as np
import pytest
import torch
from jpeg_photos import photo
from safetensors.numpy import save_file

from idse.codecs import jpeg
from idse.errors import InputError, ModelError
from idse.learned.jpeg import (
    condition,
    control_rate,
    control_training,
    description,
    sampling,
    windows,
)
from idse.learned.jpeg.control import Control, shipped
from idse.learned.jpeg.control_network import ControlNetwork, save_control
from idse.learned.jpeg.examples import SAMPLINGS, Example, load, save
from idse.learned.jpeg.judged import Judged
from idse.vision import FeatureExtractor

pytestmark = pytest.mark.fast


def described(pixels, form="4:2:0"):
    layout = jpeg.JpegLayout(pixels.shape[1], pixels.shape[0], form)
    return description.describe(jpeg.transform(pixels, layout), layout)


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


def real_size(pixels, tables):
    return len(jpeg.encode(pixels, tables=[tables[0], tables[1], tables[1]]))


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    torch.manual_seed(1)
    network = ControlNetwork(("first", "second"))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    network.finer.copy_(torch.tensor([[1.0, 3.0], [2.0, -1.0]]))
    path = tmp_path_factory.mktemp("control") / "control.safetensors"
    save_control(path, network, {"seed": 1})
    return network, Control(path), path


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (200, 120)])
def test_tails_are_shares_of_coefficients(size):
    pixels = photo(*size)
    layout = jpeg.JpegLayout(*size)
    planes = jpeg.transform(pixels, layout)
    found = described(pixels)
    assert found.tails.shape == (2, 64, description.EDGES)
    assert found.maps.shape == (description.MAPS, description.CELLS, description.CELLS)
    assert found.blocks == (planes[0][..., 0, 0].size, 2 * planes[1][..., 0, 0].size)
    edges = description.edges()
    chroma = np.concatenate([plane.reshape(-1, 64) for plane in planes[1:]])
    for group, blocks in ((0, planes[0].reshape(-1, 64)), (1, chroma)):
        for frequency in (1, 9, 63):
            for edge in (0, 17, 40):
                wanted = np.mean(np.abs(blocks[:, frequency]) >= edges[edge])
                assert found.tails[group, frequency, edge] == pytest.approx(wanted, abs=1e-6)


def test_positions_are_those_of_edges():
    edges = description.edges()[:-1]
    np.testing.assert_allclose(description.position(edges), np.arange(description.EDGES))
    between = description.position(np.array([1e-9, (edges[7] + edges[8]) / 2, 1e9]))
    np.testing.assert_allclose(between, [0, 7.5, description.EDGES - 1])


def test_maps_show_where_things_are():
    pixels = np.full((256, 256, 3), 128, np.uint8)
    pixels[:, 128:] = 200
    pixels[:128, :128] = np.random.default_rng(0).integers(0, 255, (128, 128, 3))
    maps = described(pixels).maps
    assert maps[0, 12, 12] > maps[0, 12, 3]
    assert maps[5, 3, 3] > 3 * maps[5, 12, 12] + 0.1


def test_large_pictures_are_described_from_some_rows():
    tile = photo(512, 256)
    whole, some = described(tile), described(np.tile(tile, (6, 3, 1)))
    np.testing.assert_allclose(whole.tails, some.tails, atol=0.06)


def test_grey_pictures_are_refused():
    layout = jpeg.JpegLayout(16, 16, "grey")
    with pytest.raises(InputError, match="needs a picture with colours"):
        description.describe(jpeg.transform(np.zeros((16, 16), np.uint8), layout), layout)


def test_sizes_are_about_libjpegs():
    weights = shipped()._weights["rate"]
    for seed in range(3):
        pixels = photo(224, 224, seed)
        found = described(pixels)
        for quality in (10, 40, 75, 90):
            tables = np.stack([jpeg.standard_table(quality, chroma=c) for c in (False, True)])
            told = control_rate.file_bytes(found, tables.reshape(2, 64).astype(float), weights)
            assert told == pytest.approx(real_size(pixels, tables), rel=0.3)
            assert told > control_rate.file_bytes(found, 1.3 * tables.reshape(2, 64), weights)


def test_the_scale_is_that_of_the_size():
    weights = shipped()._weights["rate"]
    found = described(photo(224, 224))
    shape = np.random.default_rng(0).normal(0, 0.5, (2, 64))
    for size in (4000, 9000, 15000):
        scale = control_rate.scale_for(found, shape, size, weights)
        steps = np.clip(np.exp2(shape + scale), 1, 255)
        assert control_rate.file_bytes(found, steps, weights) == pytest.approx(size, rel=0.01)


def test_numpy_says_what_torch_does(control):
    network, read, _ = control
    assert read.heads == ("first", "second")
    for seed, size, form in ((0, 5000.0, "4:2:0"), (1, 300.0, "4:4:4"), (0, 900.0, "4:2:2")):
        found = described(photo(150 + 40 * seed, 90, seed), form)
        with torch.no_grad():
            wanted = network([found], [size])[0].numpy()
        for head, name in enumerate(read.heads):
            mine = read.shape(found, size, head=name).ravel()
            np.testing.assert_allclose(mine, wanted[head], atol=1e-4)
        blend = read.shape(found, size).ravel()
        np.testing.assert_allclose(blend, wanted.mean(0), atol=1e-4)


def test_shipped_tables_come_near_a_size():
    for seed in range(3):
        pixels = photo(224, 224, seed)
        found = described(pixels)
        before = None
        for size in (4000, 8000, 16000):
            tables = shipped().tables(found, size)
            assert tables.shape == (2, 8, 8)
            assert tables.min() >= 1
            assert real_size(pixels, tables) == pytest.approx(size, rel=0.25)
            assert before is None or tables.mean() < before
            before = tables.mean()


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_sizes_out_of_range_are_refused(size):
    with pytest.raises(InputError, match="cannot be asked for"):
        shipped().tables(described(photo(16, 16)), size)


def test_heads_are_named(control):
    with pytest.raises(InputError, match="no head 'third': use 'blend', 'first', 'second'"):
        control[1].tables(described(photo(16, 16)), 500, head="third")


def test_damaged_or_foreign_networks_are_told(tmp_path, control):
    path = tmp_path / "x.safetensors"
    with pytest.raises(ModelError, match="cannot read the control network"):
        Control(path)
    save_file({"base": np.zeros((1, 128), np.float32)}, path, {"format": "other"})
    with pytest.raises(ModelError, match="is of format 'other'"):
        Control(path)
    facts = {"format": "idse-jpeg-control", "version": "1", "heads": "[]", "card": "{}"}
    save_file({"base": np.zeros((1, 128), np.float32)}, path, facts)
    with pytest.raises(ModelError, match="is of version '1' of its format, and this idse reads"):
        Control(path)
    path.write_bytes(control[2].read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot read the control network"):
        Control(path)


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


def test_places_are_between_the_nearest():
    found = described(photo(224, 224))
    for rate in (0.25, 1.0, 8.0, 0.01, 100.0):
        shares = condition.place(found, rate * found.pixels / 8)
        assert shares.shape == (condition.PLACES,)
        assert shares.sum() == pytest.approx(1)
        assert shares.max() == pytest.approx(1)  # a whole power of 2, of a small picture
    between = condition.place(found, 1.4142 * found.pixels / 8)
    np.testing.assert_allclose(np.sort(between)[-2:], [0.5, 0.5], atol=1e-3)


def test_places_are_of_samplings():
    low, middle, fine = (
        condition.place(described(photo(64, 64), form), 512).reshape(-1, 2).sum(0)
        for form in ("4:2:0", "4:2:2", "4:4:4")
    )
    np.testing.assert_array_equal(low, [1, 0])
    np.testing.assert_array_equal(middle, [0.5, 0.5])
    np.testing.assert_array_equal(fine, [0, 1])


def test_sampling_follows_the_rate(control):
    read = control[1]
    crop, photograph = 224 * 224, 640 * 480
    for head, pixels, begins in (
        ("first", crop, 2.0),
        ("second", crop, 4.0),
        ("first", photograph, 8.0),
        ("second", photograph, 0.5),
        ("blend", crop, 2 * 2**0.5),
    ):
        for share, wanted in ((0.99, "4:2:0"), (1.01, "4:4:4")):
            assert read.sampling(pixels, share * begins * pixels / 8, head=head) == wanted
    large = 1920 * 1080
    assert read.sampling(large, large, head="second") == "4:2:0"
    with pytest.raises(InputError, match="cannot be asked for"):
        read.sampling(crop, 0.5)
    with pytest.raises(InputError, match="no head 'third'"):
        read.sampling(crop, 500, head="third")


def test_the_change_of_sampling_is_where_it_gains_most():
    rates = np.array([0.0, 1.0, 2.0, 3.0])
    gains = np.array([[0.5, 0.2, -0.4, -1.0], [0.3, -0.1, 0.1, np.nan]])
    assert sampling.begins(gains, rates) == 1.5
    assert sampling.begins(np.abs(gains), rates) == 4.0
    assert sampling.begins(-np.abs(gains), rates) == -1.0
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


def test_what_pictures_share_depends_on_their_size_alone(control):
    read = control[1]
    one, two = (described(photo(120, 90, seed)) for seed in (0, 1))
    np.testing.assert_array_equal(read.shared(one, 900), read.shared(two, 900))
    assert not np.array_equal(read.shape(one, 900), read.shape(two, 900))
    assert not np.array_equal(read.shared(one, 900), read.shared(one, 1900))


class Means(torch.nn.Module):
    """Sees means of 8x8 samples."""

    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, 8)


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
