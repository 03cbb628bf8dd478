"""Streams and model files of every version stay readable."""

import json

import numpy as np
import pytest
from PIL import Image
from vae_models import GOLDEN, digest

from idse.codecs import vae
from idse.learned.vae import model

pytestmark = pytest.mark.fast

STREAMS = sorted(GOLDEN.glob("*.ivae"))
SYMBOLS = json.loads((GOLDEN / "v1-symbols.json").read_text())


@pytest.fixture(scope="module")
def find():
    return model.finder(sorted(GOLDEN.glob("*.safetensors")))


def test_there_are_streams():
    assert {path.stem for path in STREAMS} == SYMBOLS.keys()
    assert len(STREAMS) >= 10


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_symbols_are_as_ever(path, find):
    data = path.read_bytes()
    assert digest(data, find(vae.read_header(data).identity)) == SYMBOLS[path.stem]


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_pixels_are_as_ever(path, find):
    decoded = vae.decode(path.read_bytes(), find)
    header = vae.read_header(path.read_bytes())
    assert decoded.shape == (header.height, header.width, 3)
    picture = path.with_suffix(".png")
    if picture.exists():
        wanted = np.asarray(Image.open(picture)).astype(int)
        assert np.abs(decoded - wanted).max() <= 1
