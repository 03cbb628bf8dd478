"""How the golden files of version 1 were made. Never again: later versions add files of their own.

Run from the repository's root: ``python tests/golden/vae/make.py``; it refuses to replace a file.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "codecs" / "vae"))

from vae_models import KINDS, digest, make, photo  # noqa: E402

from idse.codecs import vae  # noqa: E402
from idse.learned.vae import export, model  # noqa: E402

# Name of a stream: picture's sides, and the size asked for.
STREAMS = {
    "v1-small": ((40, 56), {"step": 0}),
    "v1-odd": ((129, 200), {"target_bytes": 700}),
    "v1-fine": ((64, 64), {"step": -3000}),
    "v1-coarse": ((70, 130), {"step": 5000}),
    "v1-bands": ((320, 4160), {"step": 3000}),
}


def write(path, data):
    with path.open("xb") as file:
        file.write(data)


def main():
    digests = {}
    for kind in KINDS:
        path = HERE / f"tiny-{kind}.safetensors"
        steps = None if kind == "hyperprior" else (-1024, 3072)
        if path.exists():
            raise SystemExit(f"{path} is there")
        export.write(make(kind, steps=steps), path)
        network = model.load(path)
        for name, (sides, size) in STREAMS.items():
            if kind == "factorised" and name == "v1-odd":
                size = {"target_bytes": 3000}
            data = vae.encode(photo(*sides), network, **size).data
            name = f"{name}-{kind}"
            write(HERE / f"{name}.ivae", data)
            digests[name] = digest(data, network)
            if name.startswith(("v1-small", "v1-odd")):
                decoded = vae.decode(data, lambda _, network=network: network)
                Image.fromarray(np.asarray(decoded)).save(HERE / f"{name}.png")
    write(HERE / "v1-symbols.json", json.dumps(digests, indent=1).encode() + b"\n")


main()
