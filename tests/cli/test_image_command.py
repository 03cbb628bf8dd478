"""``idse image`` as people call it: summaries, bad input, what is left behind."""

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idse.cli import main
from idse.codecs.jpeg import encode, read

FAST, FULL = pytest.mark.fast, pytest.mark.full
NETWORKS = Path(__file__).resolve().parents[1] / "pipeline"
LEFT = ("--model", "still_pictures:left")


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    monkeypatch.chdir(NETWORKS)  # where still_pictures:left is found


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "in.png"
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (8, 12, 3)).astype(np.uint8)
    Image.fromarray(small).resize((160, 112), Image.Resampling.BICUBIC).save(path)
    return path


def idse(*args):
    return main(["image", *map(str, args)])


def assert_refused(capsys, folder, *words, before=("in.png",)):
    """One line that has the words, and no new file."""
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("idse image: ")
    for word in words:
        assert word in lines[0]
    assert sorted(path.name for path in folder.iterdir()) == sorted(before)


@FAST
def test_a_size_and_what_is_said_about_it(picture, tmp_path, capsys):
    out = tmp_path / "out.jpg"
    assert idse(picture, out, *LEFT, "--target-bytes", "3k") == 0
    size = out.stat().st_size
    assert 2900 < size <= 3000
    told = capsys.readouterr().out
    assert told.startswith(f"{out}: {size} bytes, {8 * size / (160 * 112):.2f} bpp, ")
    assert "steered by still_pictures:left, asked for target-bytes 3000" in told


@FAST
def test_json(picture, tmp_path, capsys):
    out = tmp_path / "out.jpg"
    assert idse(picture, out, *LEFT, "--accuracy", "0.9", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bytes"] == out.stat().st_size
    assert report["agreement"] >= 0.9
    assert report["sampling"] == read(out.read_bytes()).layout.sampling == "4:2:0"
    assert report["source_bytes"] == picture.stat().st_size
    assert (report["width"], report["height"], report["steered"]) == (160, 112, True)


@FAST
def test_stock_is_libjpeg_turbo(picture, tmp_path, capsys):
    out = tmp_path / "out.jpg"
    assert idse(picture, out, "--no-steer", "--quality", 40, "--baseline") == 0
    assert out.read_bytes() == encode(np.asarray(Image.open(picture)), quality=40)
    assert "stock libjpeg-turbo at quality 40" in capsys.readouterr().out


@FAST
def test_forms(picture, tmp_path):
    out = tmp_path / "out.jpg"
    assert idse(picture, out, *LEFT, "--sampling", "4:4:4", "--restart-rows", 2, "--baseline") == 0
    file = read(out.read_bytes())
    assert (file.layout.sampling, file.progressive) == ("4:4:4", False)
    assert file.restart_interval == 2 * 20


@FAST
def test_pipes(picture, capfdbinary, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(picture.read_bytes())))
    assert idse("-", "-", *LEFT, "--bpp", "1") == 0
    sys.stdout.flush()
    out = capfdbinary.readouterr().out
    assert len(out) <= 160 * 112 / 8
    assert read(out).layout.width == 160


@FAST
def test_a_picture_of_what_matters(picture, tmp_path):
    drawn = tmp_path / "map.png"
    assert idse(picture, tmp_path / "out.jpg", *LEFT, "--map-picture", drawn) == 0
    width, height = Image.open(drawn).size
    assert (width, height > 112) == (2 * 160 + 8, True)


@FAST
def test_a_network_that_fails_gives_stock_and_a_warning(picture, tmp_path, capsys):
    out = tmp_path / "out.jpg"
    args = (picture, out, "--model", "still_pictures:fails", "--quality", 50)
    assert idse(*args) == 0
    assert "stock libjpeg-turbo at quality 50" in capsys.readouterr().out
    assert out.read_bytes() == encode(np.asarray(Image.open(picture)), quality=50, progressive=True)
    out.unlink()
    assert idse(*args, "--strict") == 2
    assert_refused(capsys, tmp_path, "out of order")


