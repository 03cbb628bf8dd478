"""Shares of the features' distance per block, against finite differences and their sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from idse.errors import InputError, ModelError
from idse.importance.shares import squared_error, weights
from idse.importance.true_error import TrueErrorMeter
from idse.picture import Picture, PictureFormat
from idse.vision import FeatureExtractor

pytestmark = pytest.mark.fast


def network(*, bend=True, size=(24, 32)):
    torch.manual_seed(4)
    layers = [nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Tanh() if bend else nn.Identity()]
    return FeatureExtractor(
        nn.Sequential(*layers, nn.Flatten()), size=size, mean=(0.45,) * 3, std=(0.25,) * 3
    )


def picture(seed, **kwargs):
    form = PictureFormat(**{"width": 61, "height": 45, **kwargs})
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if form.bit_depth == 8 else np.uint16
    top = 2**form.bit_depth
    planes = tuple(
        rng.integers(top // 4, top * 3 // 4, shape).astype(dtype) for shape in form.plane_shapes
    )
    return Picture(planes=planes, format=form)


def disturbed(source, seed, strength=12, *, where=slice(None), planes=(0, 1, 2)):
    rng = np.random.default_rng(seed)
    out = []
    for index, plane in enumerate(source.planes):
        moved = plane.astype(np.int32)
        if index in planes:
            noise = rng.integers(-strength, strength + 1, plane.shape)
            moved[where] += noise[where]
        out.append(moved.astype(plane.dtype))
    return Picture(planes=tuple(out), format=source.format)


FORMATS = [
    {},
    {"pix_fmt": "yuv444p", "matrix": "bt709", "full_range": True},
    {"pix_fmt": "yuv420p10le"},
    {"rotation": 90},
]


@pytest.mark.parametrize("form", FORMATS, ids=str)
@pytest.mark.parametrize("block", [16, 8, 4])
def test_shares_add_up_to_the_distance(form, block):
    source = picture(1, **form)
    decoded = disturbed(source, 2, 12 if "10le" not in form.get("pix_fmt", "") else 48)
    meter = TrueErrorMeter([network()])
    found = meter.measure(meter.view(source), decoded, block=block)
    assert found.distance[0] > 0.1
    assert found.share.sum() == pytest.approx(found.distance[0], rel=0.01)
    rows, cols = -(-45 // block), -(-61 // block)
    assert found.share.shape == (1, rows, cols)
    total = sum(
        np.square(a.astype(float) - b).sum()
        for a, b in zip(source.planes, decoded.planes, strict=True)
    )
    assert found.squared_error.sum() == pytest.approx(total)
    np.testing.assert_array_equal(squared_error(source, decoded, block=block), found.squared_error)


def test_one_gradient_is_exact_for_a_linear_network_and_one_at_the_end_would_count_twice():
    source = picture(1)
    meter = TrueErrorMeter([network(bend=False)], points=1)
    found = meter.measure(meter.view(source), disturbed(source, 2))
    assert found.share.sum() == pytest.approx(found.distance[0], rel=1e-4)


@pytest.mark.parametrize("planes", [(0,), (1,), (2,)], ids=["y", "cb", "cr"])
def test_only_blocks_with_an_error_have_a_share(planes):
    source = picture(1)
    where = np.s_[16:32, 32:48] if planes == (0,) else np.s_[8:16, 16:24]
    decoded = disturbed(source, 2, where=where, planes=planes)
    meter = TrueErrorMeter([network()])
    found = meter.measure(meter.view(source), decoded)
    others = np.ones(found.squared_error.shape, bool)
    others[1, 2] = False
    assert found.squared_error[1, 2] > 0
    assert found.share[0, 1, 2] == pytest.approx(found.distance[0], rel=0.01)
    assert not found.squared_error[others].any()
    assert not found.share[0][others].any()


def test_several_networks_are_measured_apart_and_distance_alone_agrees():
    source, first, second = picture(1), network(), network(bend=False, size=(16, 16))
    decoded = disturbed(source, 2)
    both = TrueErrorMeter([first, second])
    found = both.measure(both.view(source), decoded)
    for k, each in enumerate([first, second]):
        alone = TrueErrorMeter([each])
        expected = alone.measure(alone.view(source), decoded)
        np.testing.assert_array_equal(found.share[k], expected.share[0])
    np.testing.assert_allclose(both.distance(both.view(source), decoded), found.distance, rtol=1e-4)


def test_measures_where_the_caller_has_switched_gradients_off():
    source = picture(1)
    meter = TrueErrorMeter([network()])
    with torch.inference_mode():
        found = meter.measure(meter.view(source), disturbed(source, 2))
    assert found.share.any()


def test_an_undamaged_picture_has_no_shares_and_neutral_weights():
    source = picture(1)
    meter = TrueErrorMeter([network()])
    found = meter.measure(meter.view(source), source)
    assert not found.share.any()
    assert (weights(found.share, found.squared_error[None]) == 1).all()


def test_weights_are_positive_and_take_over_what_neighbours_say_where_there_is_no_error():
    share, error = np.zeros((5, 7)), np.full((5, 7), 1000.0)
    share[:, :3] = 8000.0
    share[:, 5] = -100.0
    error[2, 1] = share[2, 1] = 0  # a block without any error, in the middle of what matters
    found = weights(share, error)
    assert found.dtype == np.float32
    assert (found > 0).all()
    assert found[2, 1] > 0.8 * found[0, 1] > 10 * found[2, 6]


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("no more")


class Blind(nn.Module):
    def forward(self, x):
        return x.detach() * 2


def test_bad_input_and_failing_networks_are_named():
    source = picture(1)
    with pytest.raises(InputError, match="points 7"):
        TrueErrorMeter([network()], points=7)
    with pytest.raises(InputError, match="at least one network"):
        TrueErrorMeter([])
    meter = TrueErrorMeter([network()])
    with pytest.raises(InputError, match="30x45"):
        meter.measure(meter.view(source), picture(2, width=30))
    with pytest.raises(InputError, match="block 5"):
        meter.measure(meter.view(source), source, block=5)
    with pytest.raises(ModelError, match="no more"):
        TrueErrorMeter([FeatureExtractor(Failing(), size=(8, 8), name="broken")]).view(source)
    blind = TrueErrorMeter([FeatureExtractor(Blind(), size=(8, 8), name="blind")])
    with pytest.raises(ModelError, match="blind on frame 0 has no gradient"):
        blind.measure(blind.view(source), disturbed(source, 2))
