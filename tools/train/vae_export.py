"""Write the model file of a trained codec: tables and curve fitted to photographs, and its card.

python tools/train/vae_export.py CHECKPOINT OUT.safetensors --photos FOLDER --note TEXT [...]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from idse.errors import IdseError
from idse.learned.vae.calibrate import calibrated
from idse.learned.vae.data import load_photograph, picture_files
from idse.learned.vae.export import write
from idse.learned.vae.train import read_checkpoint, trained_network

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Finest and coarsest, 1024 times the binary logarithm: lower rates than anyone may want.
STEPS = (-6 * 1024, 8 * 1024)
# A factorised prior has tables of its own for every step: so far beyond those it was trained for.
BEYOND = 1024
# Of large photographs, the middle: what is common there would drown all others.
SIDE = 384


def middle(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return what a photograph has around its middle."""
    top, left = (max(0, (size - SIDE) // 2) for size in picture.shape[:2])
    return picture[top : top + SIDE, left : left + SIDE]


def steps_of(plan: dict[str, Any]) -> tuple[int, int]:
    """Return the steps that a model is good for."""
    if plan["model"]["architecture"] == "hyperprior":
        return STEPS
    finest, coarsest = (round(1024 * math.log2(plan[end])) for end in ("finest", "coarsest"))
    return finest - BEYOND, coarsest + BEYOND


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--note", action="append", default=[], help="a line of the card")
    chosen = parser.parse_args()
    state = read_checkpoint(chosen.checkpoint)
    plan = json.loads(state["plan"])
    vae = trained_network(state)
    pictures = [middle(load_photograph(path)) for path in picture_files(chosen.photos)]
    card = {
        "task": "codes pictures at low rates; not for archives",
        "data": "300 pictures of BSDS500, 25 of Urban100, 19 photographs of budgerigars; JPEG "
        "sources halved; no Kodak image",
        "distortion": "mean squared error of R'G'B'",
        "last_plan": plan,
        "iterations_of_last_plan": state["iteration"],
        "calibration": f"{len(pictures)} training photographs, of each {SIDE}x{SIDE} at most",
        "notes": chosen.note,
    }
    file = calibrated(vae, pictures, steps=steps_of(plan), card=card)
    write(file, chosen.out)
    print(chosen.out, chosen.out.stat().st_size, file.metadata["curve"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main()
    except IdseError as error:
        sys.exit(str(error))