@FAST
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--target-bytes", "90"), ("90 bytes are out of reach", "its smallest JPEG has")),
        (("--target-bytes", "lots"), ("'lots'", "20k")),
        (("--quality", "0"), ("quality 0",)),
        (("--bpp", "nan"), ("nan",)),
        (("--accuracy", "2"), ("accuracy 2",)),
        (("--accuracy", "0.9", "--no-steer"), ("--accuracy", "--no-steer")),
        (("--model", "nonesuch"), ("'nonesuch'", "yolov4-tiny")),
        (("--model", "left=0"), ("of left", "above 0")),
        (("--model", "still_pictures:not_finite", "--strict"), ("not_finite", "not finite")),
        (("--model", "missing.onnx"), ("missing.onnx",)),
        (("--n-s", "0"), ("n_s 0",)),
        (("--seed", "-1"), ("seed -1",)),
        (("--report", "a.csv"), ("--report is for folders",)),
        (("--jobs", "2"), ("--jobs is for folders",)),
        (("--map-picture", "x.png", "--no-steer"), ("--map-picture",)),
        (("--map-picture", "/nowhere/x.png"), ("/nowhere",)),
        (("--restart-rows", "-1"), ("-1",)),
        (("--strength", "1.5"), ("strength 1.5",)),
        (("--strength", "1", "--no-steer"), ("--strength",)),
    ],
)
def test_bad_options(picture, tmp_path, capsys, options, words):
    if not {"--model", "--no-steer"} & set(options):
        options = (*LEFT, *options)
    assert idse(picture, tmp_path / "out.jpg", *options) == 2
    assert_refused(capsys, tmp_path, *words)


@FAST
@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("out.png", (), ("out.png", "PNG", "out.jpg")),
        ("out.WEBP", (), ("WEBP", "out.jpg")),
        ("out.ivae", (), ("IVAE", "out.jpg")),
        ("out.h264", ("--fallback", "vae"), ("H.264",)),
        ("out.png", ("--fallback", "vae"), ("PNG",)),
    ],
)
def test_a_jpeg_is_not_named_as_anything_else(picture, tmp_path, capsys, name, options, words):
    assert idse(picture, tmp_path / name, "--bpp", "2", *LEFT, *options) == 2
    assert_refused(capsys, tmp_path, *words)


@FAST
@pytest.mark.parametrize("name", ["out", "out.jpe", "out.JPEG", "out.jpg.tmp"])
def test_names_that_say_jpeg_or_nothing_are_taken(picture, tmp_path, name):
    assert idse(picture, tmp_path / name, "--no-steer") == 0
    assert read((tmp_path / name).read_bytes()).layout.width == 160


def broken(kind):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)
    whole = io.BytesIO()
    if kind == "cmyk":
        Image.new("CMYK", (9, 9)).save(whole, "JPEG")
    elif kind == "sixteen":
        Image.fromarray(rng.integers(0, 65536, (9, 9)).astype(np.uint16)).save(whole, "PNG")
    elif kind == "wide":
        Image.new("L", (65535, 1)).save(whole, "PNG")
    elif kind == "transparent":
        Image.new("RGBA", (9, 9)).save(whole, "PNG")
    else:
        Image.fromarray(pixels).save(whole, kind)
        return whole.getvalue()[: len(whole.getvalue()) * 2 // 3]
    return whole.getvalue()


@FAST
@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("cmyk", "is CMYK"),
        ("sixteen", "16 bits"),
        ("wide", "65535x1"),
        ("transparent", "transparent"),
        ("JPEG", "truncated"),
        ("PNG", "truncated"),
        ("TIFF", "cannot read"),
        ("WEBP", "cannot read"),
    ],
)
@pytest.mark.parametrize("steer", [LEFT, ("--no-steer",)])
def test_bad_pictures(tmp_path, capsys, kind, word, steer):
    source = tmp_path / "in.png"
    source.write_bytes(broken(kind))
    assert idse(source, tmp_path / "out.jpg", *steer) == 2
    assert_refused(capsys, tmp_path, word)


@FAST
def test_bad_paths(picture, tmp_path, capsys):
    (tmp_path / "empty").touch()
    before = ("in.png", "empty")
    for source, target, word in (
        (tmp_path / "missing.png", tmp_path / "out.jpg", "No such file"),
        (tmp_path / "empty", tmp_path / "out.jpg", "known format"),
        (picture, tmp_path / "none" / "out.jpg", "there is no folder"),
        (picture, tmp_path, "folder"),
        (picture, "/dev/full", "No space left"),
        (picture, picture, "exists"),
        (tmp_path, "-", "folder"),
        (tmp_path, tmp_path, "another folder"),
    ):
        assert idse(source, target, "--no-steer") == 2
        assert_refused(capsys, tmp_path, word, before=before)
    assert idse(picture, picture, "--no-steer", "--overwrite") == 2
    assert_refused(capsys, tmp_path, "is the input", before=before)


@FAST
def test_what_exists_is_replaced_only_when_asked(picture, tmp_path, capsys):
    out = tmp_path / "out.jpg"
    out.write_text("precious")
    assert idse(picture, out, "--no-steer") == 2
    assert_refused(capsys, tmp_path, "--overwrite", before=("in.png", "out.jpg"))
    assert out.read_text() == "precious"
    assert idse(picture, out, "--no-steer", "-y") == 0
    assert read(out.read_bytes()).layout.width == 160


