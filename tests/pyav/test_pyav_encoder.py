"""The explicit encoder."""

import logging

import av
import numpy as np
import pytest
from pyav_clips import (
    COLUMNS,
    HEIGHT,
    PICTURES,
    ROWS,
    WIDTH,
    frames,
    misses,
    peer,
    wanted,
    write_offsets,
)

import idse_pyav
from idse.errors import CodecError, LibraryLoadError
from x264_recipes import VERBATIM

pytestmark = pytest.mark.fast
needs_17 = pytest.mark.skipif(
    int(av.__version__.partition(".")[0]) < 17, reason="the explicit encoder needs PyAV 17"
)


def encode(path, *, kind="yuv420p", form=None, options=VERBATIM, **steering):
    with (
        av.open(str(path), "w", format=form) as container,
        idse_pyav.Encoder(
            container, rate=10, width=WIDTH, height=HEIGHT, options=options, **steering
        ) as encoder,
    ):
        for frame in frames(kind):
            container.mux(encoder.encode(frame))
        container.mux(encoder.encode(None))
        assert encoder.frames == PICTURES
    return encoder


@needs_17
@pytest.mark.parametrize("kind", ["yuv420p", "rgb24"])
def test_offsets_are_exact(kind, tmp_path):
    offsets = write_offsets(tmp_path / "offsets", wanted())
    encoder = encode(tmp_path / "file.h264", kind=kind, form="h264", offsets=offsets)
    assert encoder.steered == PICTURES
    assert misses(tmp_path / "file.h264", wanted())[0] == 0


@needs_17
def test_a_sidecar_and_players(tmp_path):
    path = tmp_path / "served.mp4"
    with peer(tmp_path, "--lookahead", 5) as (socket, _):
        encoder = encode(path, server=socket)
    assert encoder.steered == PICTURES
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.frames) == (10, PICTURES)
        decoded = list(container.decode(video=0))
    assert [round(frame.time * 10) for frame in decoded] == list(range(PICTURES))
    assert misses(path, wanted())[0] == 0


@needs_17
def test_without_a_sidecar_it_is_stock(caplog, tmp_path):
    zeros = [np.zeros((ROWS, COLUMNS), np.float32)] * PICTURES
    nothing = write_offsets(tmp_path / "zeros", zeros)
    encode(tmp_path / "stock.mp4", offsets=nothing)
    with caplog.at_level(logging.INFO, "idse_pyav"):
        encoder = encode(tmp_path / "alone.mp4", server=tmp_path / "nobody")
    (record,) = caplog.records
    assert "no sidecar answers" in record.getMessage()
    assert encoder.steered == 0
    assert (tmp_path / "alone.mp4").read_bytes() == (tmp_path / "stock.mp4").read_bytes()
    with pytest.raises(CodecError, match="no sidecar answers"):
        encode(tmp_path / "strict.mp4", server=tmp_path / "nobody", strict=True)


@needs_17
def test_a_sidecar_that_hangs_up_costs_no_picture(tmp_path):
    with peer(tmp_path, "--lookahead", 3, "--drop-after", 8) as (socket, _):
        encoder = encode(tmp_path / "lost.h264", form="h264", server=socket)
    assert encoder.steered == 8
    zeros = [np.zeros((ROWS, COLUMNS), np.float32)] * (PICTURES - 8)
    assert misses(tmp_path / "lost.h264", wanted(8) + zeros)[0] == 0


@needs_17
def test_options_that_drop_offsets_are_told_of(caplog, tmp_path):
    offsets = write_offsets(tmp_path / "offsets", wanted())
    with caplog.at_level(logging.INFO, "idse_pyav"):
        encoder = encode(tmp_path / "qp.mp4", options={"qp": "30"}, offsets=offsets)
    assert encoder.steered == 0
    assert len([r for r in caplog.records if r.name == "idse_pyav"]) == 1


def test_a_pyav_that_is_too_old_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(av, "__version__", "16.1.0")
    with (
        av.open(str(tmp_path / "old.mp4"), "w") as container,
        pytest.raises(LibraryLoadError, match=r"16\.1\.0: use idse_pyav\.steer"),
    ):
        idse_pyav.Encoder(container, rate=10, width=WIDTH, height=HEIGHT)
