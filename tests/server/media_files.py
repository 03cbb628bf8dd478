"""An image and a clip with something to see on the left."""

from __future__ import annotations

import av
import numpy as np
from PIL import Image


def picture(n=0):
    """uint8 (192, 320, 3): noise in patches, which moves to the right."""
    rng = np.random.default_rng(3)
    patches = rng.integers(0, 256, (24, 40, 3), np.uint8)
    return np.roll(patches.repeat(8, 0).repeat(8, 1), 3 * n, axis=1)


def image_file(path):
    Image.fromarray(picture()).save(path)
    return path


def clip_file(path, pictures=30):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        stream.bit_rate = 4_000_000
        for n in range(pictures):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(n), "rgb24")))
        container.mux(stream.encode())
    return path
