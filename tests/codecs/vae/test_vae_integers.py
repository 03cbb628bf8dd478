"""Networks of whole numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from idse.codecs.vae import IntegerLayer, IntegerNetwork
from idse.codecs.vae.integers import FRACTION, MAX_ACTIVATION, MAX_INPUT
from idse.errors import ModelError
from idse.learned.vae.export import integer_layer

pytestmark = pytest.mark.fast


def layer(weight, bias=None, shift=0, **options):
    weight = np.asarray(weight, np.int16)
    bias = np.zeros(len(weight), np.int64) if bias is None else np.asarray(bias, np.int64)
    shifts = np.full(len(weight), shift, np.uint8)
    return IntegerLayer(
        weight=weight, bias=bias, shift=shifts, **({"shuffle": 1, "relu": False} | options)
    )


def random_layers(rng, channels=(3, 5, 4), shuffles=(2, 2, 1)):
    layers = []
    for inputs, outputs, shuffle in zip((2, *channels), channels, shuffles, strict=False):
        shape = outputs * shuffle**2, inputs, 3, 3
        weight = rng.integers(-(1 << 15), 1 << 15, shape)
        bias = rng.integers(-(1 << 40), 1 << 40, shape[0])
        shift = 12 if not layers else 17
        layers.append(layer(weight, bias, shift, shuffle=shuffle, relu=shuffle == 2))
    return layers


def by_the_book(layers, x):
    """The same on Python's integers."""
    x = x.astype(object)
    for each in layers:
        k = each.weight.shape[2]
        padded = np.pad(x, [(0, 0), (k // 2,) * 2, (k // 2,) * 2], constant_values=0)
        height, width = x.shape[1:]
        out = np.zeros((len(each.weight), height, width), object)
        weight = each.weight.astype(object)
        for o, i, a, b in np.ndindex(*weight.shape):
            out[o] += weight[o, i, a, b] * padded[i, a : a + height, b : b + width]
        for o in range(len(out)):
            shift = int(each.shift[o])
            half = 1 << shift >> 1
            out[o] = (out[o] + int(each.bias[o]) + half) >> shift
        out = np.clip(out, 0 if each.relu else -MAX_ACTIVATION, MAX_ACTIVATION)
        s = each.shuffle
        grid = out.reshape(-1, s, s, height, width).transpose(0, 3, 1, 4, 2)
        x = grid.reshape(-1, height * s, width * s)
    return x


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 4))
def test_it_is_exact_whatever_the_weights(seed, height, width):
    rng = np.random.default_rng(seed)
    layers = random_layers(rng)
    z = rng.integers(-MAX_INPUT, MAX_INPUT + 1, (2, height, width)).astype(np.int32)
    ours = IntegerNetwork(layers).run(z, 0, height)
    assert np.array_equal(ours, by_the_book(layers, z).astype(np.int64))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(2, 12), st.data())
def test_a_band_is_that_part_of_the_whole(seed, rows, data):
    network = IntegerNetwork(random_layers(np.random.default_rng(seed)))
    z = np.random.default_rng(seed).integers(-9, 9, (2, rows, 3)).astype(np.int32)
    start = data.draw(st.integers(0, rows - 1))
    end = data.draw(st.integers(start + 1, rows))
    whole = network.run(z, 0, rows)
    assert np.array_equal(network.run(z, start, end), whole[:, 4 * start : 4 * end])


def test_the_order_of_channels_does_not_matter():
    rng = np.random.default_rng(5)
    first = layer(rng.integers(-(1 << 15), 1 << 15, (4, 300, 3, 3)), shift=20)
    order = rng.permutation(300)
    second = layer(first.weight[:, order], shift=20)
    z = rng.integers(-MAX_INPUT, MAX_INPUT, (300, 6, 7)).astype(np.int32)
    a = IntegerNetwork([first]).run(z, 0, 6)
    assert np.array_equal(a, IntegerNetwork([second]).run(z[order], 0, 6))


def test_inputs_are_clipped():
    network = IntegerNetwork([layer(np.ones((1, 1, 1, 1)))])
    z = np.array([[[1 << 20, -(1 << 20)]]], np.int32)
    assert network.run(z, 0, 1).tolist() == [[[MAX_INPUT, -MAX_INPUT]]]


def test_sums_that_could_be_inexact_are_refused():
    wide = layer(np.full((1, 1 << 15, 1, 1), -(1 << 15)), shift=30)
    IntegerNetwork([wide])
    first = layer(np.ones((1 << 15, 1, 1, 1)))
    with pytest.raises(ModelError, match=r"2\^53"):
        IntegerNetwork([first, wide])
    with pytest.raises(ModelError, match=r"2\^53"):
        IntegerNetwork([layer(np.ones((1, 1, 1, 1)), bias=[-(1 << 53)])])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "at least one"),
        ([layer(np.ones((1, 1, 2, 2)))], "contradicts"),
        ([layer(np.ones((3, 1, 1, 1)), shuffle=2)], "contradicts"),
        ([layer(np.ones((1, 1, 1, 1)), shift=60)], "divides"),
        ([layer(np.ones((2, 1, 1, 1))), layer(np.ones((1, 3, 1, 1)))], "follows"),
    ],
)
def test_impossible_layers_are_refused(layers, message):
    with pytest.raises(ModelError, match=message):
        IntegerNetwork(layers)


@pytest.mark.parametrize("transposed", [False, True])
def test_integers_come_near_the_floats_that_they_stand_for(transposed):
    torch.manual_seed(0)
    if transposed:
        module = nn.ConvTranspose2d(8, 6, 5, stride=2, padding=2, output_padding=1)
    else:
        module = nn.Conv2d(8, 6, 3, padding=1)
    z = torch.randint(-20, 21, (1, 8, 7, 5))
    with torch.no_grad():
        wanted = torch.relu(module(z.float()))[0].numpy()
    whole = integer_layer(module, relu=True, limit=MAX_INPUT, fraction=0)
    ours = IntegerNetwork([whole]).run(z[0].int().numpy(), 0, 7) / (1 << FRACTION)
    np.testing.assert_allclose(ours, wanted, atol=1e-2)


def test_weights_without_an_integer_form_are_refused():
    options = {"relu": False, "limit": MAX_INPUT, "fraction": 0}
    with pytest.raises(ModelError, match="no integer form"):
        integer_layer(nn.Conv2d(1, 1, 3, stride=2), **options)
    with pytest.raises(ModelError, match="no integer form"):
        integer_layer(nn.ConvTranspose2d(1, 1, 3, stride=2), **options)
    huge = nn.Conv2d(1, 1, 3)
    nn.init.constant_(huge.weight, 1e6)
    with pytest.raises(ModelError, match="too large"):
        integer_layer(huge, **options)
