"""Train what JPEG control needs: the model of file sizes, examples, the control network.

python tools/train/control.py size [--pictures N]
python tools/train/control.py examples
python tools/train/control.py network [--steps N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from idse.learned.jpeg import control_training, examples, size_model, size_training
from idse.learned.jpeg.control_network import ControlNetwork, save_control
from idse.vision import load_model

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
WEIGHTS = ROOT / "plugin" / "idse" / "weights"
CACHE = Path(tempfile.gettempdir()) / "idse-train-control"
TEACHERS = ("efficientnet-lite0", "yolov4-tiny")


def training_pictures(count: int | None = None) -> list[Path]:
    """Return pictures to train on: train_photos, and even ones of imagenet and COCO, mixed."""
    even = [
        path
        for folder in ("imagenet", "coco_val128/images")
        for path in sorted((DATA / folder).glob("*.[jJ]*"))[::2]
    ]
    photos = sorted(
        path
        for path in (DATA / "train_photos").rglob("*")
        if path.suffix.lower() in {".jpg", ".jpeg", ".webp", ".png"}
    )
    found = photos + even
    np.random.default_rng(0).shuffle(found)
    return found[:count]


def half(path: Path, longest: int) -> np.ndarray:
    """Return a picture at half its size, so that its block edges are not learned."""
    picture = Image.open(path).convert("RGB")
    factor = min(0.5, longest / max(picture.size))
    size = [max(16, round(side * factor)) for side in picture.size]
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def train_size(args: argparse.Namespace) -> int:
    paths = training_pictures(args.pictures)
    # Small and large ones, for codes cost more where there are few symbols.
    pictures = (half(path, longest) for path in paths for longest in (160, 480))
    samples = size_training.samples(pictures, seed=0, tables_each=3)
    model = size_training.fit(samples)
    found = size_training.joined(samples)
    actual = torch.tensor([float(sample.size) for sample in samples])
    predicted = model.of_statistics(found)
    facts = {
        "data": "train_photos, even pictures of imagenet and coco_val128, at half their size",
        "pictures": len(paths),
        "files": len(samples),
        "seed": 0,
        "relative error on them": float(size_model.relative_error(predicted, actual)),
    }
    args.weights.mkdir(parents=True, exist_ok=True)
    path = args.weights / "jpeg-size.safetensors"
    save_file(model.state_dict(), path, size_model.card(model, facts))
    path.chmod(0o644)
    print(f"{path}: {facts}")
    return 0


def crop(path: Path) -> np.ndarray:
    """Return the 224x224 centre of a picture whose short side was made 256."""
    picture = Image.open(path).convert("RGB")
    factor = 256 / min(picture.size)
    width, height = (max(224, round(side * factor)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 224) // 2, (height - 224) // 2
    return np.asarray(picture.crop((left, top, left + 224, top + 224)))


def whole(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def make_examples(args: argparse.Namespace) -> int:
    """Let teachers look at even pictures and at train_photos; what is there already stays."""
    sets = {
        "imagenet": ("imagenet", crop, 96, 2),
        "coco": ("coco_val128/images", whole, 48, 2),
        "bsds": ("train_photos/bsds500", lambda path: half(path, 480), 24, 1),
    }
    args.cache.mkdir(parents=True, exist_ok=True)
    teachers = {name: load_model(name) for name in TEACHERS}
    found = []
    for name, (folder, read, count, step) in sets.items():
        paths = sorted((DATA / folder).glob("*.[jJ]*"))[::step]
        chosen = [paths[i * len(paths) // count] for i in range(min(count, len(paths)))]
        found += [(args.cache / f"{name}-{path.stem}.npz", path, read) for path in chosen]
    # Mixed, so that training can begin on what is there.
    for i in np.random.default_rng(0).permutation(len(found)):
        target, path, read = found[i]
        if not target.exists():
            examples.save(target, examples.weigh(read(path), teachers))
            print(target.name, flush=True)
    return 0


VALIDATION_SIZES = (0.25, 0.5, 1.0, 2.0, 4.0)
HELD_OUT = 7  # one picture of so many
SHARED_STEPS, IMITATION_STEPS = 80, 500
SHARED_RATE, RATE = 1e-2, 3e-4
EVERY = 25  # steps between checkpoints


def train_network(args: argparse.Namespace) -> int:
    """Learn the one table for all pictures, imitate those of importance, then go end to end.

    Every step draws from a generator of its own number, so that a run that goes on from its
    checkpoint ends as one that was never interrupted.
    """
    found = [examples.load(path) for path in sorted(args.cache.glob("*.npz"))]
    held = found[::HELD_OUT]
    kept = [example for i, example in enumerate(found) if i % HELD_OUT]
    fixed = np.random.default_rng(0)
    judged = [control_training.window(example, TEACHERS, fixed) for example in held]
    torch.manual_seed(0)
    network = ControlNetwork(TEACHERS)
    checkpoint = args.cache / "control.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint)
        network.load_state_dict(state["network"])
        start, facts = state["step"], state["facts"]
    else:
        state, start = None, 0
        facts = prepare(network, kept, judged, args.batch)
    optimiser = torch.optim.Adam(
        [{"params": [network.base], "lr": RATE * 4}, {"params": others(network), "lr": RATE}]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, args.steps)
    if state is not None:
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
    for step in range(start, args.steps):
        learn(
            network,
            optimiser,
            kept,
            np.random.default_rng([2, step]),
            args.batch,
            progress=step / args.steps,
        )
        schedule.step()
        if (step + 1) % EVERY == 0 or step + 1 == args.steps:
            tell(facts, f"step {step + 1}", validate(network, judged))
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
            state |= {"schedule": schedule.state_dict(), "step": step + 1, "facts": facts}
            part = checkpoint.with_suffix(".part")
            torch.save(state, part)
            part.replace(checkpoint)
    facts |= {
        "data": "even pictures of imagenet (crops) and coco_val128, bsds500 at half its size",
        "examples": len(found),
        "steps": args.steps,
        "batch": args.batch,
        "seed": 0,
    }
    args.weights.mkdir(parents=True, exist_ok=True)
    path = args.weights / "jpeg-control.safetensors"
    save_control(path, network, facts)
    path.chmod(0o644)
    return 0


def prepare(network: ControlNetwork, kept: list, judged: list, batch: int) -> dict:
    """Do what comes before end to end training, and return what it reached."""
    fixed = np.random.default_rng(1)
    windows = [control_training.window(example, TEACHERS, fixed) for example in kept]
    weights, error = control_training.fit_rate(windows, seed=0)
    network.rate.copy_(weights)
    held_out = control_training.rate_error(judged, weights, seed=1)
    facts = {"rate": error, "rate, held out": held_out, "bits per pixel": VALIDATION_SIZES}
    facts["validation"] = {}
    centre = control_training.bootstrap(network, windows)
    tell(facts, "importance, mean", validate(network, judged))
    tell(facts, "importance, each picture", validate_ideal(judged))
    optimiser = torch.optim.Adam([network.base], SHARED_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, SHARED_STEPS)
    for step in range(SHARED_STEPS):
        learn(network, optimiser, kept, np.random.default_rng([1, step]), batch, progress=1.0)
        schedule.step()
    network.single.copy_(network.base.detach())
    tell(facts, "one for all", validate(network, judged))
    imitate(network, windows, centre)
    tell(facts, "imitation", validate(network, judged))
    return facts


def tell(facts: dict, name: str, costs: list[float]) -> None:
    facts["validation"][name] = costs
    print(f"{name}: {costs}", flush=True)


def learn(
    network: ControlNetwork,
    optimiser: torch.optim.Optimizer,
    kept: list,
    rng: np.random.Generator,
    batch: int,
    *,
    progress: float,
) -> None:
    """Take one step end to end."""
    chosen = rng.choice(len(kept), batch, replace=False)
    parts = [control_training.window(kept[i], TEACHERS, rng) for i in chosen]
    rates = control_training.curriculum(progress, batch, rng)
    sizes = [control_training.size_of(r, p) for r, p in zip(rates, parts, strict=True)]
    heads = rng.integers(len(TEACHERS), size=batch).tolist()
    loss = control_training.step_loss(network, parts, sizes, heads)
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


def others(network: ControlNetwork) -> list[torch.nn.Parameter]:
    return [p for name, p in network.named_parameters() if name != "base"]


def imitate(
    network: ControlNetwork, windows: list[control_training.Window], centre: torch.Tensor
) -> None:
    optimiser = torch.optim.AdamW(others(network), 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, IMITATION_STEPS)
    for step in range(IMITATION_STEPS):
        rng = np.random.default_rng([0, step])
        chosen = [windows[i] for i in rng.choice(len(windows), 32, replace=False)]
        rates = control_training.curriculum(1.0, len(chosen), rng)
        sizes = [control_training.size_of(r, p) for r, p in zip(rates, chosen, strict=True)]
        loss = control_training.imitation(network, chosen, sizes, centre)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def validate(network: ControlNetwork, windows: list[control_training.Window]) -> list[float]:
    """Return the mean logarithm of what errors cost, by rate, on pictures held out."""

    def shapes(part: control_training.Window, size: float) -> torch.Tensor:
        return network([part.description], [size])[0]

    return costs(windows, shapes)


def validate_ideal(windows: list[control_training.Window]) -> list[float]:
    return costs(windows, lambda part, _size: part.ideal)


def costs(windows: list, shapes: Callable) -> list[float]:
    found = []
    for rate in VALIDATION_SIZES:
        values = []
        for part in windows:
            size = control_training.size_of(rate, part)
            each = shapes(part, size)
            for head in range(len(TEACHERS)):
                values.append(control_training.cost_at(part, head, each[head], size))
        found.append(round(float(np.mean(values)), 4))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder to write to")
    parts = parser.add_subparsers(required=True)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of examples")
    made = parts.add_parser("examples", help="pictures, and what errors in them cost teachers")
    made.set_defaults(run=make_examples)
    network = parts.add_parser("network", help="the control network")
    network.add_argument("--steps", type=int, default=200, help="end to end (%(default)s)")
    network.add_argument("--batch", type=int, default=12, help="pictures a step (%(default)s)")
    network.set_defaults(run=train_network)
    size = parts.add_parser("size", help="the model of file sizes")
    size.add_argument("--pictures", type=int, default=None)
    size.set_defaults(run=train_size)
    args = parser.parse_args()
    torch.set_num_threads(1)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
