"""The codec's weights that come with the package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import idse
from idse.codecs.vae import decode, encode
from idse.evaluation.metrics import psnr
from idse.learned.vae.model import load, read_file

pytestmark = pytest.mark.fast

WEIGHTS = sorted((Path(idse.__file__).parent / "weights").glob("vae-*.safetensors"))


def test_weights_are_small_and_say_where_they_are_from() -> None:
    assert WEIGHTS
    assert sum(path.stat().st_size for path in WEIGHTS) < 12_000_000
    for path in WEIGHTS:
        card = json.loads(read_file(path).metadata["card"])
        assert {"data", "distortion", "calibration", "notes"} <= card.keys()
        assert path.name in (path.parent / "vae.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_weights_code_a_picture_at_a_twentieth_of_a_bit(path: Path) -> None:
    network = load(path)
    rows, columns = np.mgrid[:192, :256]
    smooth = [rows, columns, (rows + columns) // 2]
    pixels = np.stack(smooth, axis=-1).astype(np.uint8)
    coded = encode(pixels, network, target_bpp=0.05)
    decoded = decode(coded.data, lambda _: network)
    assert len(coded.data) <= 0.05 * 192 * 256 / 8
    assert psnr(pixels[..., 0], decoded[..., 0]) > 24
