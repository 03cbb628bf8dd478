"""Train what JPEG control needs: the model of file sizes, examples, the control network.

python tools/train/control.py size [--pictures N]
python tools/train/control.py examples
python tools/train/control.py network [--steps N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from idse.learned.jpeg import control_training, examples, size_model, size_training, windows
from idse.learned.jpeg.control_network import ControlNetwork, save_control
from idse.learned.jpeg.judged import Judged
from idse.vision import load_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from idse.learned.jpeg.windows import Window

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
WEIGHTS = ROOT / "plugin" / "idse" / "weights"
CACHE = Path(tempfile.gettempdir()) / "idse-train-control"
LONGEST = 640
SHRUNK = 2**17  # pixels
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
    """Return a picture, made smaller where it is longer than COCO's."""
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def example_pictures(cache: Path) -> dict[Path, Callable[[], np.ndarray]]:
    """Return the files of all examples, mixed, and how their pictures are read.

    As networks see them: crops of the size of a classifier's input, and whole photographs, of which
    a detector sees a smaller copy.
    """
    sets = {
        "imagenet": ("imagenet", crop, 125, 2),
        "part": ("coco_val128/images", crop, 64, 2),
        "coco": ("coco_val128/images", whole, 64, 2),
        "photo": ("imagenet", whole, 60, 2),
        "bsds": ("train_photos/bsds500", partial(half, longest=480), 96, 1),
    }
    found: list[tuple[Path, Callable[[], np.ndarray]]] = []
    for name, (folder, read, count, step) in sets.items():
        paths = sorted((DATA / folder).glob("*.[jJ]*"))[::step]
        chosen = [paths[i * len(paths) // count] for i in range(min(count, len(paths)))]
        found += [(cache / f"{name}-{path.stem}.npz", partial(read, path)) for path in chosen]
    return dict(found[i] for i in np.random.default_rng(0).permutation(len(found)))


def make_examples(args: argparse.Namespace) -> int:
    """Let teachers look at even pictures and at train_photos; what is there already stays."""
    args.cache.mkdir(parents=True, exist_ok=True)
    teachers = {name: load_model(name) for name in TEACHERS}
    for target, read in example_pictures(args.cache).items():
        if not target.exists():
            examples.save(target, examples.weigh(read(), teachers))
            print(target.name, flush=True)
    return 0


VALIDATION_SIZES = (0.25, 0.5, 1.0, 2.0, 4.0)
HELD_OUT = 14  # one picture of so many
IMITATION_STEPS = 500
SHARED_RATE, IMITATION_RATE, RATE = 1e-2, 1e-3, 3e-4
LESSONS, FOREIGN = 9, 0.3  # of generators; share of lessons for the other teacher
EVERY = 25  # steps between checkpoints


class Training:
    """From the tables of importance to the control network, in three stages.

    The tables that all pictures share are learned first, then how pictures differ: by imitation of
    tables that were optimised for single pictures, and end to end. Every step draws from a
    generator of its own number, so that a run that goes on from its checkpoint ends as one that was
    never interrupted.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        paths = sorted(args.cache.glob("*.npz"))
        if not paths:
            sys.exit(f"there are no examples in {args.cache}: make them with the command examples")
        found = [examples.load(path) for path in paths]
        self.judged = [
            windows.window(example, TEACHERS, np.random.default_rng(0))
            for example in found[::HELD_OUT]
        ]
        self.kept = [example for i, example in enumerate(found) if i % HELD_OUT]
        # What a network of 224x224 samples sees as it is, and what another sees from farther away.
        crops = [e.pixels.shape[0] * e.pixels.shape[1] < SHRUNK for e in self.kept]
        self.domains = [[i for i, c in enumerate(crops) if c == (h == 0)] for h in range(2)]
        self.networks = [load_model(name) for name in TEACHERS] if args.judged else []
        self.looks: dict[tuple[int, int], Judged] = {}
        torch.manual_seed(0)
        self.network = ControlNetwork(TEACHERS)
        self.facts: dict = {"examples": len(found), "validation": {}}
        self.centre = torch.zeros(0)

    @cached_property
    def lessons(self) -> list[control_training.Lesson]:
        """Tables of single pictures; what was optimised before is taken from the cache."""
        network, path = self.network, self.args.cache / "optimised.pt"
        wanted = list(torch.load(path)) if path.exists() else []
        found = []
        for number in range(self.args.lessons):
            rng = np.random.default_rng([LESSONS, number])
            i = int(rng.integers(len(self.kept)))
            own = int(i in self.domains[1])
            head = int(rng.integers(len(TEACHERS))) if rng.uniform() < FOREIGN else own
            part = windows.window(self.kept[i], TEACHERS, rng)
            (size,) = control_training.curriculum(1.0, [part], network.rate, rng)
            if number == len(wanted):
                with torch.no_grad():
                    shape = network.shared([part.description], [size])[0, head]
                best = control_training.optimised(part, head, shape, size, network.rate)
                wanted.append(best)
                torch.save(torch.stack(wanted), path)
            found.append(control_training.Lesson(part.description, size, head, wanted[number]))
        return found

    def run(self) -> None:
        state = torch.load(self.checkpoint) if self.checkpoint.exists() else None
        if state is None:
            self.prepare()
        else:
            self.network.load_state_dict(state["network"])
            self.facts, self.centre = state["facts"], state["centre"]
        args, network = self.args, self.network
        stages = {
            "shared": (
                args.shared_steps,
                [{"params": [network.base], "lr": SHARED_RATE, "weight_decay": 0.0}],
            ),
            "imitation": (
                IMITATION_STEPS,
                [{"params": others(network), "lr": IMITATION_RATE, "weight_decay": 0.05}],
            ),
            "steps": (args.steps, [{"params": others(network), "lr": RATE, "weight_decay": 0.0}]),
        }
        first = 0 if state is None else list(stages).index(state["stage"])
        for number, (stage, (steps, groups)) in enumerate(stages.items()):
            if number < first:
                continue
            if stage == "imitation" and not (state is not None and number == first):
                self.centre = network.base.detach().clone()
                control_training.take_over(network, self.lessons)
                self.tell("shared, with what lessons share")
            optimiser = torch.optim.AdamW(groups)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
            start = 0
            if state is not None and number == first:
                optimiser.load_state_dict(state["optimiser"])
                schedule.load_state_dict(state["schedule"])
                start = state["step"]
            for step in range(start, steps):
                self.learn(stage, optimiser, np.random.default_rng([number, step]), step / steps)
                schedule.step()
                if step + 1 == steps:
                    self.tell(f"{stage} {steps}")
                if (step + 1) % EVERY == 0 or step + 1 == steps:
                    self.save(stage, step + 1, optimiser, schedule)

    @property
    def checkpoint(self) -> Path:
        found: Path = self.args.cache / "control.pt"
        return found

    def prepare(self) -> None:
        rng = np.random.default_rng(1)
        parts = [windows.window(example, TEACHERS, rng) for example in self.kept]
        weights, error = windows.fit_rate(parts, seed=0)
        self.network.rate.copy_(weights)
        held_out = windows.rate_error(self.judged, weights, seed=1)
        self.facts |= {"rate": error, "rate, held out": held_out}
        self.facts["bits per pixel"] = VALIDATION_SIZES
        control_training.bootstrap(self.network, parts)
        self.tell("importance, mean")
        self.facts["validation"]["importance, each picture"] = costs(
            self.judged, lambda part, _size: part.ideal
        )

    def learn(
        self,
        stage: str,
        optimiser: torch.optim.Optimizer,
        rng: np.random.Generator,
        progress: float,
    ) -> None:
        """Take one step of a stage."""
        loss = self.imitation(rng) if stage == "imitation" else self.cost(stage, rng, progress)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], 1.0)
        optimiser.step()

    def imitation(self, rng: np.random.Generator) -> torch.Tensor:
        chosen = [self.lessons[i] for i in rng.integers(len(self.lessons), size=32)]
        return control_training.imitation(self.network, chosen, self.centre)

    def cost(self, stage: str, rng: np.random.Generator, progress: float) -> torch.Tensor:
        """Return the loss at pictures some of which their teachers look at."""
        parts, heads, looks = [], [], []
        for i in rng.integers(len(self.kept), size=self.args.batch):
            parts.append(windows.window(self.kept[i], TEACHERS, rng))
            heads.append(int(rng.integers(len(TEACHERS))))
            looks.append(None)
        for index in range(self.args.judged):
            head = index % len(TEACHERS)
            i = int(rng.choice(self.domains[head] or range(len(self.kept))))
            parts.append(windows.window(self.kept[i], TEACHERS))
            heads.append(head)
            looks.append(self.look(i, head))
        shared = stage == "shared"
        reach = 1.0 if shared else progress
        sizes = control_training.curriculum(reach, parts, self.network.rate, rng)
        return control_training.step_loss(self.network, parts, sizes, heads, looks, shared=shared)

    def look(self, i: int, head: int) -> Judged:
        if (i, head) not in self.looks:
            self.looks[i, head] = Judged(self.kept[i], self.networks[head])
        return self.looks[i, head]

    def tell(self, name: str) -> None:
        def shapes(part: Window, size: float) -> torch.Tensor:
            return self.network([part.description], [size])[0]

        with torch.no_grad():
            found = costs(self.judged, shapes)
        self.facts["validation"][name] = found
        print(f"{name}: {found}", flush=True)

    def save(
        self,
        stage: str,
        step: int,
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> None:
        state = {"network": self.network.state_dict(), "optimiser": optimiser.state_dict()}
        state |= {"schedule": schedule.state_dict(), "stage": stage, "step": step}
        state |= {"facts": self.facts, "centre": self.centre}
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.checkpoint)


def train_network(args: argparse.Namespace) -> int:
    training = Training(args)
    training.run()
    facts = training.facts | {
        "data": "even pictures of imagenet and coco_val128, whole and crops; bsds500 at half size",
        "steps": [args.shared_steps, IMITATION_STEPS, args.steps],
        "lessons": args.lessons,
        "batch": [args.batch, args.judged],
        "seed": 0,
    }
    args.weights.mkdir(parents=True, exist_ok=True)
    path = args.weights / "jpeg-control.safetensors"
    save_control(path, training.network, facts)
    path.chmod(0o644)
    return 0


def others(network: ControlNetwork) -> list[torch.nn.Parameter]:
    return [p for name, p in network.named_parameters() if name != "base"]


def costs(parts: list, shapes: Callable) -> list[float]:
    """Return the mean logarithm of what errors cost, by rate, on pictures held out."""
    found = []
    for rate in VALIDATION_SIZES:
        values = []
        for part in parts:
            size = windows.size_of(rate, part)
            each = shapes(part, size)
            for head in range(len(TEACHERS)):
                values.append(windows.cost_at(part, head, each[head], size))
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
    network.add_argument("--shared-steps", type=int, default=100, help="for what all share")
    network.add_argument("--steps", type=int, default=120, help="end to end (%(default)s)")
    network.add_argument("--batch", type=int, default=6, help="pictures a step (%(default)s)")
    network.add_argument(
        "--lessons", type=int, default=360, help="pictures with tables of their own"
    )
    network.add_argument("--judged", type=int, default=4, help="more, shown to teachers")
    network.set_defaults(run=train_network)
    size = parts.add_parser("size", help="the model of file sizes")
    size.add_argument("--pictures", type=int, default=None)
    size.set_defaults(run=train_size)
    args = parser.parse_args()
    torch.set_num_threads(1)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
