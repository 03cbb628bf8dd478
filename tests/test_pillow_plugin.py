"""Pillow's save with and without ``idse=``."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, JpegImagePlugin

import idse.pillow
from idse.codecs.jpeg import read
from idse.errors import InputError, TargetError
from idse.vision import FeatureExtractor

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def installed():
    idse.pillow.install()
    yield
    idse.pillow.uninstall()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, stride=2), torch.nn.Tanh())
    return FeatureExtractor(module, size=(64, 64), fit="stretch")


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((128, 96), Image.Resampling.BICUBIC)


def saved(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


OTHERS = [
    ("JPEG", {}),
    ("JPEG", {"quality": 30, "optimize": True, "progressive": True}),
    ("JPEG", {"subsampling": 0, "dpi": (72, 72), "comment": "hello", "exif": Image.Exif()}),
    ("JPEG", {"qtables": "web_low", "icc_profile": b"profile", "smooth": 10}),
    ("JPEG", {"idse": False, "quality": 80}),
    ("JPEG", {"idse": None, "target_bytes": 7}),
    ("PNG", {"idse": True}),
    ("WEBP", {"quality": 50}),
    ("PDF", {"creationDate": None, "modDate": None}),
    ("MPO", {"save_all": True}),
]


@pytest.mark.parametrize(("kind", "options"), OTHERS)
def test_every_other_save_is_pillows(image, kind, options):
    idse.pillow.uninstall()
    before = saved(image, kind, **options)
    idse.pillow.install()
    assert saved(image, kind, **options) == before


def test_installing_twice_and_taking_away_twice():
    idse.pillow.install()
    idse.pillow.uninstall()
    idse.pillow.uninstall()
    assert Image.SAVE["JPEG"] is JpegImagePlugin._save
    idse.pillow.install()


def test_another_handler_before_ours_survives(image, network):
    ours = Image.SAVE["JPEG"]
    Image.SAVE["JPEG"] = lambda *args: ours(*args)
    try:
        idse.pillow.uninstall()
        assert saved(image, idse=network, target_bytes=3000) == saved(image)
        idse.pillow.install()
        assert saved(image, idse=network, target_bytes=3000) != saved(image)
    finally:
        Image.SAVE["JPEG"] = ours


def test_a_target_by_file_name(image, network, tmp_path):
    path = tmp_path / "x.jpg"
    image.save(path, idse=network, target_bytes=2500)
    assert 2400 < path.stat().st_size <= 2500
    assert Image.open(path).size == image.size
    assert path.read_bytes() == idse.encode_jpeg(image, model=network, target_bytes=2500)


@pytest.mark.parametrize("form", ["option", "mapping"])
def test_options_of_both_kinds(image, network, form):
    if form == "option":
        data = saved(image, idse=network, bpp=1.5, subsampling="4:4:4", progressive=False)
    else:
        asked = {"model": network, "bpp": 1.5, "sampling": "4:4:4", "progressive": False}
        data = saved(image, idse=asked)
    assert data == idse.encode_jpeg(
        image, model=network, bpp=1.5, sampling="4:4:4", progressive=False
    )
    assert not read(data).progressive


def test_metadata_is_what_is_handed_to_save(image, network):
    exif = Image.Exif()
    exif[0x0112] = 8
    data = saved(
        image,
        idse=network,
        exif=exif,
        icc_profile=b"profile",
        dpi=(300, 150),
        comment="héllo",
        xmp=b"<x/>",
        extra=b"\xff\xed\x00\x06abcd",
        restart_marker_rows=1,
    )
    opened = Image.open(io.BytesIO(data))
    assert opened.getexif()[0x0112] == 8
    assert opened.info["icc_profile"] == b"profile"
    assert opened.info["dpi"] == (300, 150)
    assert opened.info["comment"] == "héllo".encode()
    assert opened.info["xmp"] == b"<x/>"
    file = read(data)
    assert file.orientation == 8
    assert file.restart_interval > 0
    assert (0xED, b"abcd") in [(marker.code, marker.data) for marker in file.markers]
    assert len(read(saved(image, idse=network)).markers) == 1


def test_a_comment_that_was_read_stays_as_pillow_keeps_it(image, network):
    first = Image.open(io.BytesIO(saved(image, comment="kept", quality=95)))
    again = Image.open(io.BytesIO(saved(first, idse=network)))
    assert again.info["comment"] == b"kept"


def test_subsampling_can_be_kept(image, network):
    first = Image.open(io.BytesIO(saved(image, subsampling="4:2:2")))
    assert read(saved(first, idse=network, subsampling="keep")).layout.sampling == "4:2:2"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"quality": 80, "target_bytes": 900}, "exclude"),
        ({"quality": "keep"}, "keep"),
        ({"quality": "web_low"}, "web_low"),
        ({"qtables": [[1] * 64]}, "qtables"),
        ({"smooth": 5}, "smooth"),
        ({"keep_rgb": True}, "keep_rgb"),
        ({"restart_marker_blocks": 4}, "restart_marker_rows"),
        ({"subsampling": "4:1:0"}, "4:1:0"),
        ({"idse": {"size": 3}}, "no option size"),
        ({"idse": {"quality": 30}, "quality": 40}, "40.*30"),
        ({"extra": b"\xff\xed\x00\xff"}, "extra"),
        ({"extra": b"ab"}, "extra"),
    ],
)
def test_what_makes_no_sense_is_refused(image, options, word, tmp_path):
    path = tmp_path / "x.jpg"
    with pytest.raises(InputError, match=word):
        image.save(path, **{"idse": True} | options)
    assert not path.exists()


@pytest.mark.parametrize("mode", ["CMYK", "F", "I;16"])
def test_pictures_that_no_jpeg_holds(mode, network):
    with pytest.raises(InputError, match="first"):
        saved(Image.new(mode, (8, 8)), idse=network)


def test_a_size_out_of_reach_leaves_no_file(image, network, tmp_path):
    with pytest.raises(TargetError, match="out of reach"):
        image.save(tmp_path / "x.jpg", idse=network, target_bytes=50)
    assert list(tmp_path.iterdir()) == []


def test_thumbnails(image, network):
    small = image.copy()
    small.thumbnail((40, 40))
    assert Image.open(io.BytesIO(saved(small, idse=network))).size == small.size


def test_torch_is_imported_when_it_is_needed():
    code = """
import io, sys
import idse.pillow
from PIL import Image
idse.pillow.install()
image = Image.new("RGB", (16, 16), "red")
image.save(io.BytesIO(), "JPEG")
assert "torch" not in sys.modules
image.save(io.BytesIO(), "JPEG", idse={"model": None})
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
