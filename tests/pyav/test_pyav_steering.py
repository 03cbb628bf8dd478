"""Offsets from a file in unchanged PyAV code, read back; and everything else left alone."""

import logging
import threading

import av
import numpy as np
import pytest
from pyav_clips import (
    COLUMNS,
    PICTURES,
    ROWS,
    begin,
    encode,
    finish,
    frames,
    misses,
    put,
    wanted,
    write_offsets,
)

import idse_pyav
from idse.errors import CodecError, InputError
from x264_recipes import VERBATIM

pytestmark = pytest.mark.fast


@pytest.fixture
def offsets(tmp_path):
    return write_offsets(tmp_path / "offsets", wanted())


def constant(path, value):
    return write_offsets(path, [np.full((ROWS, COLUMNS), value, np.float32)] * PICTURES)


@pytest.mark.parametrize("kind", ["yuv420p", "rgb24"])
def test_offsets_are_exact_and_without_any_nothing_changes(kind, offsets, reported, tmp_path):
    """Whether or not PyAV itself converts the frame inside of ``encode``."""
    stock = encode(tmp_path / "stock.h264", kind=kind)
    with idse_pyav.install(offsets=offsets):
        steered = encode(tmp_path / "steered.h264", kind=kind)
    (report,) = reported()
    assert (report["frames"], report["steered"], report["lost"]) == (PICTURES, PICTURES, 0)
    assert steered != stock
    wrong, coded = misses(tmp_path / "steered.h264", wanted())
    assert wrong == 0
    assert coded > 500
    assert encode(tmp_path / "after.h264", kind=kind) == stock
    idse_pyav.install(offsets=constant(tmp_path / "zeros", 0))
    assert encode(tmp_path / "neutral.h264", kind=kind) == stock
    assert reported()[-1]["unsteered"] == PICTURES


def test_streams_are_steered_each_in_its_own_way(offsets, reported, tmp_path):
    """Interleaved, as a ladder is encoded."""
    stock = encode(tmp_path / "stock.h264")
    other = constant(tmp_path / "other", 4)
    paths = [tmp_path / f"{name}.h264" for name in ("usual", "own", "left")]
    idse_pyav.install(offsets=offsets)
    opened = [begin(path) for path in paths]
    idse_pyav.steer(opened[1][1], offsets=constant(tmp_path / "replaced", 2))
    idse_pyav.steer(opened[1][1], offsets=other)
    idse_pyav.leave(opened[2][1])
    for frame in frames():
        for one in opened:
            put(one, frame)
    assert [item["open"] for item in reported()] == [True, True]
    left = [finish(one, path) for one, path in zip(opened, paths, strict=True)][2]
    assert misses(paths[0], wanted())[0] == 0
    assert misses(paths[1], [np.full((ROWS, COLUMNS), 4)] * PICTURES)[0] == 0
    assert left == stock


def test_one_stream_alone(offsets, tmp_path):
    """Without `install`, and by its codec context."""
    stock = encode(tmp_path / "stock.h264")
    path = tmp_path / "one.h264"
    encode(path, before=lambda s: idse_pyav.steer(s.codec_context, offsets=offsets))
    assert misses(path, wanted())[0] == 0
    assert encode(tmp_path / "next.h264") == stock


