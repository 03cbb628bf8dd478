"""Write the model file of a trained codec: tables and curve fitted to photographs, and its card.

python tools/train/vae_export.py CHECKPOINT OUT.safetensors --photos FOLDER --note TEXT [...]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from idse.errors import IdseError
from idse.learned.vae.calibrate import calibrated
from idse.learned.vae.data import Photographs
from idse.learned.vae.export import write
from idse.learned.vae.networks import VaeConfig, build
from idse.learned.vae.train import read_checkpoint

# Finest and coarsest, 1024 times the binary logarithm: lower rates than anyone may want.
STEPS = (-6 * 1024, 8 * 1024)
CROPS, SIDE = 24, 192


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--note", action="append", default=[], help="a line of the card")
    chosen = parser.parse_args()
    state = read_checkpoint(chosen.checkpoint)
    plan = json.loads(state["plan"])
    vae = build(VaeConfig(**plan["model"]))
    vae.load_state_dict(state["network"])
    photographs = Photographs(chosen.photos, side=SIDE)
    crops = photographs.draw(CROPS, seed=(1 << 21,)).pictures
    pictures = list((255 * crops).round().byte().permute(0, 2, 3, 1).numpy())
    card = {
        "task": "codes pictures at low rates; not for archives",
        "data": "300 pictures of BSDS500, 25 of Urban100, 19 photographs of budgerigars; JPEG "
        "sources halved; no Kodak image",
        "distortion": "mean squared error of R'G'B'",
        "last_plan": plan,
        "iterations_of_last_plan": state["iteration"],
        "calibration": f"{CROPS} crops of {SIDE}x{SIDE} of the training photographs",
        "notes": chosen.note,
    }
    file = calibrated(vae, pictures, steps=STEPS, card=card)
    write(file, chosen.out)
    print(chosen.out, chosen.out.stat().st_size, file.metadata["curve"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main()
    except IdseError as error:
        sys.exit(str(error))
