"""How a golden stream of a model that ships is made, once, when it is added.

Run from the repository's root: ``python tests/golden/vae/make_shipped.py vae-photo-1``; it refuses
to replace a file.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "codecs" / "vae"))

from vae_models import digest, photo  # noqa: E402

from idse.codecs import vae  # noqa: E402
from idse.learned.vae import model  # noqa: E402


def main(name):
    network = model.load(name)
    data = vae.encode(photo(129, 200), network, target_bytes=900).data
    decoded = vae.decode(data, lambda _: network)
    for suffix, content in ((".ivae", data), (".sha256", digest(data, network).encode() + b"\n")):
        with (HERE / "shipped" / f"{name}{suffix}").open("xb") as file:
            file.write(content)
    Image.fromarray(np.asarray(decoded)).save(HERE / "shipped" / f"{name}.png")


main(sys.argv[1])