def test_threads_do_not_mix_streams_up(tmp_path):
    values = (-4, -2, 2, 4)
    files = [constant(tmp_path / str(value), value) for value in values]
    paths = [tmp_path / f"{value}.h264" for value in values]

    def run(path, file):
        encode(path, before=lambda stream: idse_pyav.steer(stream, offsets=file))

    idse_pyav.install(offsets=constant(tmp_path / "usual", 6))
    threads = [threading.Thread(target=run, args=item) for item in zip(paths, files, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for path, value in zip(paths, values, strict=True):
        assert misses(path, [np.full((ROWS, COLUMNS), value)] * PICTURES)[0] == 0


def test_what_is_open_stays_steered_and_what_comes_does_not(offsets, reported, tmp_path):
    stock = encode(tmp_path / "stock.h264")
    path = tmp_path / "open.h264"
    idse_pyav.install(offsets=offsets)
    opened = begin(path)
    for index, frame in enumerate(frames()):
        if index == PICTURES // 2:
            idse_pyav.uninstall()
            assert encode(tmp_path / "between.h264") == stock
        put(opened, frame)
    finish(opened, path)
    assert misses(path, wanted())[0] == 0
    assert reported()[0]["frames"] == PICTURES
    assert len(reported()) == 1


def test_an_unknown_pyav_is_left_alone(offsets, monkeypatch, caplog, tmp_path):
    stock = encode(tmp_path / "stock.h264")
    monkeypatch.setattr(av, "__version__", "99.1.0")
    before = idse_pyav.report().failures
    with caplog.at_level(logging.INFO, "idse_pyav"):
        idse_pyav.install(offsets=offsets)
    (record,) = caplog.records
    assert "PyAV 99.1.0 is not known (14 to 18 are)" in record.getMessage()
    report = idse_pyav.report()
    assert (report.failures, report.attached) == (before + 1, False)
    assert encode(tmp_path / "unknown.h264") == stock
    idse_pyav.uninstall()
    with pytest.raises(CodecError, match=r"99\.1\.0"):
        idse_pyav.install(offsets=offsets, strict=True)
    monkeypatch.setenv("IDSE_STRICT", "1")
    with pytest.raises(CodecError, match=r"99\.1\.0"):
        idse_pyav.install(offsets=offsets)


@pytest.mark.parametrize(
    ("params", "size", "reason"),
    [
        ({"qp": "30"}, COLUMNS, "x264 ignores QP offsets with these options"),
        ({"crf": "30"}, COLUMNS + 1, "for pictures of another size"),
    ],
)
def test_what_cannot_be_steered_is_told_once(params, size, reason, caplog, tmp_path):
    stock = encode(tmp_path / "stock.h264", params=params)
    file = write_offsets(tmp_path / "offsets", [np.full((ROWS, size), 3, np.float32)] * PICTURES)
    with caplog.at_level(logging.INFO, "idse_pyav"), idse_pyav.install(offsets=file):
        assert encode(tmp_path / "told.h264", params=params) == stock
    (record,) = caplog.records
    assert reason in record.getMessage()
    assert reason in idse_pyav.report().encoders[-1]["problem"]
    with idse_pyav.install(offsets=file, strict=True), pytest.raises(av.error.FFmpegError):
        encode(tmp_path / "strict.h264", params=params)


def test_mistakes_are_told_at_once(offsets, tmp_path):
    with pytest.raises(InputError, match="need neither"):
        idse_pyav.install(offsets=offsets, model="yolov4-tiny")
    with pytest.raises(InputError, match="no such file"):
        idse_pyav.install(offsets=tmp_path / "nothing")
    with pytest.raises(InputError, match="--strenght"):
        idse_pyav.install(server=tmp_path / "s", steering="--strenght 2")
    with pytest.raises(InputError, match="strength"):
        idse_pyav.install(server=tmp_path / "s", steering="--strength 20")
    idse_pyav.install(offsets=offsets)
    with pytest.raises(InputError, match="installed already"):
        idse_pyav.install(offsets=offsets)
    opened = begin(tmp_path / "open.h264")
    put(opened, next(frames()))
    with pytest.raises(InputError, match="is open"):
        idse_pyav.leave(opened[1])
    finish(opened, tmp_path / "open.h264")
    with av.open(str(tmp_path / "other.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        with pytest.raises(InputError, match="not encoded by libx264"):
            idse_pyav.steer(stream, offsets=offsets)


def test_the_stream_of_defaults_is_steered_too(offsets, reported, tmp_path):
    with idse_pyav.install(offsets=offsets):
        encode(tmp_path / "crf.h264", params={"crf": VERBATIM["crf"]})
    assert reported()[0]["steered"] == PICTURES
