"""``vae-encode`` and ``vae-decode`` by Triton's client: results, bounds, deadlines."""

from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from served import TOKEN, served
from tritonclient.utils import InferenceServerException

from idse.codecs import vae
from idse.errors import InputError
from idse.pipeline.images.vae import VaeCodec
from idse.server.kserve import ModelClient

pytestmark = pytest.mark.fast
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "vae"
TINY = str(GOLDEN / "tiny-hyperprior.safetensors")
IMAGE = np.random.default_rng(1).integers(0, 256, (48, 80, 3), np.uint8)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with served(folder, "--vae-model", TINY) as made:
        yield made


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(server.tcp, network_timeout=60) as made:
        yield made


def headers():
    return {"Authorization": f"Bearer {TOKEN}"}


def tensor(name, array, *, binary=True):
    made = triton.InferInput(name, array.shape, "UINT8")
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def call(client, model, array, *, binary=True, **options):
    name = {"vae-encode": "image", "vae-decode": "stream"}[model]
    wanted = {"vae-encode": "stream", "vae-decode": "image"}[model]
    outputs = [triton.InferRequestedOutput(wanted, binary_data=binary)]
    found = client.infer(
        model,
        [tensor(name, array, binary=binary)],
        outputs=outputs,
        headers=headers(),
        **options,
    )
    return found.as_numpy(wanted)


@pytest.mark.parametrize("binary", [True, False])
def test_streams_are_the_librarys(client, binary):
    size = {"parameters": {"target_bytes": 900}}
    stream = call(client, "vae-encode", IMAGE, binary=binary, **size)
    assert stream.dtype == np.uint8
    codec = VaeCodec([TINY])
    assert stream.tobytes() == codec.encode(IMAGE, 900).data
    image = call(client, "vae-decode", stream, binary=binary)
    expected = codec.decode(stream.tobytes())
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= 1
    small = call(client, "vae-encode", IMAGE, parameters={"bpp": 1.5})
    assert len(small) <= 1.5 * 48 * 80 / 8


def test_they_are_described(client):
    for name, given, taken in (
        ("vae-encode", [-1, -1, 3], [-1]),
        ("vae-decode", [-1], [-1, -1, 3]),
    ):
        assert client.is_model_ready(name, headers=headers())
        facts = client.get_model_metadata(name, headers=headers())
        assert facts["inputs"][0]["shape"] == given
        assert facts["outputs"][0]["shape"] == taken
        assert facts["parameters"]["network"] == [TINY]


def test_a_stream_longer_than_any_side(client):
    noise = np.random.default_rng(2).integers(0, 256, (512, 640, 3), np.uint8)
    stream = call(client, "vae-encode", noise, parameters={"target_bytes": 40_000})
    assert len(stream) > 16384
    assert call(client, "vae-decode", stream).shape == noise.shape


@pytest.mark.parametrize(
    ("model", "array", "options", "word"),
    [
        ("vae-encode", IMAGE, {}, "target_bytes and bpp"),
        ("vae-encode", IMAGE, {"bpp": 1, "target_bytes": 9}, "target_bytes and bpp"),
        ("vae-encode", IMAGE, {"bpp": "all"}, "'all'"),
        ("vae-encode", IMAGE, {"bpp": -1.0}, "-1.0"),
        ("vae-encode", IMAGE, {"target_bytes": 1.5}, "1.5"),
        ("vae-encode", IMAGE, {"target_bytes": 40}, "does not fit into 40 bytes"),
        ("vae-encode", IMAGE, {"target_bytes": 900, "network": "x"}, "'network'"),
        ("vae-encode", IMAGE[None], {"bpp": 1}, "(1, 48, 80, 3)"),
        ("vae-encode", IMAGE[..., :2], {"bpp": 1}, "(48, 80, 2)"),
        ("vae-decode", IMAGE[0, 0], {}, "not a VAE stream"),
        ("vae-decode", IMAGE[0], {}, "(80, 3)"),
    ],
)
def test_what_makes_no_sense_is_refused(client, model, array, options, word):
    with pytest.raises(InferenceServerException) as refused:
        call(client, model, np.ascontiguousarray(array), parameters=options)
    assert refused.value.status() == "400"
    assert word in str(refused.value)


def test_hostile_streams(client, server):
    good = VaeCodec([TINY]).encode(IMAGE, 900).data
    huge = bytearray(good)
    huge[13:17] = b"\xff\xff\x30\x00"
    other = (GOLDEN / "v1-small-factorised.ivae").read_bytes()
    before = server.memory()
    for data, status in ((good[:-1], "400"), (bytes(huge), "400"), (other, "422")):
        with pytest.raises(InferenceServerException) as refused:
            call(client, "vae-decode", np.frombuffer(data, np.uint8))
        assert refused.value.status() == status
    assert server.memory() - before < 64 << 20


def test_pictures_beyond_the_limit(client):
    wide = np.zeros((700, 14000, 3), np.uint8)
    with pytest.raises(InferenceServerException, match="has more than 9437184 pixels"):
        call(client, "vae-encode", wide, parameters={"bpp": 0.1})


def test_deadlines(client):
    call(client, "vae-encode", IMAGE, parameters={"bpp": 2})
    with pytest.raises(InferenceServerException, match="in time") as refused:
        call(client, "vae-encode", IMAGE, parameters={"bpp": 2}, timeout=1)
    assert refused.value.status() == "429"


def test_our_own_client(server):
    client = ModelClient(Path(server.facts["http"]))
    stream = client.infer("vae-encode", {"image": IMAGE}, {"target_bytes": 900})["stream"]
    assert vae.read_header(stream.tobytes()).width == 80
    with pytest.raises(InputError, match="damaged"):
        client.infer("vae-decode", {"stream": stream[:-1]})


def test_a_model_that_cannot_be_loaded_is_an_error(tmp_path):
    with served(tmp_path, "--vae-model", "missing.safetensors") as made:
        client = ModelClient(Path(made.facts["http"]))
        with pytest.raises(InputError, match=r"missing\.safetensors"):
            client.infer("vae-encode", {"image": IMAGE}, {"bpp": 1.0})
        assert client.ready()
