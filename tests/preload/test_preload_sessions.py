"""Encodes that a sidecar steers: every picture is shown to it and gets exactly what it answers."""

import subprocess
import time
import zlib

import pytest
from preload_peer import offsets_of
from preload_runs import (
    CLIP,
    COLUMNS,
    CRF,
    PICTURES,
    ROWS,
    Fed,
    ffmpeg,
    misses,
    peer,
    run,
    shown,
    until,
    wanted,
    x264_params,
)

from idse.codecs.h264 import read_macroblocks
from x264_recipes import VERBATIM

DEFAULTS = {"crf": "26"}


def pictures_of(source, pix_fmt):
    """CRCs of a source's pictures, as the sidecar should see them."""
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-pix_fmt", pix_fmt]
    command += ["-f", "rawvideo", "-"]
    frames = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    size = len(frames) // PICTURES
    return [zlib.crc32(frames[i * size : (i + 1) * size]) for i in range(PICTURES)]


def lines(path):
    return [line.split() for line in path.read_text().splitlines()]


@pytest.mark.fast
@pytest.mark.parametrize("lookahead", [0, 7, 40])
def test_every_picture_waits_for_its_answer(lookahead, tmp_path):
    with peer(tmp_path, "--lookahead", lookahead) as (socket, process):
        output = tmp_path / "out.h264"
        done = ffmpeg(output, IDSE_SOCKET=socket, IDSE_OPTIONS="--strength 0.5 --model 'a b'")
        assert process.stdout.readline() == "hello --strength 0.5 --model 'a b'\n"
        assert process.stdout.readline() == f"bye {PICTURES} {PICTURES} 0\n"
    assert misses(output, wanted())[0] == 0
    report = done.report
    assert (report["mode"], report["problem"], report["sessions"]) == ("wait", "", 1)
    assert (report["frames"], report["steered"], report["lost"]) == (PICTURES, PICTURES, 0)
    assert done.stderr == ""


@pytest.mark.fast
@pytest.mark.parametrize("how", ["--neutral", "--unsteered"])
def test_neutral_answers_leave_the_stream_alone(how, tmp_path):
    stock = ffmpeg(tmp_path / "stock.h264", params=DEFAULTS, stock=True)
    with peer(tmp_path, "--lookahead", 5, how) as (socket, _):
        held = ffmpeg(tmp_path / "held.h264", params=DEFAULTS, IDSE_SOCKET=socket)
    assert held.data == stock.data
    assert held.report["unsteered"] == PICTURES


@pytest.mark.full
@pytest.mark.parametrize(
    ("pix_fmt", "facts"),
    [
        ("yuv420p", (1, 8, 0)),
        ("yuvj420p", (1, 8, 0)),
        ("nv12", (1, 8, 1)),
        ("nv21", (1, 8, 2)),
        ("yuv422p", (2, 8, 0)),
        ("yuv444p", (3, 8, 0)),
        ("gray", (0, 8, 0)),
        ("yuv420p10le", (1, 10, 0)),
        ("yuv422p10le", (2, 10, 0)),
        ("yuv444p10le", (3, 10, 0)),
    ],
)
def test_pictures_of_every_format_are_shown_as_they_are(pix_fmt, facts, tmp_path):
    seen = tmp_path / "seen"
    output = tmp_path / "out.h264"
    settings = {"params": DEFAULTS, "after": ["-pix_fmt", pix_fmt]}
    stock = ffmpeg(tmp_path / "stock.h264", **settings, stock=True)
    with peer(tmp_path, "--lookahead", 3, "--seen", seen, "--neutral") as (socket, _):
        neutral = ffmpeg(output, **settings, IDSE_SOCKET=socket)
    assert neutral.data == stock.data
    shown = lines(seen)
    assert [int(line[0]) for line in shown] == list(range(PICTURES))
    assert [int(line[3]) for line in shown] == pictures_of(CLIP, pix_fmt)
    assert {tuple(map(int, line[4:7])) for line in shown} == {facts}


@pytest.mark.fast
def test_rgb_is_left_to_x264(tmp_path):
    source = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", CLIP, "-c:v", "libx264rgb"]
    output = tmp_path / "out.mkv"
    with peer(tmp_path) as (socket, _):
        done = run([*source, "-crf", 30, output], output, IDSE_SOCKET=socket)
    assert "RGB" in done.stderr
    assert done.report["frames"] == PICTURES


