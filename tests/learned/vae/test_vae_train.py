"""Crops and training: the same bits again, also after an interruption."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from idse.errors import InputError, ModelError
from idse.learned.vae.data import Photographs, load_photograph, picture_files
from idse.learned.vae.heuristic import search
from idse.learned.vae.networks import VaeConfig, build
from idse.learned.vae.rate_control import RateDecay, SearchHeuristic, TargetRate
from idse.learned.vae.schedule import learning_rate
from idse.learned.vae.train import Progress, Trainer, TrainingPlan, read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from idse.learned.vae.networks import Quantiser

pytestmark = pytest.mark.fast

PLAN = TrainingPlan(
    model=VaeConfig(width=4, latents=4), iterations=6, batch=2, finest=0.5, coarsest=4.0, seed=3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for name, shape in (("a.png", (70, 90)), ("b.webp", (64, 64)), ("c.jpg", (150, 130))):
        small = random.integers(0, 256, (shape[0] // 8 + 1, shape[1] // 8 + 1, 3), np.uint8)
        picture = Image.fromarray(small).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
        picture.save(folder / name, lossless=True)
    Image.new("RGB", (20, 20)).save(folder / "too_small.png")
    return folder


@pytest.fixture(scope="module")
def photographs(folder: Path) -> Photographs:
    return Photographs(folder, side=64)


def test_jpegs_are_halved_and_small_pictures_left_out(folder: Path) -> None:
    assert load_photograph(folder / "c.jpg").shape == (75, 65, 3)
    assert load_photograph(folder / "a.png").shape == (70, 90, 3)
    assert len(Photographs(folder, side=64)) == 3
    with pytest.raises(InputError, match="400 x 400"):
        Photographs(folder, side=400)


def test_crops_depend_on_the_seed_only(photographs: Photographs) -> None:
    one, two = (photographs.draw(3, seed=(1, 5)).pictures for _ in range(2))
    assert one.shape == (3, 3, 64, 64)
    assert torch.equal(one, two)
    assert 0 <= one.min() <= one.max() <= 1
    assert not torch.equal(one, photographs.draw(3, seed=(1, 6)).pictures)


def test_weights_lie_where_the_crop_does(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 256, (5, 6), np.uint8)
    blocks = values.repeat(16, 0).repeat(16, 1)[:70, :90]  # those at the edges are cut
    Image.fromarray(blocks).save(tmp_path / "a.png")
    maps = {"a.png": np.stack([values / np.float32(255)] * 3)}
    crops = Photographs(tmp_path, side=64, weights=maps).draw(8, seed=(0,))
    assert crops.weights is not None
    torch.testing.assert_close(crops.weights, crops.pictures)


def test_training_minimises_what_weights_count(folder: Path) -> None:
    names = [str(path.relative_to(folder)) for path in picture_files(folder)]

    def first(weight: float) -> Progress:
        maps = {name: np.full((3, 10, 10), weight, np.float32) for name in names}
        photographs = Photographs(folder, side=64, weights=maps)
        seen: list[Progress] = []
        Trainer(PLAN, photographs).run(until=1, report=seen.append)
        return seen[0]

    one, four = first(1.0), first(4.0)
    assert four.distortion == pytest.approx(4 * one.distortion)
    assert four.rate == one.rate
    assert four.loss > one.loss


def trained(trainer: Trainer) -> dict[str, torch.Tensor]:
    trainer.run()
    return trainer.network.state_dict()


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def controlled() -> TargetRate:
    decay = RateDecay(iterations=4)
    return TargetRate.general(0.3, beta=100, decay=decay, alpha=0.5, deviation=0.1)


@pytest.mark.parametrize("control", [None, controlled])
@pytest.mark.parametrize(
    ("plan", "quantiser"),
    [
        (PLAN, "mixed"),
        (PLAN, "noise"),
        (replace(PLAN, model=replace(PLAN.model, architecture="factorised")), "straight-through"),
        (replace(PLAN, model=replace(PLAN.model, transform="residual")), "mixed"),
    ],
)
def test_interrupted_and_resumed_is_uninterrupted(
    photographs: Photographs,
    tmp_path: Path,
    plan: TrainingPlan,
    quantiser: Quantiser,
    control: Callable[[], TargetRate] | None,
) -> None:
    def trainer() -> Trainer:
        control_ = control() if control else None
        return Trainer(replace(plan, quantiser=quantiser), photographs, control=control_)

    whole: list[Progress] = []
    parts: list[Progress] = []
    trainer().run(checkpoint=tmp_path / "whole", report=whole.append)
    trainer().run(checkpoint=tmp_path / "parts", every=2, until=3, report=parts.append)
    trainer().run(checkpoint=tmp_path / "parts", every=2, report=parts.append)
    assert [p.loss for p in whole] == [p.loss for p in parts]
    one, two = (read_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    assert same(one["network"], two["network"])
    assert one["control"] == two["control"]


def test_the_seed_determines_the_weights(photographs: Photographs) -> None:
    plan = replace(PLAN, iterations=2)
    one = trained(Trainer(plan, photographs))
    torch.manual_seed(99)  # nothing outside of the plan has a say
    assert same(one, trained(Trainer(plan, photographs)))
    assert not same(one, trained(Trainer(replace(plan, seed=4), photographs)))


def test_training_lowers_the_loss(photographs: Photographs) -> None:
    plan = replace(PLAN, iterations=40, coarsest=0.5, learning_rate=5e-3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        start = build(plan.model).state_dict()  # the usual one is too good for a short run
    seen: list[Progress] = []
    Trainer(plan, photographs, start=start).run(report=seen.append)
    assert np.mean([p.loss for p in seen[-5:]]) < 0.95 * np.mean([p.loss for p in seen[:5]])
    assert "mse" in str(seen[0])


def test_search_refines_moves_and_trains(photographs: Photographs) -> None:
    plan = replace(PLAN, iterations=2, finest=2.0, coarsest=2.0, quantiser="noise")
    moves = SearchHeuristic(0.3, deviation=0.01, beta_step=5.0, beta=10.0)
    seen: list[Progress] = []
    found = search(
        plan,
        photographs,
        moves,
        validation=[photographs.draw(1, seed=(9,)).pictures],
        rounds=2,
        refinement=1,
        report=seen.append,
    )
    assert found.rounds == 2
    assert [p.parameter for p in seen[:1]] == [0.3]
    assert len({p.parameter for p in seen}) == 3
    assert seen[-1].parameter == found.parameter
    assert found.beta == 1.0  # a single picture does not deviate
    assert found.network.keys() == Trainer(PLAN, photographs).network.state_dict().keys()


def test_global_random_state_is_left_alone(photographs: Photographs) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    Trainer(PLAN, photographs).run(until=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_checkpoints_of_other_plans_are_refused(photographs: Photographs, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    Trainer(PLAN, photographs).run(checkpoint=path, until=1)
    with pytest.raises(ModelError, match="another plan"):
        Trainer(replace(PLAN, batch=1), photographs).run(checkpoint=path)
    with pytest.raises(ModelError, match="another loss"):
        Trainer(PLAN, photographs, control=TargetRate.fixed(1, beta=1)).run(checkpoint=path)


@pytest.mark.parametrize("cut", [0, 10, 1000])
def test_damaged_checkpoints_are_refused(
    photographs: Photographs, tmp_path: Path, cut: int
) -> None:
    path = tmp_path / "x.ckpt"
    Trainer(PLAN, photographs).run(checkpoint=path, until=1)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelError, match=r"x\.ckpt is no checkpoint"):
        read_checkpoint(path)


def test_crops_must_suit_the_network(folder: Path) -> None:
    with pytest.raises(InputError, match="multiple of 64"):
        Trainer(PLAN, Photographs(folder, side=40))


def test_plans_are_checked() -> None:
    with pytest.raises(InputError, match="0 iterations"):
        TrainingPlan(iterations=0)
    with pytest.raises(InputError, match="finest first"):
        TrainingPlan(iterations=1, finest=2.0)


def test_learning_rate_rises_and_falls() -> None:
    plan = replace(PLAN, iterations=1000)
    rates = [learning_rate(plan, i) for i in (0, 49, 500, 999)]
    assert rates[0] < rates[2] < rates[1]
    assert rates[3] == pytest.approx(0.02 * plan.learning_rate, rel=0.01)
