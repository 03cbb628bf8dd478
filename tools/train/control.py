"""Train what JPEG control needs: the model of file sizes, examples, the control network.

python tools/train/control.py size [--pictures N]
python tools/train/control.py examples
python tools/train/control.py network [--steps N]
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import sys
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from control_pictures import (
    ROOT,
    example_path,
    example_pictures,
    half,
    known_examples,
    training_pictures,
)
from safetensors.torch import save_file

from idse.learned.jpeg import (
    control_training,
    examples,
    sampling,
    size_model,
    size_training,
    windows,
)
from idse.learned.jpeg.control_network import ControlNetwork, save_control
from idse.learned.jpeg.judged import Judged
from idse.vision import load_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from idse.learned.jpeg.windows import Window

WEIGHTS = ROOT / "plugin" / "idse" / "weights"
CACHE = Path(tempfile.gettempdir()) / "idse-train-control"
SHRUNK = 2**17  # pixels
TEACHERS = ("efficientnet-lite0", "yolov4-tiny")


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


def make_examples(args: argparse.Namespace) -> int:
    """Let teachers look at even pictures and at train_photos, in each sampling.

    What is there already stays.
    """
    args.cache.mkdir(parents=True, exist_ok=True)
    teachers = {name: load_model(name) for name in TEACHERS}
    for target, read in example_pictures(args.cache).items():
        for name in examples.SAMPLINGS:
            path = example_path(target, name)
            if not path.exists():
                examples.save(path, examples.weigh(read(), teachers, name))
                print(path.name, flush=True)
    return 0


VALIDATION_SIZES = (0.5, 1.5, 4.0)
HELD_OUT = 25  # one picture of so many
IMITATION_STEPS = 500
SHARED_RATE, IMITATION_RATE, RATE = 1e-2, 1e-3, 3e-4
LESSONS, FOREIGN = 9, 0.3  # of generators; share of lessons for the other teacher
EVERY = 25  # steps between checkpoints
# log2 of bits per pixel at which samplings are compared: of crops, and of whole photographs.
COMPARED = (np.arange(0.25, 3.1, 0.25), np.arange(-0.75, 2.1, 0.25))


class Training:
    """From the tables of importance to the control network, in three stages.

    The tables that all pictures share are learned first, then how pictures differ: by imitation of
    tables that were optimised for single pictures, and end to end. With what they became, samplings
    are compared last. Every step draws from a generator of its own number, so that a run that goes
    on from its checkpoint ends as one that was never interrupted.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        pictures = known_examples(args.cache)
        names = list(pictures)
        if not names:
            sys.exit(f"there are no examples in {args.cache}: make them with the command examples")
        # What was learned of other examples is none of this run's.
        self.key = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
        self.judged = [
            windows.window(examples.load(path), TEACHERS, np.random.default_rng(0))
            for name in names[::HELD_OUT]
            for path in pictures[name]
        ]
        kept = [name for i, name in enumerate(names) if i % HELD_OUT]
        self.kept = [examples.load(path) for name in kept for path in pictures[name]]
        # What a network of 224x224 samples sees as it is, and what another sees from farther away.
        crops = [e.pixels.shape[0] * e.pixels.shape[1] < SHRUNK for e in self.kept]
        self.domains = [[i for i, c in enumerate(crops) if c == (h == 0)] for h in range(2)]
        seeing = args.judged or args.compared
        self.networks = [load_model(name) for name in TEACHERS] if seeing else []
        self.looks: dict[tuple[int, int], Judged] = {}
        torch.manual_seed(0)
        self.network = ControlNetwork(TEACHERS)
        self.facts: dict = {"examples": sum(map(len, pictures.values())), "validation": {}}
        self.centre = torch.zeros(0)

    @cached_property
    def lessons(self) -> list[control_training.Lesson]:
        """Tables of single pictures; what was optimised before is taken from the cache."""
        network, path = self.network, self.args.cache / f"optimised-{self.key}.pt"
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

    def compare(self) -> None:
        """Find from which rate on 4:4:4 is better, by each network and for each size of picture."""
        by_sampling = {
            name: [i for i, e in enumerate(self.kept) if e.sampling == name]
            for name in examples.SAMPLINGS
        }
        pairs = list(zip(*by_sampling.values(), strict=True))
        told = self.facts.setdefault("4:4:4 over 4:2:0", {})
        for head, area in itertools.product(range(len(TEACHERS)), range(len(self.domains))):
            chosen = [pair for pair in pairs if pair[0] in self.domains[area]]
            chosen = chosen[: self.args.compared]
            if not chosen:
                continue
            rates = COMPARED[area]
            gains = np.array([self.gains(pair, head, rates) for pair in chosen])
            self.network.finer[head, area] = begin = sampling.begins(gains, rates)
            name = f"{TEACHERS[head]}, {('crops', 'whole')[area]}"
            told[name] = {
                "begins": begin,
                "rates": rates.tolist(),
                "gains": np.nanmedian(gains, 0).round(3).tolist(),
            }
            print(f"{name}: {told[name]}", flush=True)

    def gains(self, pair: tuple[int, int], head: int, rates: np.ndarray) -> list[float]:
        """Return logarithms of distances in 4:4:4 over those in 4:2:0, of one picture."""
        parts = [windows.window(self.kept[i], TEACHERS) for i in pair]
        finest = windows.finest(parts[0])
        found = []
        for rate in rates:
            size = windows.size_of(2.0**rate, parts[0])
            if size > finest:
                found.append(np.nan)
                continue
            distances = []
            for i, part in zip(pair, parts, strict=True):
                with torch.no_grad():
                    shape = self.network([part.description], [size])[0, head]
                judged = self.look(i, head)
                distances.append(sampling.log_distance(part, shape, size, judged))
            found.append(distances[1] - distances[0])
        return found

    @property
    def checkpoint(self) -> Path:
        found: Path = self.args.cache / f"control-{self.key}.pt"
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
    training.compare()
    facts = training.facts | {
        "data": "even pictures of imagenet and coco_val128, whole and crops; bsds500 at half size",
        "steps": [args.shared_steps, IMITATION_STEPS, args.steps],
        "lessons": args.lessons,
        "batch": [args.batch, args.judged],
        "compared": args.compared,
        "seed": 0,
    }
    args.weights.mkdir(parents=True, exist_ok=True)
    path = args.weights / "jpeg-control.safetensors"
    save_control(path, training.network, facts)
    path.chmod(0o644)
    return 0


