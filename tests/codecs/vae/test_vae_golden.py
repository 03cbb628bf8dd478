"""Streams and model files of every version stay readable."""

import json

import numpy as np
import pytest
from PIL import Image
from vae_models import GOLDEN, digest

from idse.codecs import vae
from idse.errors import ModelError
from idse.learned.vae import model
from idse.pipeline.images.vae import VaeCodec

pytestmark = pytest.mark.fast

STREAMS = sorted(GOLDEN.glob("*.ivae"))
SHIPPED = sorted((GOLDEN / "shipped").glob("*.ivae"))
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


def test_every_model_that_ships_has_a_stream():
    assert {path.stem for path in SHIPPED} == set(model.built_in())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_streams_of_models_that_shipped_stay_readable(path):
    """By whoever asks for no model: better weights are put beside those before, not over them."""
    data = path.read_bytes()
    codec = VaeCodec()
    network = codec.find(vae.read_header(data).identity)
    assert network.name == path.stem
    assert digest(data, network) == path.with_suffix(".sha256").read_text().strip()
    wanted = np.asarray(Image.open(path.with_suffix(".png"))).astype(int)
    assert np.abs(codec.decode(data) - wanted).max() <= 1


def test_pictures_are_coded_by_the_last_model_of_a_kind(monkeypatch):
    assert VaeCodec().names == model.current() == (model.built_in()[-1],)
    names = ("vae-a-1", "vae-a-10", "vae-a-2", "vae-b-c-3")
    monkeypatch.setattr(model, "built_in", lambda: names)
    assert model.current() == ("vae-a-10", "vae-b-c-3")


def test_a_users_own_model_leaves_the_others_readable():
    codec = VaeCodec([GOLDEN / "tiny-hyperprior.safetensors"])
    for path in (GOLDEN / "v1-small-hyperprior.ivae", *SHIPPED):
        assert codec.decode(path.read_bytes()).shape[2] == 3
    with pytest.raises(ModelError, match=r"tiny-hyperprior .*, vae-photo-1 .*--vae-model"):
        codec.decode((GOLDEN / "v1-small-factorised.ivae").read_bytes())
