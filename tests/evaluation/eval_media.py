"""Pictures and clips to evaluate on: small, textured, every one different."""

import subprocess

import numpy as np
from PIL import Image


def write_images(folder, sizes, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    for index, (width, height) in enumerate(sizes):
        rng = np.random.default_rng(seed + index)
        coarse = rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noisy = np.asarray(image, np.int16) + rng.integers(-12, 12, (height, width, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{index:02}.png")
    return folder


def write_clip(path, *, seconds=4, rate=5, size="160x96"):
    source = f"testsrc2=size={size}:rate={rate}:duration={seconds}"
    quiet = ["ffmpeg", "-nostdin", "-v", "error", "-y"]
    subprocess.run([*quiet, "-f", "lavfi", "-i", source, "-c:v", "ffv1", path], check=True)
    return path
