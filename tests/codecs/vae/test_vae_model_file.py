"""Model files."""

import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from vae_models import GOLDEN, KINDS, make, photo

from idse.codecs import vae
from idse.errors import ModelError
from idse.learned.vae import export, model

pytestmark = pytest.mark.fast


def rewritten(path, kind, *, tensors=None, metadata=None, sign=False):
    file = model.read_file(GOLDEN / f"tiny-{kind}.safetensors")
    content = file.tensors | (tensors or {})
    strings = file.metadata | (metadata or {})
    if sign:
        strings["identity"] = model.identity_of(strings, content).hex()
    path.write_bytes(
        safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in content.items()}, strings)
    )
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_what_was_exported(kind, tmp_path):
    file = make(kind, steps=(-512, 512))
    path = tmp_path / "model.safetensors"
    export.write(file, path)
    back = model.read_file(path)
    assert back.identity == file.identity
    assert back.metadata == file.metadata
    network = model.load(path)
    assert network.steps == (-512, 512)
    assert network.name == "model"
    data = vae.encode(photo(64, 64), network, step=0).data
    assert vae.read_header(data).identity == file.identity[:8]
    vae.decode(data, model.finder([path]))


def test_the_decoder_is_the_identity_and_the_encoder_is_not(tmp_path):
    file = model.read_file(GOLDEN / "tiny-hyperprior.safetensors")
    for name, tensor in file.tensors.items():
        changed = tensor.copy()
        changed.ravel()[0] += 1
        same = model.identity_of(file.metadata, file.tensors | {name: changed}) == file.identity
        assert same == name.startswith(("analysis.", "hyper_analysis."))


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_told(kind, tmp_path):
    path = tmp_path / "model.safetensors"
    base = model.read_file(GOLDEN / f"tiny-{kind}.safetensors").tensors["base"]
    rewritten(path, kind, tensors={"base": base + np.int16(1)})
    with pytest.raises(ModelError, match="identity"):
        model.load(path)
    rewritten(path, kind, metadata={"version": "9"})
    with pytest.raises(ModelError, match="version 9"):
        model.load(path)


# Of a network that does not widen at all.
HYPER = (
    '[{"shuffle": 1, "relu": true}, {"shuffle": 1, "relu": true}, {"shuffle": 1, "relu": false}]'
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensors": {"hyper.0.weight": np.zeros((4, 4, 3, 3))}}, "not this kind"),
        ({"tensors": {"hyper.1.bias": np.full(16, 1 << 60)}}, r"2\^53"),
        ({"tensors": {"base": np.zeros(5, np.int16)}}, "outputs for 5 latents"),
        ({"tensors": {"side.sizes": np.zeros(4, np.int32)}}, "sizes"),
        ({"tensors": {"analysis.9.weight": np.zeros(4, np.float32)}}, "analysis.9"),
        ({"tensors": {"base": np.zeros(6, np.int32)}}, "int32"),
        ({"tensors": {"synthesis.0.bias": np.zeros(9, np.float32)}}, "does not fit"),
        ({"metadata": {"steps": "no"}}, "'steps' is damaged"),
        ({"metadata": {"steps": "[5]"}}, "steps"),
        ({"metadata": {"config": '{"width": -1}'}}, "config"),
        ({"metadata": {"config": '{"depth": 1}'}}, "config"),
        ({"metadata": {"hyper": "[{}]"}}, "hyper"),
        ({"metadata": {"first": '"a"'}}, "first"),
        ({"metadata": {"curve": "[[1, 2], [1, 2]]"}}, "rise"),
        ({"metadata": {"curve": "[[1]]"}}, "curve"),
        ({"metadata": {"steps": "[-1e999, 5]"}}, "'steps' is damaged"),
        ({"metadata": {"steps": "[" * 99999}}, "'steps' is damaged"),
        ({"metadata": {"config": '{"width": 99999}'}}, "width is 99999, expected 1 to 1024"),
        ({"metadata": {"config": '{"width": 4.5}'}}, "width is 4.5"),
        ({"metadata": {"config": '{"width": 4, "latents": 7}'}}, "another network"),
        ({"metadata": {"config": '{"architecture": "factorised"}'}}, "another network"),
        ({"metadata": {"kind": "factorised"}}, "contradict|another network"),
        ({"metadata": {"hyper": HYPER}}, "another network|outputs"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(changes, message, tmp_path):
    path = rewritten(tmp_path / "model.safetensors", "hyperprior", **changes, sign=True)
    with pytest.raises(ModelError, match=message):
        model.load(path)


def test_what_is_no_model_is_told(tmp_path):
    (tmp_path / "noise.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match="no safetensors file"):
        model.load(tmp_path / "noise.safetensors")
    with pytest.raises(ModelError, match="cannot read"):
        model.load(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="unknown VAE model 'nonesuch'"):
        model.load("nonesuch")
    safetensors.numpy.save_file({"a": np.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="of format None"):
        model.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", model.built_in())
def test_built_in_models_load(name):
    assert model.load(name).name == name


def test_headers_and_model_files_are_read_without_torch():
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from idse.codecs import vae; from idse.learned.vae import model\n"
        f"file = model.read_file({str(GOLDEN / 'tiny-hyperprior.safetensors')!r})\n"
        f"data = open({str(GOLDEN / 'v1-odd-hyperprior.ivae')!r}, 'rb').read()\n"
        "assert vae.read_header(data).identity == file.identity[:8]\n"
        "model.prior_of(file)\n"
        "try: model.load('x.safetensors' if False else sys.argv[1])\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(GOLDEN / "tiny-hyperprior.safetensors")],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "pip install 'idse[vae]'" in done.stdout
