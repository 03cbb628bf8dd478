"""The learned codec as the library's parts share it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from still_pictures import photo

from idse.pipeline.images.vae import VaeCodec

pytestmark = pytest.mark.fast
GOLDEN = Path(__file__).parents[1] / "golden" / "vae"
MODELS = [GOLDEN / f"tiny-{kind}.safetensors" for kind in ("hyperprior", "factorised")]


def test_threads_get_what_one_gets():
    """Also while models are being loaded: everyone begins with a codec that has none."""
    pictures = [photo(96 + 8 * number, 80) for number in range(4)]
    alone = VaeCodec(MODELS)
    made = [alone.encode(picture, 700).data for picture in pictures]
    shown = [alone.decode(data) for data in made]
    shared = VaeCodec(MODELS)
    other = (GOLDEN / "shipped" / "vae-photo-1.ivae").read_bytes()

    def work(number):
        data = shared.encode(pictures[number % 4], 700).data
        return data, shared.decode(data), shared.decode(other)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(24)))
    for number, (data, decoded, old) in enumerate(found):
        assert data == made[number % 4]
        assert np.array_equal(decoded, shown[number % 4])
        assert np.array_equal(old, found[0][2])
