"""Holding a still background in a whole transcode: smaller, and never at the cost of the video."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from media_clips import elementary, times

from idse.allocation import OffsetPolicy
from idse.cli.__main__ import main
from idse.errors import InputError
from idse.importance.maps import ImportanceMap, MapMetadata, write_maps
from idse.importance.still import StillBackground, StillPolicy
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.options import EncodeOptions
from idse.pipeline.report import Warnings
from idse.pipeline.source import DecodedFrame, Source
from idse.pipeline.transcode import transcode

pytestmark = pytest.mark.fast
QUICK = EncodeOptions(preset="veryfast", options={"crf": "20"})
METADATA = MapMetadata(model="test", n_s=1, seed=0, dtype="float32")
FRAMES, ARRIVES = 50, 30


def pictures(path):
    with Source(str(path), warnings=Warnings()) as source:
        return [item.picture for item in source.items() if isinstance(item, DecodedFrame)]


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """5 s of a wall with sensor noise, lossless; at 3 s a bright box comes from the left."""
    path = tmp_path_factory.mktemp("street") / "street.mkv"
    rng = np.random.default_rng(0)
    wall = np.add.outer(np.linspace(70, 110, 192), np.linspace(0, 40, 192))[:128]
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        for n in range(FRAMES):
            luma = wall.copy()
            if n >= ARRIVES:
                luma[40:72, 8 * (n - ARRIVES) : 8 * (n - ARRIVES) + 24] = 200
            planes = np.full((192, 192), 128.0)
            planes[:128] = luma
            planes += rng.normal(0, 2, planes.shape)
            samples = np.clip(np.rint(planes), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(samples, format="yuv420p")
            frame.pts = n
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def maps(street):
    """Nothing but the upper left corner matters."""
    found = []
    for picture in pictures(street)[::10]:
        energy = ImportanceMap.neutral(picture).energy.copy()
        energy[0, :2, :2] *= 1e4
        found.append(ImportanceMap.of(picture, energy))
    path = street.with_name("maps.safetensors")
    write_maps(path, found, METADATA)
    return path


def run(street, maps, target, *, still=True, encode=QUICK, strength=0.0, **how):
    steering = SteeringOptions(
        policy=OffsetPolicy(strength=strength), maps=maps, still=StillPolicy() if still else None
    )
    return transcode(str(street), str(target), encode=encode, steering=steering, **how)


def test_a_wall_costs_less_and_what_comes_is_there(street, maps, tmp_path):
    stock, held, again = (tmp_path / f"{name}.mp4" for name in ("stock", "held", "again"))
    run(street, maps, stock, still=False)
    report = run(street, maps, held)
    run(street, maps, again)
    assert held.read_bytes() == again.read_bytes()
    assert (report.frames, report.warnings) == (FRAMES, ())
    assert times(held) == times(street)
    assert len(elementary(held)) < 0.8 * len(elementary(stock))
    for source, shown in zip(pictures(street), pictures(held), strict=True):
        error = shown.planes[0].astype(float) - source.planes[0]
        blocks = error.reshape(16, 8, 24, 8).mean(axis=(1, 3))
        assert np.abs(blocks).max() < 8, source.index


def test_where_everything_matters_nothing_changes(street, tmp_path):
    neutral = tmp_path / "neutral.safetensors"
    write_maps(neutral, [ImportanceMap.neutral(p) for p in pictures(street)[::10]], METADATA)
    stock, held = tmp_path / "stock.mp4", tmp_path / "held.mp4"
    run(street, neutral, stock, still=False)
    run(street, neutral, held)
    assert held.read_bytes() == stock.read_bytes()


def test_both_passes_see_the_same_pictures(street, maps, tmp_path, monkeypatch):
    from idse.pipeline import transcode as module

    seen: list[list[bytes]] = []

    class Recorder(module.Encoder):
        def __init__(self, **kwargs):
            seen.append([])
            super().__init__(**kwargs)

        def encode(self, planes, **kwargs):
            seen[-1].append(b"".join(plane.tobytes() for plane in planes))
            return super().encode(planes, **kwargs)

    monkeypatch.setattr(module, "Encoder", Recorder)
    encode = EncodeOptions(preset="veryfast", options={"bitrate": "200"}, two_pass=True)
    run(street, maps, tmp_path / "out.mp4", encode=encode, strength=1.0)
    sources = [b"".join(p.tobytes() for p in picture.planes) for picture in pictures(street)]
    assert len(seen) == 2
    assert seen[0] == seen[1] != sources


def test_a_failure_costs_smoothing_and_not_the_video(street, maps, tmp_path, monkeypatch):
    advance = StillBackground.advance

    def fails_on_frame_25(self, picture, *args):
        if picture.index == 25:
            raise ZeroDivisionError("no\nidea")
        return advance(self, picture, *args)

    monkeypatch.setattr(StillBackground, "advance", fails_on_frame_25)
    out = tmp_path / "out.mp4"
    report = run(street, maps, out)
    assert (report.frames, report.frames_unsteered) == (FRAMES, 0)
    assert len(report.warnings) == 1
    assert "frame 25 (ZeroDivisionError: no idea)" in report.warnings[0]
    with pytest.raises(InputError, match=r"frame 25.*--strict"):
        run(street, maps, tmp_path / "strict.mp4", strict=True)


def test_command_line(street, maps, tmp_path, capsys):
    out = str(tmp_path / "out.mp4")
    words = ["transcode", str(street), out, "--static-background"]
    assert main([*words, "--no-steer"]) == 2
    assert "--strength 0" in capsys.readouterr().err
    quick = ["--preset", "veryfast", "--crf", "20"]
    assert main([*words, "--maps", str(maps), "--strength", "0", *quick]) == 0
    run(street, maps, tmp_path / "same.mp4")
    assert (tmp_path / "same.mp4").read_bytes() == (tmp_path / "out.mp4").read_bytes()
