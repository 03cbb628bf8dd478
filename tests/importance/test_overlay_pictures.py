"""Pictures of maps."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from idse.errors import InputError, OutputError
from idse.importance.overlay import (
    blend,
    heat,
    label_bar,
    overlay,
    panel,
    save_png,
    side_by_side,
    upscale,
    weight_panel,
)

pytestmark = pytest.mark.fast


def lightness(rgb):
    """CIE L* of sRGB."""
    linear = np.where(rgb <= 0.04045 * 255, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


def test_equal_steps_of_the_scale_look_equal():
    light = lightness(heat(np.linspace(0, 1, 65), 0, 1).astype(np.float64))
    steps = np.diff(light)
    assert steps.min() > 0.5
    assert steps.max() < 2.6
    assert light[-1] - light[0] > 90


def test_heat_clips_and_marks_what_is_unknown():
    colours = heat(np.array([[-5.0, 0, 1], [9, np.nan, -np.inf]]), 0, 1)
    assert colours.shape == (2, 3, 3)
    assert colours.dtype == np.uint8
    np.testing.assert_array_equal(colours[0, 0], colours[0, 1])
    np.testing.assert_array_equal(colours[0, 0], colours[1, 2])
    np.testing.assert_array_equal(colours[0, 2], colours[1, 0])
    scale = heat(np.linspace(0, 1, 256), 0, 1).astype(int)
    assert np.abs(scale - colours[1, 1]).sum(1).min() > 60  # NaN looks like no value at all
    for lo, hi in ((1, 1), (2, 1), (0, np.inf), (np.nan, 1)):
        with pytest.raises(InputError, match="colour scale"):
            heat(np.zeros(3), lo, hi)


def test_upscale_cuts_at_the_picture():
    blocks = np.arange(6).reshape(2, 3)
    full = upscale(blocks, 33, 17)
    assert full.shape == (17, 33)
    assert full[15, 31] == 1
    assert full[16, 32] == 5
    assert upscale(np.zeros((2, 3, 3)), 48, 20).shape == (20, 48, 3)


def test_blend_shows_the_grey_picture_through():
    rgb = np.full((2, 2, 3), (255, 0, 0), np.uint8)
    colours = np.full((2, 2, 3), (0, 0, 200), np.uint8)
    np.testing.assert_array_equal(blend(rgb, colours, 0)[0, 0], [76, 76, 76])
    np.testing.assert_array_equal(blend(rgb, colours, 1)[0, 0], [0, 0, 200])


def test_important_macroblocks_are_the_brightest():
    weight = np.full((6, 8), 1e-6, np.float32)
    weight[2, 5] = 1e-3
    image = np.asarray(weight_panel(np.full((90, 120, 3), 128, np.uint8), weight, "x"))
    light = lightness(image[:90].astype(np.float64))
    inside = light[32:48, 80:96].copy()
    light[32:48, 80:96] = 0
    assert inside.min() > light.max() + 20


@pytest.mark.parametrize("value", [0.0, 1e-30, 1.0, 1e30])
def test_flat_maps_can_be_drawn(value):
    weight = np.full((2, 3), value, np.float32)
    assert overlay(np.zeros((20, 40, 3), np.uint8), weight).width == 2 * 40 + 8


def test_panels_keep_the_picture_and_add_a_label():
    rgb = np.random.default_rng(0).integers(0, 256, (50, 300, 3), dtype=np.uint8)
    image = panel(rgb, "source", "1", "51")
    assert image.width == 300
    np.testing.assert_array_equal(np.asarray(image)[:50], rgb)
    row = side_by_side([image, panel(rgb[:20, :100], "")])
    assert row.size == (408, image.height)
    np.testing.assert_array_equal(np.asarray(row)[:20, 308:], rgb[:20, :100])


def test_long_captions_are_shortened_before_the_scale():
    plain, long = (np.asarray(label_bar(400, text, "lo", "hi")) for text in ("", "a caption " * 40))
    np.testing.assert_array_equal(plain[:, 270:], long[:, 270:])
    assert (plain[:, :200] != long[:, :200]).any()
    assert label_bar(20, "text", "lo", "hi").width == 20


def test_png_is_written_whole_or_not_at_all(tmp_path):
    image = Image.new("RGB", (5, 4), (1, 2, 3))
    save_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as back:
        np.testing.assert_array_equal(np.asarray(back), np.asarray(image))
    with pytest.raises(OutputError, match="cannot write"):
        save_png(tmp_path / "no" / "a.png", image)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_people_light_up(shared, yolo):
    """Boxes of people weigh more than the rest, on a street scene with three of them."""
    import av

    from idse.importance import Analyser
    from idse.pipeline.frames import picture

    with av.open(str(shared / "video" / "vtest.avi")) as container:
        source = picture(next(container.decode(video=0)), 0)
    weight = Analyser([(yolo, 1)]).analyse(source).weight()
    inside = np.zeros(weight.shape, bool)
    people = yolo.detect([source])[0]
    assert len(people) >= 3
    for x0, y0, x1, y1 in people.boxes / 16:
        inside[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
    assert inside.mean() < 0.2
    assert np.median(weight[inside]) > 8 * np.median(weight[~inside])
