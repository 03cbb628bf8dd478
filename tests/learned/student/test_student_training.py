"""Training: what is exported is what was trained, runs repeat, and students do learn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from idse.errors import InputError, ModelError
from idse.learned.student import train as training
from idse.learned.student.engine import Engine
from idse.learned.student.examples import Example, Unit, to_macroblocks
from idse.learned.student.export import exported, folded, resumed
from idse.learned.student.file import read_student, write_student
from idse.learned.student.judge import compare, rank_correlation, steering_gain
from idse.learned.student.network import (
    MEAN,
    STD,
    STILLS,
    STRIDE,
    VIDEO,
    StudentNetwork,
    multiply_adds,
    student_program,
)
from idse.learned.student.train import TrainingPlan, loss, train
from idse.picture import Picture, PictureFormat

pytestmark = pytest.mark.fast

TEACHER = {"size": [64, 64], "fit": "stretch", "stride": None}


def network(heads=2, *, normalised=True, seed=0, kind=VIDEO):
    torch.manual_seed(seed)
    made = StudentNetwork(*student_program(heads, kind), normalised=normalised)
    for norm in made.norms.values():
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
        torch.nn.init.normal_(norm.running_mean, 0, 0.2)
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.2)
    return made.eval()


def examples(count=6, heads=2):
    """Pictures in which what is bright matters."""
    random = np.random.default_rng(0)
    made = []
    for k in range(count):
        coarse = random.normal(0, 1, (3, 4, 4)).astype(np.float32)
        planes = np.kron(coarse, np.ones((1, 16, 16), np.float32))
        target = np.repeat(2 * planes[:1, ::STRIDE, ::STRIDE], heads, 0)
        blocks = target[:, ::4, ::4]
        level = np.zeros(heads, np.float32)
        seen = planes.astype(np.float16)
        made.append(Example(seen, target, blocks, "noise", k == 0, level, 1.0 + k % 2))
    return made


def written(path, made, heads=("a", "b"), **options):
    """Write a network to a file, and read it again."""
    units = [Unit(np.ones((3, 5, 5), np.float32), TEACHER)] * len(heads)
    facts = {"blend": [1] * len(heads), "card": {}} | options
    write_student(path, exported(made, heads=heads, units=units, **facts))
    return read_student(path)


@pytest.mark.parametrize(
    ("kind", "ops", "count", "weights"),
    [(VIDEO, 64, 105e6, 310e3), (STILLS, 80, 135e6, 600e3)],
)
def test_the_built_in_programs_are_small(kind, ops, count, weights):
    program, _ = student_program(4, kind)
    assert len(program) < ops
    assert multiply_adds(program, 128, 224) < count
    assert sum(value.size for value in folded(network(4, kind=kind)).values()) < weights


@pytest.mark.parametrize("kind", [VIDEO, STILLS])
def test_a_file_computes_what_the_network_does(tmp_path, kind):
    made = network(kind=kind)
    path = tmp_path / "a.safetensors"
    student = written(path, made, blend=[1, 2], card={"seed": 3}, area=9216)
    assert student.area == 9216
    assert student.heads == ("a", "b")
    assert student.blend == (1, 2)
    assert student.card == {"seed": 3}
    assert student.teachers == (TEACHER, TEACHER)
    form = PictureFormat(width=128, height=80, pix_fmt="yuv444p")
    random = np.random.default_rng(0)
    planes = tuple(random.integers(16, 240, shape).astype(np.uint8) for shape in form.plane_shapes)
    seen = (np.stack(planes) - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    with torch.inference_mode():
        expected = made(torch.from_numpy(seen.astype(np.float32))[None])[0].permute(1, 2, 0)
    found = Engine(student).run(Picture(planes=planes, format=form))
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("kind", [VIDEO, STILLS])
def test_students_start_from_others(tmp_path, kind):
    made = network(kind=kind)
    other = resumed(written(tmp_path / "a.safetensors", made), ["new", "b"])
    assert other.ops == made.ops
    assert other.output == made.output
    assert not other.norms
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before, after = made(x)[0], other(x)[0]
    torch.testing.assert_close(after[1], before[1], atol=0.02, rtol=0)
    torch.testing.assert_close(after[0], before.mean(0), atol=0.02, rtol=0)
    more = resumed(written(tmp_path / "a.safetensors", made), ["a", "b", "new"])
    with torch.inference_mode():
        torch.testing.assert_close(more(x)[0, :2], before, atol=0.02, rtol=0)


def test_what_is_resumed_is_trained_where_it_was_before(tmp_path):
    made = network(kind=STILLS)
    other = resumed(written(tmp_path / "a.safetensors", made), ["a", "b"])
    trained = [
        {name for name, conv in found.convs.items() if conv.weight.requires_grad}
        for found in (made, other)
    ]
    assert trained[0] == trained[1]
    assert len(other.pretrained) == len(made.pretrained) == 39


def test_only_students_that_make_sense_are_a_start(tmp_path):
    student = written(tmp_path / "a.safetensors", network(1), heads=["a"])
    tensors = dict(student.tensors)
    del tensors["base0.weight"]
    with pytest.raises(ModelError, match="base0"):
        resumed(dataclasses.replace(student, tensors=tensors), ["a"])
    wide = {"base1.weight": np.zeros((31, 3, 3, 1), np.float32)}
    with pytest.raises(ModelError, match="base1"):
        resumed(dataclasses.replace(student, tensors=student.tensors | wide), ["a"])
    with pytest.raises(ModelError, match=r"deviations of \(1, 2, 3\)"):
        resumed(dataclasses.replace(student, std=(1, 2, 3)), ["a"])
    first = dataclasses.replace(student.ops[0], weight="first", bias="bias")
    tensors = student.tensors | {
        "first": student.tensors["base0.weight"],
        "bias": student.tensors["base0.bias"],
    }
    ops = (first, *student.ops[1:])
    with pytest.raises(ModelError, match="called 'first' and 'bias'"):
        resumed(dataclasses.replace(student, ops=ops, tensors=tensors), ["a"])


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_runs_repeat_and_go_on_where_they_were_interrupted(tmp_path, dropout):
    plan = TrainingPlan(steps=5, batch=2, seed=5, dropout=dropout)
    whole, parts = network(), network()
    train(whole, examples(), plan)

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.step == 4:
            raise Stop

    path = tmp_path / "state"
    with pytest.raises(Stop):
        train(parts, examples(), plan, checkpoint=path, every=0, progress=stop)
    resumed = network(seed=9)
    steps = []
    train(resumed, examples(), plan, checkpoint=path, progress=lambda item: steps.append(item.step))
    assert steps[0] == 4  # its own state was not yet kept when it was stopped
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_what_is_known_of_a_whole_picture_is_dropped_in_training_only():
    made = network(normalised=False)
    made.dropout = 0.9
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        assert torch.equal(made.eval()(x), made(x))
        assert not torch.equal(made.train()(x), made(x))


def test_a_checkpoint_of_another_plan_is_no_start(tmp_path):
    path = tmp_path / "state"
    train(network(), examples(), TrainingPlan(steps=2, batch=2), checkpoint=path)
    steps = []
    train(
        network(),
        examples(),
        TrainingPlan(steps=2, batch=2, seed=1),
        checkpoint=path,
        progress=lambda item: steps.append(item.step),
    )
    assert steps == [1, 2]
    path.write_bytes(b"damaged")
    with pytest.raises(ModelError, match="remove it"):
        train(network(), examples(), TrainingPlan(steps=2), checkpoint=path)


def test_students_learn():
    made = network(normalised=True)
    shown = []
    train(
        made, examples(), TrainingPlan(steps=60, batch=5), progress=lambda p: shown.append(p.loss)
    )
    assert shown[-1] < 0.85 * shown[0]


def test_nothing_to_learn_from():
    held = [item for item in examples() if item.held]
    with pytest.raises(InputError, match="no pictures"):
        train(network(), held, TrainingPlan(steps=1))


@pytest.mark.parametrize(
    "bad",
    [{"steps": 0}, {"batch": 0}, {"rate": 0.0}, {"seed": -1}, {"gentle": 0}, {"dropout": 1.0}],
)
def test_plans_are_checked(bad):
    with pytest.raises(InputError):
        TrainingPlan(**({"steps": 1} | bad))


def test_the_loss_is_nothing_for_the_truth_and_sees_levels():
    target = torch.from_numpy(np.stack([item.target for item in examples()]))
    level = target.exp().mean((0, 2, 3)).log().expand(len(target), -1)
    assert float(loss(target, target, level)) == pytest.approx(0, abs=1e-6)
    assert float(loss(target + 1, target, level)) > 0.3
    # What matters least hardly counts.
    low = torch.where(target < -2, target - 3, target)
    assert float(loss(low, target, level)) < 0.2 * float(loss(target + 1, target, level))
    # Nor does what matters little beside the rest of its set, as far as that goes.
    beside = loss(target + 1, target, level + 4) / loss(target + 1, target, level)
    assert float(beside) < 0.8


def test_what_is_missed_costs_more_than_what_is_seen_too_much():
    target, level = torch.zeros(1, 1, 8, 8), torch.full((1, 1), -6.0)
    assert float(loss(target - 2, target, level)) > float(loss(target + 2, target, level))


def test_what_came_from_imagenet_is_trained_gently():
    made = network()
    groups = training._adam(made, TrainingPlan(steps=1, rate=1e-3, gentle=0.05)).param_groups
    gentle = {id(value) for value in groups[1]["params"]}
    names = {name for name, conv in made.convs.items() if id(conv.weight) in gentle}
    assert names
    assert all(name.startswith("top") for name in names)
    assert groups[0]["initial_lr"] == 1e-3
    assert groups[1]["initial_lr"] == pytest.approx(5e-5)
    counted = sum(len(group["params"]) for group in groups)
    assert counted == sum(value.requires_grad for value in made.parameters())


def test_pictures_are_shown_as_often_as_they_weigh():
    made = [
        dataclasses.replace(item, weight=4.0 if k == 2 else 1.0)
        for k, item in enumerate(examples(6))
    ]
    looks = training._Looks.of(network(), made[1:])
    plan = TrainingPlan(steps=1, batch=2)
    drawn = [training._batch(looks, plan, step, 0).target[0, 0] for step in range(200)]
    heavy = made[2].target[0]
    shown = [np.array_equal(t, heavy) or np.array_equal(t, heavy[:, ::-1]) for t in drawn]
    assert 0.35 < np.mean(shown) < 0.65


def test_the_learning_rate_rises_and_falls():
    rates = [training._pace(step, 50) for step in range(50)]
    assert rates[0] == 0.2
    assert max(rates) == 1
    assert 0 < rates[-1] < 0.01


def test_maps_reach_macroblocks():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    found = to_macroblocks(ramp, (4, 4))
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))


def test_rank_correlation():
    random = np.random.default_rng(0)
    x = random.normal(size=(6, 7))
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1)
    assert rank_correlation(x, -x) == pytest.approx(-1)
    assert rank_correlation(x, np.zeros_like(x)) == pytest.approx(0, abs=0.3)


def test_the_truth_steers_best():
    random = np.random.default_rng(0)
    truth = [random.normal(0, 1.5, (6, 8)) for _ in range(3)]
    noisy = [item + random.normal(0, 1, item.shape) for item in truth]
    best = steering_gain(truth, truth)
    assert best > steering_gain(noisy, truth) > steering_gain([-item for item in truth], truth)
    assert steering_gain([np.zeros_like(item) for item in truth], truth) == pytest.approx(0)
    found = compare(noisy, truth)
    assert found["pictures"] == 3
    assert 0.5 < found["rank"] < 1
    assert 0 < found["gain_kept"] < 1