@FAST
def test_one_pixel(tmp_path):
    source = tmp_path / "in.png"
    Image.new("RGB", (1, 1), "red").save(source)
    assert idse(source, tmp_path / "out.jpg", *LEFT) == 0
    assert Image.open(tmp_path / "out.jpg").size == (1, 1)


@FAST
def test_a_folder(picture, tmp_path, capsys):
    source, target = tmp_path / "pictures", tmp_path / "out"
    (source / "sub").mkdir(parents=True)
    (source / "a.png").write_bytes(picture.read_bytes())
    (source / "sub" / "bad.png").write_text("bad")
    table = tmp_path / "table.csv"
    args = (source, target, *LEFT, "--jobs", 1, "--target-bytes", 3000, "--report", table)
    assert idse(*args) == 2
    out, err = capsys.readouterr()
    assert out.startswith(f"{target}: 1 of 2 pictures encoded, 1 failed, ")
    lines = [line for line in err.splitlines() if line.startswith("idse image: ")]
    assert len(lines) == 1
    assert "sub/bad.png: cannot read" in lines[0]
    assert len(table.read_text().splitlines()) == 3
    (source / "sub" / "bad.png").unlink()
    assert idse(*args[:-2], "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kept"], facts["failed"], facts["encoded"]) == (1, 0, 0)


@FAST
@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--report", "x.xlsx"), "x.xlsx"),
        (("--report", "/nowhere/x.csv"), "/nowhere"),
        (("--jobs", "0"), "0 jobs"),
        (("--map-picture", "x.png"), "--map-picture"),
        (("--model", "nonesuch"), "nonesuch"),
    ],
)
def test_bad_options_of_a_folder(picture, tmp_path, capsys, options, word):
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture.rename(folder / "a.png")
    assert idse(folder, tmp_path / "out", *options) == 2
    (tmp_path / "out" / ".idse-image.jsonl").unlink(missing_ok=True)
    if (tmp_path / "out").exists():
        (tmp_path / "out").rmdir()
    assert_refused(capsys, tmp_path, word, before=("pictures",))


@FAST
def test_progress_tells_how_far_and_how_long(capsys, monkeypatch):
    from idse.cli.image import _ProgressLine
    from idse.pipeline.folders.run import FolderProgress

    shown = _ProgressLine()
    monkeypatch.setattr(shown, "due", lambda: True)
    shown(FolderProgress(phase="measuring", done=1, total=8))
    shown(FolderProgress(phase="encoding", done=3, total=6, kept=4, failed=1, bytes=9))
    first, second = (line for line in capsys.readouterr().err.split("\r\x1b[K") if line)
    assert first.startswith("measuring  1 of 8  ")
    assert second.startswith("encoding  3 of 6  ")
    assert "ETA 0:00:00  4 kept  1 failed" in second


def command(*args, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "idse.cli", "image", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=NETWORKS,
        **options,
    )


@FULL
def test_ctrl_c_leaves_whole_files_and_the_next_run_goes_on(picture, tmp_path):
    source, target = tmp_path / "pictures", tmp_path / "out"
    source.mkdir()
    for number in range(60):
        (source / f"{number:03}.png").write_bytes(picture.read_bytes())
    args = (source, target, "--jobs", 2, "--accuracy", "0.99", *LEFT)
    process = command(
        *args,
        start_new_session=True,
        # Whoever runs the tests in the background may have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while len(list(target.glob("*.jpg"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err.strip().splitlines() == ["idse image: interrupted"]
    assert out == ""
    done = list(target.glob("*.jpg"))
    assert 3 <= len(done) < 60
    assert all(read(path.read_bytes()).layout.width == 160 for path in done)
    assert not list(target.glob(".*.part"))
    process = command(*args)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    # Those that were under way were completed, but nobody was left to record them.
    kept = int(re.search(r"(\d+) kept", out)[1])
    assert len(done) - 3 <= kept <= len(done)
    assert f"{60 - kept} of 60 pictures encoded" in out
    assert err == ""


@FULL
def test_out_of_disk_leaves_nothing(picture, tmp_path):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    process = command(picture, tmp_path / "out.jpg", *LEFT, preexec_fn=small_files)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.startswith("idse image: cannot write")
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


@FULL
def test_the_help_teaches():
    process = command("--help")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    for word in ("examples:", "--target-bytes", "--accuracy", "Exit code"):
        assert word in out


@FAST
def test_standard_input_and_large_targets_are_called_what_they_are(
    picture, tmp_path, capsys, monkeypatch
):
    for data, code in ((b"", 2), (picture.read_bytes(), 0)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert idse("-", tmp_path / "out.jpg", *LEFT, "--target-bytes", 1234567) == code
    said = capsys.readouterr()
    assert "cannot read standard input: it is no picture" in said.err
    assert "asked for target-bytes 1234567" in said.out
