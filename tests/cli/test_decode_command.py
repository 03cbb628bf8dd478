"""``idse image --fallback`` and ``idse decode`` as people call them."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idse.cli import main

pytestmark = pytest.mark.fast
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "vae"
MODEL = ("--vae-model", str(GOLDEN / "tiny-hyperprior.safetensors"))
CODED, DECODED = GOLDEN / "v1-small-hyperprior.ivae", GOLDEN / "v1-small-hyperprior.png"


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "in.png"
    small = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    Image.fromarray(small).resize((192, 128), Image.Resampling.BICUBIC).save(path)
    return path


def image(*args):
    return main(["image", *map(str, args), "--no-steer"])


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_ending_follows_what_was_chosen(picture, tmp_path, capsys):
    out = tmp_path / "out.jpg"
    assert image(picture, out, "--target-bytes", 560, "--fallback", "vae", *MODEL) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{tmp_path / 'out.ivae'}: ")
    assert "vae by tiny-hyperprior, asked for target-bytes 560, JPEG does not reach" in told
    assert files(tmp_path) == ["in.png", "out.ivae"]
    assert main(["decode", str(tmp_path / "out.ivae"), str(tmp_path / "back.png"), *MODEL]) == 0
    assert Image.open(tmp_path / "back.png").size == (192, 128)
    wide = ("--target-bytes", "9k", "--fallback", "vae", *MODEL, "--json", "-y")
    assert image(picture, tmp_path / "out.ivae", *wide) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["codec"] == "jpeg"
    assert report["chosen_because"].startswith("JPEG loses")
    assert set(report["losses"]) == {"jpeg", "vae"}
    assert Image.open(out).format == "JPEG"


def test_stock_forms(picture, tmp_path, capsys):
    out = tmp_path / "out.jpg"
    assert image(picture, out, "--target-bytes", 560, "--fallback", "vae-h264", *MODEL) == 0
    assert files(tmp_path) == ["in.png", "out.h264"]
    assert "vae-h264 by tiny-hyperprior" in capsys.readouterr().out


def test_what_a_fallback_cannot_do(picture, tmp_path, capsys):
    out = tmp_path / "out.jpg"
    (tmp_path / "out.ivae").touch()
    small = ("--target-bytes", "560")
    for args, word in (
        ((picture, out, *small), "--fallback vae"),
        ((picture, out, "--fallback", "vae"), "target-bytes or bpp"),
        ((picture, out, *small, "--fallback", "vae", *MODEL), "out.ivae exists"),
        ((picture, out, *small, *MODEL), "ask for one"),
        ((tmp_path, tmp_path / "to", *small, "--fallback", "vae"), "vae-jpeg"),
        ((picture, out, *small, "--fallback", "vae-jpeg", "--vae-model", "x.bin"), "x.bin"),
    ):
        strict = () if word in {"--fallback vae", "out.ivae exists"} else ("--strict",)
        assert image(*args, *strict) == 2
        captured = capsys.readouterr()
        assert word in captured.err
        assert captured.err.count("\n") == 1
        assert not out.exists()


def test_a_folder_of_simplified_jpegs(picture, tmp_path, capsys):
    (tmp_path / "from").mkdir()
    picture.rename(tmp_path / "from" / "a.png")
    options = ("--bpp", "0.3", "--fallback", "vae-jpeg", *MODEL, "--jobs", 1)
    assert image(tmp_path / "from", tmp_path / "to", *options, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["codec"] in {"jpeg", "vae-jpeg"}
    assert (tmp_path / "to" / "a.jpg").stat().st_size <= 0.3 * 192 * 128 / 8


def test_decoding(tmp_path, capfdbinary, monkeypatch):
    out = tmp_path / "out.png"
    assert main(["decode", str(CODED), str(out), *MODEL]) == 0
    expected = np.asarray(Image.open(DECODED)).astype(int)
    assert np.abs(np.asarray(Image.open(out)) - expected).max() <= 1
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CODED.read_bytes())))
    capfdbinary.readouterr()
    assert main(["decode", "-", "-", "--format", "ppm", *MODEL]) == 0
    sys.stdout.flush()
    found = Image.open(io.BytesIO(capfdbinary.readouterr().out))
    assert np.abs(np.asarray(found) - expected).max() <= 1


def test_what_cannot_be_decoded(tmp_path, capsys):
    damaged = tmp_path / "damaged.ivae"
    damaged.write_bytes(CODED.read_bytes()[:-1] + b"\0")
    other = ("--vae-model", str(GOLDEN / "tiny-factorised.safetensors"))
    (tmp_path / "there.png").touch()
    for source, target, options, word in (
        (CODED, "out.png", other, "which is not here"),
        (CODED, "out", MODEL, "--format"),
        (CODED, "out.xyz", MODEL, ".xyz"),
        (CODED, "there.png", MODEL, "exists"),
        (CODED, "none/out.png", MODEL, "no folder"),
        (CODED, "out.png", (*MODEL, "--format", "nonesuch"), "nonesuch"),
        (CODED, "out.png", ("--vae-model", "none.safetensors"), "none.safetensors: No such file"),
        (damaged, "out.png", MODEL, f"cannot decode {damaged}: "),
        (DECODED, "out.png", MODEL, f"cannot decode {DECODED}: not a VAE stream"),
        (tmp_path / "missing.ivae", "out.png", MODEL, "No such file"),
    ):
        assert main(["decode", str(source), str(tmp_path / target), *options]) == 2
        captured = capsys.readouterr()
        assert word in captured.err, captured.err
        assert captured.err.startswith("idse decode: ")
        assert captured.err.count("\n") == 1
        assert files(tmp_path) == ["damaged.ivae", "there.png"]


def test_a_pipe_is_written_into_and_not_replaced(tmp_path):
    """Nor /dev/null, where root decodes."""
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert main(["decode", str(CODED), str(pipe), "-y", *MODEL]) == 0
        assert pipe.is_fifo()
        with Image.open(io.BytesIO(os.read(reader, 1 << 16))) as found:
            assert found.size == Image.open(DECODED).size
    finally:
        os.close(reader)
