"""Train one model per target rate and loss from a common start, as the thesis' tables need them.

python tools/train/vae_targets.py START.ckpt FOLDER --photos PHOTOS --iterations 400

Each model is FOLDER/LOSS-TARGET.ckpt, with a JSON beside it that says at which step, with which
parameters and how it was made. What is there already is left: the same command goes on.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from idse.errors import IdseError
from idse.files import write_atomically
from idse.learned.vae import heuristic
from idse.learned.vae.data import Photographs
from idse.learned.vae.networks import build
from idse.learned.vae.rate_control import RateDecay, SearchHeuristic, TargetRate
from idse.learned.vae.train import Progress, Trainer, TrainingPlan, read_checkpoint, trained_network

TARGETS = (0.06, 0.12, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
# Tables 5.3a and 5.3b: the beta that the thesis took for each target.
BETAS = {
    "hyperprior": (60000, 55000, 30000, 9000, 6500, 5500, 5000, 2500),
    "factorised": (55000, 55000, 25000, 9000, 6000, 5500, 3000, 1500),
}
LOSSES = (
    "general",
    "adaptive",
    "heuristic",
    "fixed",
    "straight-through",
    "adaptive-beta",
    "rate-distortion",
)
# The thesis tolerates 15 %: as three standard deviations.
DEVIATION = 0.05
ROUNDS = 4
# Crops of the training photographs that steps and the search go by: rates differ by half from one
# to the next, so their mean is known to about 4 %.
VALIDATION = 96
# Noise for the rate, which makes it shift as in the thesis; rounding for the distortion, as the
# model to start from was trained: its decoder has never seen noise in maps that round to nothing.
QUANTISER = "mixed"


class Run:
    """What all models have in common."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        state = read_checkpoint(chosen.start)
        self.weights = state["network"]
        self.start_iterations = state["iteration"]
        self.network = trained_network(state)
        self.config = self.network.config
        self.photographs = Photographs(chosen.photos, side=chosen.crop)
        crops = self.photographs.draw(VALIDATION, seed=(1 << 20,)).pictures
        self.validation = list(crops.split(1))
        self.steps: dict[float, float] = {}

    def make(self, loss: str, target: float) -> None:
        path = self.chosen.folder / f"{loss}-{target:g}.ckpt"
        if path.exists():
            return
        begin = time.monotonic()
        beta = float(BETAS[self.config.architecture][TARGETS.index(target)])
        if target not in self.steps:
            self.steps[target] = heuristic.step_for_rate(self.network, self.validation, target)
        step = self.steps[target]
        plan = TrainingPlan(
            model=self.config,
            iterations=self.chosen.iterations,
            batch=self.chosen.batch,
            learning_rate=self.chosen.learning_rate,
            quantiser="straight-through" if loss == "straight-through" else QUANTISER,
            finest=step,
            coarsest=step,
        )
        if loss == "heuristic":
            trained, found = self._search(plan, target, beta)
        else:
            trained, found = self._train(plan, control(loss, target, beta, plan.iterations))
        rates = heuristic.rounded_rates(trained, self.validation, step)
        note = {
            "loss": loss,
            "target": target,
            "step": step,
            "iterations": self.chosen.iterations,
            "start_iterations": self.start_iterations,
            "batch": self.chosen.batch,
            "crop": self.chosen.crop,
            "quantiser": plan.quantiser,
            "learning_rate": self.chosen.learning_rate,
            "validation_rate": statistics.fmean(rates),
            "validation_deviation": statistics.pstdev(rates),
            "seconds": time.monotonic() - begin,
            **found,
        }
        print(json.dumps(note), flush=True)
        buffer = io.BytesIO()
        torch.save(
            {
                "plan": json.dumps(asdict(plan)),
                "iteration": self.chosen.iterations,
                "network": trained.state_dict(),
            },
            buffer,
        )
        write_atomically(path.with_suffix(".json"), json.dumps(note).encode())
        write_atomically(path, buffer.getvalue())

    def _train(
        self, plan: TrainingPlan, moves: TargetRate | None
    ) -> tuple[torch.nn.Module, dict[str, float]]:
        trainer = Trainer(plan, self.photographs, control=moves, start=self.weights)
        seen: list[Progress] = []
        trainer.run(report=seen.append)
        if moves is None:
            return trainer.network, {"multiplier": plan.multiplier}
        parameters = [progress.parameter for progress in seen[-50:]]
        parameter = sum(parameters) / len(parameters)
        return trainer.network, {"parameter": parameter, "beta": moves.beta}

    def _search(
        self, plan: TrainingPlan, target: float, beta: float
    ) -> tuple[torch.nn.Module, dict[str, float]]:
        """Search with half of the iterations, and train with the other half."""
        half = plan.iterations // 2
        shift = heuristic.mean_shift(self.network, self.validation, plan.finest, plan.quantiser)
        moves = SearchHeuristic(
            target,
            deviation=DEVIATION * target,
            beta_step=beta / 4,
            beta=beta,
            parameter=target + shift,
        )
        found = heuristic.search(
            replace(plan, iterations=plan.iterations - half),
            self.photographs,
            moves,
            validation=self.validation,
            rounds=ROUNDS,
            refinement=half // ROUNDS,
            start=self.weights,
        )
        network = build(self.config)
        network.load_state_dict(found.network)
        return network, {"parameter": found.parameter, "beta": found.beta, "rounds": found.rounds}


def control(loss: str, target: float, beta: float, iterations: int) -> TargetRate | None:
    """Return what moves R_param and beta, or None for rate + lambda distortion."""
    if loss == "rate-distortion":
        return None
    if loss in ("fixed", "straight-through"):
        return TargetRate.fixed(target, beta=beta)
    if loss == "general":
        # A fifth of the iterations as in the thesis; the start knows low rates already, so rates
        # fall from twice the target, not from fifty times.
        decay = RateDecay(iterations=max(1, iterations // 5), base=2.0)
        return TargetRate.general(target, beta=beta, decay=decay)
    deviation = DEVIATION if loss == "adaptive-beta" else None
    return TargetRate.adaptive(target, beta=beta, deviation=deviation)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("start", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1)
    # Smaller ones are all border to hyper latents: what is learned on them takes more elsewhere.
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--targets", type=float, nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--losses", choices=LOSSES, nargs="+", default=LOSSES)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    run = Run(chosen)
    for target in chosen.targets:
        for loss in chosen.losses:
            run.make(loss, target)


if __name__ == "__main__":
    torch.set_num_threads(1)  # the order of sums, and so every bit, depends on it
    try:
        main()
    except IdseError as error:
        sys.exit(str(error))
