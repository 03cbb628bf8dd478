"""A head of all teachers together: the geometric mean of what they say, by kind of picture."""

import numpy as np
import pytest
import torch

from idse.learned.student.distil import settle
from idse.learned.student.examples import STRIDE, Raw, Unit, examples
from idse.learned.student.network import StudentNetwork, student_program
from idse.learned.student.teacher import LAGS, Lesson
from idse.picture import PictureFormat

pytestmark = pytest.mark.fast

TEACHERS = [
    {"size": [128, 128], "fit": "letterbox", "stride": 32},
    {"size": [96, 96], "fit": "stretch", "stride": None},
]
MIXTURE = {"scenes": (3.0, 1.0), "things": (0.0, 1.0)}
FORMS = [PictureFormat(width=160, height=96), PictureFormat(width=96, height=160)]


def units():
    lags = np.zeros((3, 2 * LAGS + 1, 2 * LAGS + 1), np.float32)
    lags[:, LAGS, LAGS] = 1
    return [Unit(lags, teacher) for teacher in TEACHERS]


def pictures():
    random = np.random.default_rng(0)
    made = []
    for k in range(6):
        form = FORMS[k % 2]
        shape = -(-form.height // 4), -(-form.width // 4)
        lessons = tuple(
            Lesson(random.normal(k, 1, shape).astype(np.float32), np.zeros((3, 1, 1), np.float32))
            for _ in TEACHERS
        )
        planes = np.zeros((3, form.height, form.width), np.float32)
        group = "things" if k < 3 else "scenes"
        made.append(Raw(planes, form, lessons, group, k == 5, weight=2.0 + k))
    return made


def test_the_mixture_is_the_geometric_mean_in_the_first_ones_unit():
    means = [2.0, 5.0]
    plain, mixed = (examples(pictures(), units(), means, given) for given in (None, MIXTURE))
    for before, after, item in zip(plain, mixed, pictures(), strict=True):
        np.testing.assert_array_equal(after.target[:2], before.target)
        first, second = (unit.level(item.form) for unit in units())
        absolute = before.target + np.log([[[first]], [[second]]])
        share = MIXTURE[item.group][0] / sum(MIXTURE[item.group])
        expected = share * absolute[0] + (1 - share) * absolute[1] - np.log(first)
        np.testing.assert_allclose(after.target[2], expected, atol=1e-4)
        assert after.blocks.shape == (3, *before.blocks.shape[1:])
        assert after.target.shape[1:] == tuple(n // STRIDE for n in item.planes.shape[1:])


def test_pictures_are_set_beside_what_is_learned_of_their_group():
    found = examples(pictures(), units(), [1.0, 1.0])
    things = [np.exp(item.target).mean((1, 2)) for item in found[:3]]
    for item in found[:3]:
        np.testing.assert_allclose(item.level, np.log(np.mean(things, 0)), rtol=1e-5)
    scenes = [np.exp(item.target).mean((1, 2)) for item in found[3:5]]  # the last one is held
    for item in found[3:]:
        np.testing.assert_allclose(item.level, np.log(np.mean(scenes, 0)), rtol=1e-5)
    assert [item.weight for item in found] == [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


def test_levels_are_learned_in_part():
    whole, half = (examples(pictures(), units(), [1.0, 1.0], levels=n) for n in (1.0, 0.5))
    for before, after in zip(whole, half, strict=True):
        own, learned = (np.log(np.exp(item.target).mean((1, 2))) for item in (before, after))
        np.testing.assert_allclose(learned, (own + before.level) / 2, rtol=1e-4)
        # Where in a picture it matters, and what is judged by, stay.
        moved = (after.target - before.target).reshape(2, -1)
        np.testing.assert_allclose(moved, moved[:, :1].repeat(moved.shape[1], 1), atol=1e-5)
        np.testing.assert_array_equal(after.blocks, before.blocks)
        np.testing.assert_array_equal(after.level, before.level)


def test_the_last_head_settles_on_a_mean_of_all():
    network = StudentNetwork(*student_program(3), normalised=True).eval()
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = network(x)[0]
    settle(network, (1.0, 0.0, 3.0))
    with torch.inference_mode():
        after = network(x)[0]
    torch.testing.assert_close(after[:2], before[:2])
    torch.testing.assert_close(after[2], 0.25 * before[0] + 0.75 * before[2])
