"""Train a learned codec, or go on with it: the same command after an interruption.

python tools/train/vae.py OUT.ckpt --photos FOLDER --iterations 20000 --coarsest 32
python tools/train/vae.py OUT.ckpt --photos FOLDER --start MULTI.ckpt --iterations 500 \
    --loss general --target 0.25 --beta 30000 --step 7.5 --quantiser noise
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.numpy import load_file

from idse.errors import IdseError
from idse.learned.vae.data import Photographs
from idse.learned.vae.networks import VaeConfig
from idse.learned.vae.rate_control import RateDecay, TargetRate
from idse.learned.vae.train import Progress, Trainer, TrainingPlan, read_checkpoint

if TYPE_CHECKING:
    import numpy as np

LOSSES = ("rate-distortion", "fixed", "adaptive", "general")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    add = parser.add_argument
    add("checkpoint", type=Path, help="written as it goes, gone on from where it exists")
    add("--photos", type=Path, required=True, help="folder of photographs")
    add("--start", type=Path, help="checkpoint whose weights to begin with")
    add("--architecture", choices=("hyperprior", "factorised"), default="hyperprior")
    add("--transform", choices=("gdn", "residual"), default="gdn")
    add("--width", type=int, default=64)
    add("--latents", type=int, default=128)
    add("--fixed-steps", action="store_true", help="the same quantisation step for all maps")
    add("--iterations", type=int, required=True)
    add("--until", type=int, help="stop there, to go on later")
    add("--batch", type=int, default=4)
    add("--crop", type=int, default=128)
    add("--learning-rate", type=float, default=1e-3)
    add("--seed", type=int, default=0)
    add("--quantiser", choices=("noise", "straight-through", "mixed"), default="mixed")
    add("--step", type=float, default=1.0, help="quantisation step; the finest with --coarsest")
    add("--coarsest", type=float, help="coarsest quantisation step, for many rates")
    add("--multiplier", type=float, default=0.2, help="lambda at step 1")
    add("--loss", choices=LOSSES, default=LOSSES[0])
    add("--target", type=float, help="bits per pixel; with --loss fixed: R_param")
    add("--beta", type=float, default=5500.0)
    add("--deviation", type=float, help="adapt beta to this relative standard deviation of rates")
    add("--importance", type=Path, help="maps that weigh errors (tools/train/vae_importance.py)")
    add("--device", default="cpu")
    return parser.parse_args()


def control(chosen: argparse.Namespace) -> TargetRate | None:
    """Return the rate's control, or None for rate + lambda distortion."""
    if chosen.loss == "rate-distortion":
        return None
    if chosen.target is None:
        sys.exit(f"--loss {chosen.loss} needs --target")
    adapt = {"beta": chosen.beta, "deviation": chosen.deviation}
    if chosen.loss == "fixed":
        return TargetRate(chosen.target, **adapt)
    if chosen.loss == "adaptive":
        return TargetRate.adaptive(chosen.target, **adapt)
    # The thesis lets the target decay over the first fifth (150,000 of 750,000 iterations).
    decay = RateDecay(iterations=max(1, chosen.iterations // 5))
    return TargetRate.general(chosen.target, decay=decay, **adapt)


class Lines:
    """Every ``count`` iterations a line, of their means."""

    def __init__(self, count: int) -> None:
        self._count, self._seen = count, list[Progress]()

    def __call__(self, progress: Progress) -> None:
        self._seen.append(progress)
        if len(self._seen) == self._count:
            loss, error = (
                math.fsum(getattr(seen, name) for seen in self._seen) / self._count
                for name in ("loss", "distortion")
            )
            print(f"{progress}  mean loss {loss:.4f}  mean mse {error:.2f}", flush=True)
            self._seen.clear()


def main() -> None:
    chosen = arguments()
    plan = TrainingPlan(
        model=VaeConfig(
            architecture=chosen.architecture,
            transform=chosen.transform,
            width=chosen.width,
            latents=chosen.latents,
            learned_steps=not chosen.fixed_steps,
        ),
        iterations=chosen.iterations,
        batch=chosen.batch,
        learning_rate=chosen.learning_rate,
        seed=chosen.seed,
        quantiser=chosen.quantiser,
        finest=chosen.step,
        coarsest=chosen.step if chosen.coarsest is None else chosen.coarsest,
        multiplier=chosen.multiplier,
    )
    maps: dict[str, np.ndarray] | None = load_file(chosen.importance) if chosen.importance else None
    trainer = Trainer(
        plan,
        Photographs(chosen.photos, side=chosen.crop, weights=maps),
        control=control(chosen),
        start=read_checkpoint(chosen.start)["network"] if chosen.start else None,
        device=chosen.device,
    )
    trainer.run(checkpoint=chosen.checkpoint, report=Lines(100), until=chosen.until)


if __name__ == "__main__":
    torch.set_num_threads(1)  # the order of sums, and so every bit, depends on it
    try:
        main()
    except IdseError as error:
        sys.exit(str(error))