def others(network: ControlNetwork) -> list[torch.nn.Parameter]:
    return [p for name, p in network.named_parameters() if name != "base"]


def costs(parts: list, shapes: Callable) -> dict[str, list[float]]:
    """Return the mean logarithm of what errors cost, by sampling and rate, on pictures held out."""
    found: dict[str, list[float]] = {}
    for name, rate in itertools.product(examples.SAMPLINGS, VALIDATION_SIZES):
        values = []
        for part in parts:
            if part.layout.sampling == name:
                size = windows.size_of(rate, part)
                each = shapes(part, size)
                for head in range(len(TEACHERS)):
                    values.append(windows.cost_at(part, head, each[head], size))
        found.setdefault(name, []).append(round(float(np.mean(values)), 4))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder to write to")
    parts = parser.add_subparsers(required=True)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of examples")
    made = parts.add_parser("examples", help="pictures, and what errors in them cost teachers")
    made.set_defaults(run=make_examples)
    network = parts.add_parser("network", help="the control network")
    network.add_argument("--shared-steps", type=int, default=300, help="for what all share")
    network.add_argument("--steps", type=int, default=120, help="end to end (%(default)s)")
    network.add_argument("--batch", type=int, default=6, help="pictures a step (%(default)s)")
    network.add_argument(
        "--lessons", type=int, default=240, help="pictures with tables of their own"
    )
    network.add_argument("--judged", type=int, default=6, help="more, shown to teachers")
    network.add_argument(
        "--compared", type=int, default=32, help="pictures that say which sampling is better"
    )
    network.set_defaults(run=train_network)
    size = parts.add_parser("size", help="the model of file sizes")
    size.add_argument("--pictures", type=int, default=None)
    size.set_defaults(run=train_size)
    args = parser.parse_args()
    torch.set_num_threads(1)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
