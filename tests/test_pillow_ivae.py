"""Pictures of the learned codec as Pillow opens and saves them."""

import io
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import idse.pillow
from idse.codecs import vae
from idse.errors import InputError, ModelError, TargetError

pytestmark = pytest.mark.fast
GOLDEN = Path(__file__).parent / "golden" / "vae"
MODELS = [str(GOLDEN / f"tiny-{kind}.safetensors") for kind in ("hyperprior", "factorised")]
CODED, DECODED = GOLDEN / "v1-odd-hyperprior.ivae", GOLDEN / "v1-odd-hyperprior.png"


@pytest.fixture(autouse=True)
def installed():
    idse.pillow.install(vae_models=MODELS)
    yield
    idse.pillow.uninstall()


@pytest.fixture(scope="module")
def image():
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((128, 96), Image.Resampling.BICUBIC)


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "IVAE", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["hyperprior", "factorised"])
def test_golden_files(kind):
    with Image.open(GOLDEN / f"v1-odd-{kind}.ivae") as found:
        assert (found.format, found.mode) == ("IVAE", "RGB")
        assert len(found.info["vae_model"]) == 16
        expected = np.asarray(Image.open(GOLDEN / f"v1-odd-{kind}.png")).astype(int)
        assert np.abs(np.asarray(found).astype(int) - expected).max() <= 1
        assert found.get_format_mimetype() == "image/x-ivae"


def test_saving_and_opening(image, tmp_path):
    path = tmp_path / "small.ivae"
    image.save(path, target_bytes=500)
    assert 480 <= path.stat().st_size <= 500
    with Image.open(path) as found:
        assert found.size == image.size
        found.load()
        copied = found.copy()
        assert pickle.loads(pickle.dumps(copied)) == copied
        again = found.convert("L").resize((32, 24))
    assert again.size == (32, 24)
    data = saved(image, bpp=0.5)
    assert len(data) <= 0.5 * 128 * 96 / 8
    assert np.asarray(Image.open(io.BytesIO(data))).shape == (96, 128, 3)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "YCbCr"])
def test_modes(image, mode):
    data = saved(image.convert(mode), target_bytes=900)
    assert Image.open(io.BytesIO(data)).size == image.size


def test_nothing_is_decoded_before_it_is_looked_at():
    data = bytearray(CODED.read_bytes())
    idse.pillow.install(vae_models=["missing.safetensors"])
    with Image.open(CODED) as found:
        assert found.size == Image.open(DECODED).size
        with pytest.raises(ModelError, match=r"missing\.safetensors"):
            found.load()
    data[-1] ^= 1
    with pytest.raises(InputError, match="damaged"):
        Image.open(io.BytesIO(data))


def test_damage_is_what_callers_of_pillow_catch():
    """Who walks over a folder of pictures does so with OSError."""
    data = CODED.read_bytes()
    for damaged in (data[:-1], data[:20], b"IVAE", b"IVAE" + bytes(100)):
        with pytest.raises(UnidentifiedImageError, match="VAE stream"):
            Image.open(io.BytesIO(damaged))
    # A payload that no encoder writes, behind a checksum that agrees.
    forged = data[:17] + b"\x80\x00" + data[19:23]
    payload = b"\xff" * len(data[27:])
    forged += struct.pack(">I", zlib.crc32(payload, zlib.crc32(forged))) + payload
    with Image.open(io.BytesIO(forged)) as found, pytest.raises(OSError, match="damaged"):
        found.load()


def test_another_model(tmp_path):
    idse.pillow.install(vae_models=MODELS[1:])
    with Image.open(CODED) as found, pytest.raises(ModelError, match="not here"):
        found.load()


def test_what_cannot_be_saved(image, tmp_path):
    path = tmp_path / "small.ivae"
    for options in ({}, {"quality": 75}, {"target_bytes": 500, "bpp": 1}):
        with pytest.raises(InputError, match="target_bytes"):
            image.save(path, **options)
    with pytest.raises(TargetError, match="does not fit into 40 bytes"):
        image.save(path, target_bytes=40)
    for value in (0, -5, 2.5, True):
        with pytest.raises(InputError, match="whole number"):
            image.save(path, target_bytes=value)
    with pytest.raises(InputError, match="transparent"):
        Image.new("RGBA", (64, 64)).save(path, target_bytes=500)
    assert not path.exists()


def test_bombs_are_pillows_to_refuse(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(CODED)


def test_without_install_it_is_no_format():
    idse.pillow.uninstall()
    with pytest.raises(UnidentifiedImageError):
        Image.open(CODED)
    idse.pillow.install(vae_models=MODELS)
    assert vae.read_header(CODED.read_bytes()).width == Image.open(CODED).width


def test_jpegs_saved_with_a_fallback_stay_jpegs(image):
    buffer = io.BytesIO()
    options = {"model": None, "fallback": "vae-jpeg", "vae_models": tuple(MODELS[:1])}
    image.save(buffer, "JPEG", idse=options, target_bytes=700)
    assert Image.open(io.BytesIO(buffer.getvalue())).format == "JPEG"
    with pytest.raises(InputError, match=r"\.ivae"):
        image.save(buffer, "JPEG", idse={**options, "fallback": "vae"}, target_bytes=700)


def test_opening_needs_neither_torch_nor_constriction():
    code = f"""
import sys
sys.modules["torch"] = sys.modules["constriction"] = None
import idse.pillow
from PIL import Image
idse.pillow.install()
assert Image.open({str(CODED)!r}).size
"""
    subprocess.run([sys.executable, "-c", code], check=True)
