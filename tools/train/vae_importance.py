"""Write the weights of training photographs for `vae.py --importance`.

python tools/train/vae_importance.py FOLDER OUT.safetensors [--model yolov4-tiny] [--alpha 1]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from safetensors.numpy import save

from idse.errors import IdseError
from idse.files import write_atomically
from idse.importance.analyser import Analyser, load_networks
from idse.learned.vae.importance import importance_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="yolov4-tiny")
    parser.add_argument("--alpha", type=float, default=1.0)
    chosen = parser.parse_args()
    analyser = Analyser(load_networks([chosen.model]))
    weights = importance_weights(chosen.folder, analyser, alpha=chosen.alpha, report=print)
    write_atomically(chosen.out, save(weights))


if __name__ == "__main__":
    try:
        main()
    except IdseError as error:
        sys.exit(str(error))