@pytest.mark.full
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_interlaced_rows_are_those_of_pairs(order, tmp_path):
    """208 lines: 13 rows of macroblocks, coded as 14."""
    source = CLIP.replace("256x192", "256x208")
    seen = tmp_path / "seen"
    output = tmp_path / "out.h264"
    with peer(tmp_path, "--lookahead", 3, "--seen", seen) as (socket, _):
        ffmpeg(output, params=VERBATIM | {order: "1"}, source=source, IDSE_SOCKET=socket)
    assert {tuple(line[7:9]) for line in lines(seen)} == {("14", "16")}
    wrong, coded = misses(output, wanted(rows=14), pairs=True)
    assert wrong == 0
    assert coded > 500


@pytest.mark.full
def test_ten_bits_are_steered_exactly(tmp_path):
    output = tmp_path / "out.h264"
    with peer(tmp_path, "--lookahead", 3) as (socket, _):
        ffmpeg(output, after=["-pix_fmt", "yuv420p10le"], IDSE_SOCKET=socket)
    wrong, coded = misses(output, wanted())
    assert wrong == 0
    assert coded > 500


@pytest.mark.full
@pytest.mark.parametrize(
    "options",
    [
        {"threads": "1"},
        {"threads": "4"},
        {"threads": "4", "sliced-threads": "1"},
        {"threads": "3", "sync-lookahead": "9", "bframes": "5", "b-adapt": "2"},
        {"bframes": "0", "rc-lookahead": "0"},
    ],
)
def test_threads_of_every_kind(options, tmp_path):
    output = tmp_path / "out.h264"
    with peer(tmp_path, "--lookahead", 6) as (socket, _):
        ffmpeg(output, params=VERBATIM | options, IDSE_SOCKET=socket)
    assert misses(output, wanted())[0] == 0


@pytest.mark.full
@pytest.mark.parametrize("look", [0, 12])
def test_timestamps_and_forced_key_frames_survive(look, tmp_path):
    def probe(path):
        entries = "packet=pts,dts,flags,size"
        command = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "csv", path]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    after = ["-force_key_frames", "0.5,2.1", "-vf", "setpts=2*PTS+mod(N\\,2)"]
    after += ["-vsync", "passthrough"]
    settings = {"params": DEFAULTS, "after": after}
    seen = tmp_path / "seen"
    ffmpeg(tmp_path / "stock.mkv", **settings, stock=True)
    with peer(tmp_path, "--lookahead", look, "--neutral", "--seen", seen) as (socket, _):
        held = ffmpeg(tmp_path / "held.mkv", **settings, IDSE_SOCKET=socket)
    assert probe(tmp_path / "held.mkv") == probe(tmp_path / "stock.mkv")
    forced = [int(line[0]) for line in lines(seen) if line[2] == "1"]
    assert len(forced) >= 2
    assert held.report["frames"] == PICTURES


@pytest.mark.full
def test_a_long_wait_outruns_no_queue_of_the_application(tmp_path):
    """libavcodec keeps what belongs to pictures in a ring as long as x264 says it may delay."""
    source = "testsrc2=s=64x48:r=25:d=12"
    settings = {"params": DEFAULTS, "source": source}
    stock = ffmpeg(tmp_path / "stock.mp4", **settings, stock=True)
    with peer(tmp_path, "--lookahead", 55, "--neutral") as (socket, _):
        held = ffmpeg(tmp_path / "held.mp4", **settings, IDSE_SOCKET=socket)
    assert held.data == stock.data
    assert held.report["frames"] == 300


@pytest.mark.full
def test_messages_of_the_user_survive_the_wait(tmp_path):
    """libavcodec hands them to x264 by pointer, with a function that frees them."""
    marked = tmp_path / "marked.mkv"
    text = "h264_metadata=sei_user_data=dc45e9bd-e6d9-48b7-962c-d820d923eeef+held"
    ffmpeg(marked, params=DEFAULTS, after=["-bsf:v", text], stock=True)
    command = ["ffmpeg", "-v", "error", "-y", "-i", marked, "-c:v", "libx264", "-udu_sei", "1"]
    stock = run([*command, tmp_path / "stock.h264"], tmp_path / "stock.h264", stock=True)
    with peer(tmp_path, "--lookahead", 9, "--neutral") as (socket, _):
        held = run([*command, tmp_path / "h.h264"], tmp_path / "h.h264", IDSE_SOCKET=socket)
    assert held.data == stock.data
    assert b"held" in stock.data


