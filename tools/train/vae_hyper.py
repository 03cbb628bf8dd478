"""Train a codec's hyper networks again, on whole photographs; its transforms stay as they are.

python tools/train/vae_hyper.py CHECKPOINT OUT.ckpt --photos FOLDER --iterations 3000
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from idse.errors import IdseError
from idse.files import write_atomically
from idse.learned.vae.data import load_photograph, picture_files
from idse.learned.vae.hyper import HyperPlan, tune
from idse.learned.vae.networks import HyperpriorVae
from idse.learned.vae.train import read_checkpoint, trained_network

if TYPE_CHECKING:
    import numpy.typing as npt

# Of large photographs, so many parts of this side: they overlap where there is no room.
SIDE, ROWS, COLUMNS = 384, 2, 3


def parts(picture: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    """Return a photograph, or parts of a large one."""
    height, width = picture.shape[:2]
    if min(height, width) < SIDE or max(height, width) == SIDE:
        return [picture]
    tops = np.linspace(0, height - SIDE, ROWS).astype(int)
    lefts = np.linspace(0, width - SIDE, COLUMNS).astype(int)
    return [picture[top : top + SIDE, left : left + SIDE] for top in tops for left in lefts]


class Lines:
    """Every ``count`` iterations a line with their mean loss."""

    def __init__(self, count: int) -> None:
        self._count, self._seen = count, list[float]()

    def __call__(self, iteration: int, loss: float) -> None:
        self._seen.append(loss)
        if len(self._seen) == self._count:
            print(
                f"{iteration:7d}  mean loss {math.fsum(self._seen) / self._count:.4f}", flush=True
            )
            self._seen.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    add = parser.add_argument
    add("checkpoint", type=Path)
    add("out", type=Path)
    add("--photos", type=Path, required=True, help="folder of photographs")
    add("--iterations", type=int, required=True)
    add("--learning-rate", type=float, default=1e-3)
    add("--seed", type=int, default=0)
    chosen = parser.parse_args()
    plan = HyperPlan(
        iterations=chosen.iterations, learning_rate=chosen.learning_rate, seed=chosen.seed
    )
    state = read_checkpoint(chosen.checkpoint)
    network = trained_network(state)
    if not isinstance(network, HyperpriorVae):
        sys.exit(f"{chosen.checkpoint} has no hyper networks")
    photographs = map(load_photograph, picture_files(chosen.photos))
    pictures = [part for photograph in photographs for part in parts(photograph)]
    tune(network, pictures, plan, report=Lines(250))
    state |= {"network": network.state_dict(), "hyper": json.dumps(asdict(plan))}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(chosen.out, buffer.getvalue())


if __name__ == "__main__":
    torch.set_num_threads(1)  # the order of sums, and so every bit, depends on it
    try:
        main()
    except IdseError as error:
        sys.exit(str(error))
