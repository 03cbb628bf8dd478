"""JPEG control: what it sees, how it tells sizes, the network in numpy and in torch."""

import numpy as np
import pytest
import torch
from jpeg_photos import photo
from safetensors.numpy import save_file

from idse.codecs import jpeg
from idse.errors import InputError, ModelError
from idse.learned.jpeg import condition, control_rate, description
from idse.learned.jpeg.control import Control, shipped
from idse.learned.jpeg.control_network import ControlNetwork, save_control

pytestmark = pytest.mark.fast


def described(pixels, form="4:2:0"):
    layout = jpeg.JpegLayout(pixels.shape[1], pixels.shape[0], form)
    return description.describe(jpeg.transform(pixels, layout), layout)


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


def test_what_pictures_share_depends_on_their_size_alone(control):
    read = control[1]
    one, two = (described(photo(120, 90, seed)) for seed in (0, 1))
    np.testing.assert_array_equal(read.shared(one, 900), read.shared(two, 900))
    assert not np.array_equal(read.shape(one, 900), read.shape(two, 900))
    assert not np.array_equal(read.shared(one, 900), read.shared(one, 1900))