@pytest.mark.full
def test_two_passes_get_the_same_offsets(tmp_path):
    log = tmp_path / "log"
    options = {"bitrate": "300", "stats": str(log), "threads": "1"}
    output = tmp_path / "out.h264"
    seen = tmp_path / "seen"
    with peer(tmp_path, "--lookahead", 5, "--seen", seen) as (socket, _):
        for number in ("1", "2"):
            done = ffmpeg(output, params=options | {"pass": number}, IDSE_SOCKET=socket)
            assert done.report["steered"] == PICTURES
    both = lines(seen)
    assert [line[:4] for line in both[:PICTURES]] == [line[:4] for line in both[PICTURES:]]
    assert len(list(read_macroblocks(output))) == PICTURES


@pytest.mark.full
def test_a_ladder_in_one_process(tmp_path):
    """Three encoders of three sizes, each steered by itself."""
    sizes = {"256x192": (12, 16), "128x96": (6, 8), "192x144": (9, 12)}
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", CLIP]
    for size in sizes:
        command += ["-map", "0:v", "-s", size, "-c:v", "libx264"]
        command += ["-x264-params", x264_params(VERBATIM), tmp_path / f"{size}.h264"]
    with peer(tmp_path, "--lookahead", 6) as (socket, _):
        done = run(command, tmp_path / "256x192.h264", IDSE_SOCKET=socket)
    assert sorted(report["width"] for report in done.reports) == [128, 192, 256]
    assert all(report["steered"] == PICTURES for report in done.reports)
    for size, shape in sizes.items():
        assert misses(tmp_path / f"{size}.h264", wanted(PICTURES, *shape))[0] == 0


@pytest.mark.full
def test_hls_segments_begin_where_they_should(tmp_path):
    for name in ("stock", "held"):
        (tmp_path / name).mkdir()
    after = ["-force_key_frames", "expr:gte(t,n_forced*0.5)", "-hls_time", "0.5"]
    after += ["-hls_list_size", "0", "-f", "hls"]
    ffmpeg(tmp_path / "stock/list.m3u8", params=DEFAULTS, after=after, stock=True)
    with peer(tmp_path, "--lookahead", 9, "--neutral") as (socket, _):
        ffmpeg(tmp_path / "held/list.m3u8", params=DEFAULTS, after=after, IDSE_SOCKET=socket)
    stock = sorted(path.name for path in (tmp_path / "stock").iterdir())
    assert len(stock) >= 4
    for name in stock:
        if name.endswith((".ts", ".m3u8")):
            assert (tmp_path / "held" / name).read_bytes() == (
                tmp_path / "stock" / name
            ).read_bytes()


@pytest.mark.full
def test_live_never_waits_and_takes_what_has_come(tmp_path):
    """Two pictures come for each that the sidecar gets done."""
    output, seen = tmp_path / "out.h264", shown(tmp_path / "seen")
    with (
        peer(tmp_path, "--delay", 0.1, "--seen", tmp_path / "seen") as (socket, _),
        Fed(output, params=VERBATIM, IDSE_SOCKET=socket, IDSE_MODE="live") as encoder,
    ):
        encoder.push(6)
        for _ in range(19):
            # Both of two may come while the sidecar has enough: then there is none for it to see.
            before, end = seen(), time.monotonic() + 1
            encoder.push(2)
            until(lambda then=before, limit=end: seen() > then or time.monotonic() > limit)
        done = encoder.end()
    report = done.report
    assert report["frames"] == encoder.pushed
    assert report["steered"] + report["lost"] == encoder.pushed
    assert report["steered"] > encoder.pushed // 2
    assert report["skipped"] > 0
    assert report["age"] / report["steered"] > 2
    assert report["late"] > 0
    assert report["waited_ns"] == 0
    frames = list(read_macroblocks(output))
    for index, frame in enumerate(frames):
        candidates = [offsets_of(i, ROWS, COLUMNS) for i in range(index)]
        exact = [(frame.qp == CRF + c)[frame.coded].mean() for c in candidates]
        if index > 16:
            assert max(exact) > 0.95
