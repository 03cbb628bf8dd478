"""``idse inspect``."""

import json
import subprocess

import numpy as np
import pytest
from PIL import Image

from idse.cli import main
from idse.codecs.h264 import read_macroblocks

pytestmark = pytest.mark.fast

FRAMES = 15


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("inspect") / "clip.mp4"
    source = "testsrc2=s=176x144:r=25,noise=alls=6:allf=t"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", str(FRAMES)]
    subprocess.run([*command, "-c:v", "libx264", "-bf", "2", str(path)], check=True)
    return path


def test_summary_counts_what_the_stream_holds(clip, capsys):
    assert main(["inspect", str(clip), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    frames = list(read_macroblocks(clip))
    qp = np.stack([frame.qp_array for frame in frames])
    assert summary["frames"] == FRAMES
    assert (summary["mb_rows"], summary["mb_cols"]) == (9, 11)
    assert summary["mean_qp"] == pytest.approx(np.nanmean(qp.astype(float)))
    assert summary["skipped"] == pytest.approx(np.isnan(qp).mean())
    assert summary["bits"] == sum(int(frame.bits.sum()) for frame in frames)
    assert sum(row["frames"] for row in summary["types"].values()) == FRAMES
    assert set(summary["types"]) == {"I", "P", "B"}
    assert sum(summary["histogram"].values()) == np.count_nonzero(~np.isnan(qp))


def test_text_has_a_row_per_type_and_per_qp(clip, capsys):
    assert main(["inspect", str(clip)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "11x9 macroblocks, 8 bit" in lines[0]
    assert [line.split()[0] for line in lines[2:7]] == ["type", "I", "P", "B", "all"]
    assert int(lines[6].split()[1]) == FRAMES
    qps = [int(line.split()[0]) for line in lines[9:]]
    assert qps == list(range(qps[0], qps[-1] + 1))


def test_array_and_picture(clip, tmp_path, capsys):
    array, picture = tmp_path / "qp.npy", tmp_path / "qp.png"
    options = ["--qp-out", str(array), "--picture", str(picture), "--frame", "7"]
    assert main(["inspect", str(clip), *options]) == 0
    qp = np.load(array, allow_pickle=False)
    assert qp.dtype == np.float32
    expected = np.stack([frame.qp_array for frame in read_macroblocks(clip)])
    np.testing.assert_array_equal(qp, expected)
    assert np.isnan(qp).any()
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"), int)
    # The two panels are as wide as each other: 176 pixels, enlarged threefold, and a gap.
    assert pixels.shape[1] == 2 * 528 + 8
    # The QPs are drawn where they are: brightness falls with QP, macroblock by macroblock.
    blocks = pixels[:432, 536:].reshape(9, 48, 11, 48, 3).mean((1, 3))
    known = ~np.isnan(qp[7])
    warmth = blocks[..., 0] - blocks[..., 2] + blocks.mean(-1)
    assert np.corrcoef(warmth[known], qp[7][known])[0, 1] < -0.6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frame", "99", "--picture", "x.png", "--qp-out", "x.npy"], "has 15 frames"),
        (["--frame", "-1"], "counted from 0"),
        (["--qp-out", "missing/x.npy"], "cannot write missing/x.npy"),
        (["--qp-out", "qp.npz"], "qp.npz is named as NPZ, and this is NPY: call it qp.npy"),
        (["--picture", "qp.jpg"], "qp.jpg is named as JPEG, and this is PNG: call it qp.png"),
        (["--picture", "missing/x.png"], "cannot write missing/x.png"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    options, message, clip, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", str(clip), *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert list(tmp_path.iterdir()) == []


def test_results_do_not_replace_the_file_that_is_read(clip, tmp_path, capsys):
    mine = tmp_path / "mine.mp4"
    mine.write_bytes(clip.read_bytes())
    for option in ("--qp-out", "--picture"):
        assert main(["inspect", str(mine), option, str(mine)]) == 2
        assert "mine.mp4 is the input" in capsys.readouterr().err
    assert mine.read_bytes() == clip.read_bytes()


def test_a_truncated_file_is_an_error(clip, tmp_path, capsys):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:-2000])
    array = tmp_path / "qp.npy"
    assert main(["inspect", str(cut), "--qp-out", str(array)]) == 2
    assert str(cut) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [cut]
