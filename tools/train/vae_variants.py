"""Train networks that differ in one thing each, alike in all others, for tools/bench/vae_tables.py.

python tools/train/vae_variants.py FOLDER --photos PHOTOS --iterations 400 [--importance MAPS]

Each starts from principal components and sees the same crops at many rates. A repeated call goes on
where it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.numpy import load_file
from vae import Lines

from idse.errors import IdseError
from idse.learned.vae.data import Photographs
from idse.learned.vae.networks import VaeConfig
from idse.learned.vae.train import Trainer, TrainingPlan

# What weights of photographs are needed for (tools/train/vae_importance.py).
IMPORTANCE = "importance"


def variants(base: TrainingPlan) -> dict[str, TrainingPlan]:
    """Return a plan for each variant."""
    model = base.model
    return {
        "hyperprior": base,
        "fixed-steps": replace(base, model=replace(model, learned_steps=False)),
        "factorised": replace(base, model=replace(model, architecture="factorised")),
        "residual": replace(base, model=replace(model, transform="residual")),
        "straight-through": replace(base, quantiser="straight-through"),
        IMPORTANCE: base,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--latents", type=int, default=192)
    parser.add_argument("--importance", type=Path, help="weights of the photographs' errors")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    base = TrainingPlan(
        model=VaeConfig(width=chosen.width, latents=chosen.latents),
        iterations=chosen.iterations,
        batch=chosen.batch,
        learning_rate=chosen.learning_rate,
        coarsest=64.0,
    )
    plain = Photographs(chosen.photos, side=chosen.crop)
    for name, plan in variants(base).items():
        photographs = plain
        if name == IMPORTANCE:
            if chosen.importance is None:
                continue
            maps = load_file(chosen.importance)
            photographs = Photographs(chosen.photos, side=chosen.crop, weights=maps)
        print(name, flush=True)
        checkpoint = chosen.folder / f"{name}.ckpt"
        Trainer(plan, photographs).run(checkpoint=checkpoint, every=100, report=Lines(100))


if __name__ == "__main__":
    torch.set_num_threads(1)  # the order of sums, and so every bit, depends on it
    try:
        main()
    except IdseError as error:
        sys.exit(str(error))
