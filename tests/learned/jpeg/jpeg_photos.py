"""Pictures for the tests of JPEG control."""

import numpy as np


def photo(width, height, seed=0):
    """Smooth shapes of all sizes, as pictures have them, and some grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    pixels = np.zeros((height, width, 3)) + 128
    for _ in range(25):
        wave = np.sin(rng.normal(0, 0.15) * x + rng.normal(0, 0.15) * y + rng.uniform(0, 6))
        part = rng.uniform() * x > rng.uniform() * y
        pixels += rng.normal(0, 12, 3) * (wave * part)[..., None]
    return np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
