"""Our own client of the KServe protocol: the same arrays, and what went wrong as exceptions."""

from pathlib import Path

import numpy as np
import pytest
import tiny_networks
from served import TOKEN, served

from idse.errors import AccessError, BusyError, InputError, ProtocolError
from idse.importance import Analyser
from idse.server.inference import read_call
from idse.server.kserve import ModelClient
from idse.server.models import Models

pytestmark = pytest.mark.fast
IMAGE = np.random.default_rng(1).integers(0, 256, (48, 80, 3), np.uint8)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with served(folder, "--model", "tiny_networks:slow") as made:
        yield made


@pytest.fixture
def client(server):
    return ModelClient(Path(server.facts["http"]))


def test_maps_and_sketches_are_the_librarys(client):
    models = Models(["tiny_networks:sees_left"])
    models.load()
    (picture,) = read_call("importance", {"image": IMAGE}, {"frame_index": 4}, models).pictures
    analyser = Analyser([(tiny_networks.sees_left(), 1.0)], n_s=3)
    found = client.importance(IMAGE, n_s=3, frame_index=4)
    np.testing.assert_allclose(found, analyser.analyse(picture).weight(), rtol=1e-5)
    parts, sketch = client.sketch(IMAGE, n_s=3, frame_index=4), analyser.sketch(picture)
    np.testing.assert_allclose(parts["y"], sketch.y, rtol=1e-4, atol=1e-7)
    assert parts["cb"].shape == (3, 48, 80)
    assert client.importance(np.stack([IMAGE] * 2)).shape == (2, 3, 5)


def test_tcp_needs_the_token(server):
    assert ModelClient(server.tcp, token=TOKEN).ready()
    assert ModelClient(server.tcp, token=TOKEN).status()["encoders"] == []
    with pytest.raises(AccessError, match="token"):
        ModelClient(server.tcp).status()


def test_what_goes_wrong_is_told_apart(client, tmp_path):
    with pytest.raises(InputError, match="not one of this server's"):
        client.importance(IMAGE, network="other")
    with pytest.raises(InputError, match="float64"):
        client.importance(IMAGE / 255)
    client.importance(IMAGE, network="tiny_networks:slow")
    with pytest.raises(BusyError, match="in time"):
        client.importance(IMAGE, network="tiny_networks:slow", timeout=1000)
    nobody = ModelClient(tmp_path / "nobody")
    assert not nobody.ready()
    with pytest.raises(ProtocolError, match="no server answers"):
        nobody.status()
