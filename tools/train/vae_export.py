"""Write the model file of a trained codec, with its curve on photographs and its card.

python tools/train/vae_export.py CHECKPOINT OUT.safetensors --photos FOLDER --note TEXT [...]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from idse.errors import IdseError
from idse.learned.vae.data import Photographs
from idse.learned.vae.export import export
from idse.learned.vae.losses import squared_error
from idse.learned.vae.networks import VaeConfig, build
from idse.learned.vae.train import read_checkpoint

# Of the curve: octaves of the step, from the coarsest.
OCTAVES = range(7, -4, -1)
CROPS, SIDE = 24, 192


@torch.no_grad()
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
    pictures = photographs.draw(CROPS, seed=(1 << 21,)).pictures
    curve: list[tuple[float, float]] = []
    for octave in OCTAVES:
        coded = vae.code(pictures, 2.0**octave)
        rate = float(coded.bits.mean()) / SIDE**2
        error = float(squared_error(pictures, coded.decoded.clip(0, 1)).mean())
        if not curve or error < curve[-1][1]:
            curve.append((rate, error))
    card = {
        "task": "codes pictures at low rates; not for archives",
        "data": "300 pictures of BSDS500, 25 of Urban100, 19 photographs of budgerigars; JPEG "
        "sources halved; no Kodak image",
        "distortion": "mean squared error of R'G'B'",
        "last_plan": plan,
        "iterations_of_last_plan": state["iteration"],
        "curve": f"{CROPS} crops of {SIDE}x{SIDE} of the training photographs, rounded latents",
        "notes": chosen.note,
    }
    export(vae, chosen.out, curve=curve, card=card)
    print(chosen.out, chosen.out.stat().st_size, json.dumps(curve))


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main()
    except IdseError as error:
        sys.exit(str(error))
