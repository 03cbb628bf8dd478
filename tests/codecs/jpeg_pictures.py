"""Pictures for the JPEG tests, and the shapes and scripts that hypothesis draws."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from idse.codecs.jpeg import JpegLayout, Scan

SAMPLINGS = ("4:2:0", "4:2:2", "4:4:4", "grey")

# No multiples of an MCU, exact ones, and the thinnest there are.
SIZES = ((1, 1), (8, 8), (9, 7), (16, 16), (17, 33), (31, 47), (64, 1), (1, 64), (100, 75))


def picture(width, height, *, grey=False, seed=0):
    """Gradients under noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = (x * 255 / max(width - 1, 1), y * 255 / max(height - 1, 1), (x + y) % 256)
    pixels = np.stack(planes, -1) + rng.normal(0, 20, (height, width, 3))
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[..., 0]) if grey else pixels


def coefficients(layout, seed, scale=40.0):
    """Sparse coefficients that fill the range now and then."""
    rng = np.random.default_rng(seed)
    arrays = []
    for i in range(layout.components):
        shape = (*layout.block_shape(i), 8, 8)
        values = rng.laplace(0, scale, shape) * (rng.random(shape) < 0.3)
        arrays.append(np.clip(values, -1023, 1023).astype(np.int16))
        arrays[-1][..., 0, 0] = rng.integers(-1024, 1024, shape[:2])
    return arrays


layouts = st.builds(
    JpegLayout, st.integers(1, 70), st.integers(1, 70), sampling=st.sampled_from(SAMPLINGS)
)


@st.composite
def scripts(draw, components):
    """Draw a legal, complete script: None (sequential), sequential scans, or progressive."""
    kind = draw(st.sampled_from(["none", "sequential", "progressive", "progressive"]))
    if kind == "none":
        return None
    order = draw(st.permutations(range(components)))
    if kind == "sequential":
        cut = draw(st.integers(1, components))
        groups = [tuple(sorted(order[:cut])), tuple(sorted(order[cut:]))]
        return [Scan(group, 0, 63, 0, 0) for group in groups if group]
    together = draw(st.booleans())
    groups = [tuple(range(components))] if together else [(i,) for i in order]
    chains = [[Scan(group, 0, 0, *bits) for group in groups for bits in draw(_passes())]]
    for component in order:
        edges = sorted({1, 64, *draw(st.lists(st.integers(2, 63), max_size=3))})
        for first, end in pairwise(edges):
            passes = draw(_passes())
            chains.append([Scan((component,), first, end - 1, *bits) for bits in passes])
    # Each band's passes keep their order; bands mix, behind all first passes of DC.
    start = [scan for scan in chains[0] if scan.ah == 0]
    chains[0] = [scan for scan in chains[0] if scan.ah]
    rest = []
    while any(chains):
        chain = draw(st.sampled_from([c for c in chains if c]))
        rest.append(chain.pop(0))
    return start + rest


@st.composite
def _passes(draw):
    """(ah, al) of the passes over a band, down to bit 0."""
    first = draw(st.integers(0, 3))
    return [(0, first), *((bit + 1, bit) for bit in range(first - 1, -1, -1))]
