"""Map files: what goes in comes out, and whatever else is in a file is refused."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from idse.errors import InputError, MapError, OutputError
from idse.importance.maps import (
    ImportanceMap,
    MapMetadata,
    MapSet,
    luma_samples,
    read_maps,
    write_maps,
)
from idse.picture import PIX_FMTS, Picture, PictureFormat

pytestmark = pytest.mark.fast

METADATA = MapMetadata(model="yolov4-tiny", n_s=8, seed=0, dtype="float32")


def some_map(frame_index=0, *, width=40, height=24, pix_fmt="yuv420p", pts=None, energy=None):
    if energy is None:
        shape = (3, -(-height // 16), -(-width // 16))
        energy = np.random.default_rng(frame_index).random(shape, np.float32)
    return ImportanceMap(
        energy=energy,
        width=width,
        height=height,
        pix_fmt=pix_fmt,
        frame_index=frame_index,
        pts=pts,
        luma_crc32=frame_index * 17,
    )


def some_picture(value=77, index=0, **kwargs):
    form = PictureFormat(**{"width": 40, "height": 24, **kwargs})
    dtype = np.uint8 if form.bit_depth == 8 else np.uint16
    shapes = [(form.height, form.width), form.chroma_shape, form.chroma_shape]
    planes = tuple(np.full(shape, value, dtype) for shape in shapes)
    return Picture(planes=planes, format=form, index=index, pts=5)


@st.composite
def map_sets(draw):
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    indices = sorted(draw(st.sets(st.integers(0, 2**40), min_size=1, max_size=4)))
    values = st.floats(0, float(np.finfo(np.float32).max), width=32)
    shape = (3, -(-height // 16), -(-width // 16))
    pix_fmt = draw(st.sampled_from(PIX_FMTS))
    maps = [
        ImportanceMap(
            energy=draw(hnp.arrays(np.float32, shape, elements=values)),
            width=width,
            height=height,
            pix_fmt=pix_fmt,
            frame_index=index,
            pts=draw(st.none() | st.integers(-(2**63) + 1, 2**63 - 1)),
            luma_crc32=draw(st.integers(0, 2**32 - 1)),
        )
        for index in indices
    ]
    metadata = MapMetadata(
        model=draw(st.text(st.characters(codec="utf-8"), max_size=30)),
        n_s=draw(st.integers(1, 1000)),
        seed=draw(st.integers(0, 2**53)),
        dtype="float64",
    )
    return maps, metadata


@hypothesis.given(case=map_sets())
@hypothesis.settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(case, tmp_path_factory):
    maps, metadata = case
    path = tmp_path_factory.getbasetemp() / "round-trip.safetensors"
    write_maps(path, maps, metadata)
    first = path.read_bytes()
    found = read_maps(path)
    assert found.metadata == metadata
    for item, back in zip(maps, found.maps, strict=True):
        np.testing.assert_array_equal(back.energy, item.energy)
        for name in ("width", "height", "pix_fmt", "frame_index", "pts", "luma_crc32"):
            assert getattr(back, name) == getattr(item, name), name
        assert found.get(item.frame_index) is back
    write_maps(path, found.maps, found.metadata)
    assert path.read_bytes() == first


def test_other_programs_read_the_file(tmp_path):
    write_maps(tmp_path / "m", [some_map(3), some_map(9, pts=-4)], METADATA)
    with safetensors.safe_open(tmp_path / "m", framework="numpy") as file:
        described = file.metadata()
        assert file.get_tensor("energy").shape == (2, 3, 2, 3)
        np.testing.assert_array_equal(file.get_tensor("pts"), [-(2**63), -4])
    assert described["format"] == "idse-map"
    assert described["version"] == "1"
    # safetensors itself writes metadata in an order that changes from process to process.
    header = (tmp_path / "m").read_bytes()
    text = header[8 : 8 + int.from_bytes(header[:8], "little")].decode()
    keys = list(json.loads(text)["__metadata__"])
    assert keys == sorted(keys)
    assert len(text) % 8 == 0


def rewrite(path, *, tensors=None, metadata=None):
    """Write a file like a good one, with some tensors or metadata replaced (None drops them)."""
    write_maps(path, [some_map(0), some_map(4, pts=8)], METADATA)
    with safetensors.safe_open(path, framework="numpy") as file:
        described = file.metadata() | (metadata or {})
        arrays = {name: file.get_tensor(name) for name in file.keys()} | (tensors or {})  # noqa: SIM118
    kept = {name: array for name, array in arrays.items() if array is not None}
    described = {key: value for key, value in described.items() if value is not None}
    safetensors.numpy.save_file(kept, path, described)


def energy_with(value):
    energy = np.ones((2, 3, 2, 3), np.float32)
    energy[1, 2, 1, 0] = value
    return energy


INDEX = np.array([0, 4], np.int64)
CORRUPTIONS = {
    "nan": ({"energy": energy_with(np.nan)}, {}, "frame 4 at plane 2, macroblock row 1, column 0"),
    "inf": ({"energy": energy_with(np.inf)}, {}, "is inf; it must be finite"),
    "negative": ({"energy": energy_with(-1e-9)}, {}, "is -9.*e-10; it must be finite"),
    "grid": (
        {"energy": np.ones((2, 3, 3, 3), np.float32)},
        {},
        r"\(2, 3, 3, 3\), expected float32",
    ),
    "double": ({"energy": np.ones((2, 3, 2, 3))}, {}, "energy is float64"),
    "no energy": ({"energy": None}, {}, "energy"),
    "short": ({"pts": INDEX[:1]}, {}, r"pts is int64 \(1,\)"),
    "unordered": ({"frame_index": INDEX[::-1].copy()}, {}, "frame index 0 follows 4"),
    "twice": ({"frame_index": INDEX * 0}, {}, "frame index 0 follows 0"),
    "before 0": ({"frame_index": INDEX - 1}, {}, "frame index -1"),
    "crc": ({"luma_crc32": INDEX + 2**32 - 2}, {}, "4294967298, which are no CRC-32"),
    "not ours": ({}, {"format": None}, "its format is None, not 'idse-map'"),
    "version": ({}, {"version": "2"}, "map version '2', this idse reads '1'"),
    "no version": ({}, {"version": None}, "map version None"),
    "other size": ({}, {"width": "641"}, r"expected float32 \(2, 3, 2, 41\)"),
    "zero size": ({}, {"height": "0"}, "height is '0'"),
    "wordy size": ({}, {"width": "-40"}, "width is '-40'"),
    "huge size": ({}, {"width": "9" * 5000}, "width is '9"),
    "no model": ({}, {"model": None}, "lacks 'model'"),
    "no frames": ({}, {"frames": "0"}, "frames is '0'"),
    "format": ({}, {"pix_fmt": "rgb24"}, "'rgb24' is not one of"),
    "n_s": ({}, {"n_s": "0"}, "n_s is '0'"),
    "seed": ({}, {"seed": "٣"}, "seed is '٣'"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_damage_is_refused_with_its_reason(name, tmp_path):
    tensors, metadata, message = CORRUPTIONS[name]
    path = tmp_path / "bad.safetensors"
    rewrite(path, tensors=tensors, metadata=metadata)
    with pytest.raises(MapError, match=message) as caught:
        read_maps(path)
    assert str(path) in str(caught.value)


def test_files_that_are_no_safetensors(tmp_path):
    path = tmp_path / "m"
    write_maps(path, [some_map()], METADATA)
    whole = path.read_bytes()
    contents = [b"", b"\x89PNG\r\n", b"\xff" * 64, *(whole[:n] for n in (4, 60, len(whole) - 1))]
    for content in [*contents, whole + b"\0"]:
        path.write_bytes(content)
        with pytest.raises(MapError, match="no map file, or is damaged"):
            read_maps(path)
    for wrong in (tmp_path / "absent", tmp_path):
        with pytest.raises(MapError, match=re.escape(str(wrong))):
            read_maps(wrong)


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=150, deadline=None)
def test_flipped_bytes_raise_map_errors_only(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    write_maps(path, [some_map(0), some_map(7)], METADATA)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = read_maps(path)
    except MapError:
        return
    for item in found.maps:  # what gets through is at least a map
        assert np.isfinite(item.weight()).all()


def test_failed_writes_leave_what_was_there(tmp_path):
    path = tmp_path / "m.safetensors"
    write_maps(path, [some_map()], METADATA)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="No space left"):
        write_maps("/dev/full", [some_map()], METADATA)
    assert Path("/dev/full").is_char_device()  # not replaced by a file
    with pytest.raises(OutputError, match=re.escape(str(tmp_path / "no"))):
        write_maps(tmp_path / "no" / "m", [some_map()], METADATA)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder"):
        write_maps(tmp_path / "folder", [some_map()], METADATA)
    with pytest.raises(MapError, match="none"):
        write_maps(path, [], METADATA)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "m.safetensors"]
    assert path.read_bytes() == before


def test_disk_that_fills_up_midway(tmp_path, monkeypatch):
    """The sync is where a full disk may show: nothing may be left under either name."""

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_maps(tmp_path / "m", [some_map()], METADATA)
    assert list(tmp_path.iterdir()) == []


def test_symbolic_links_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "m")
    write_maps(link, [some_map()], METADATA)
    assert link.is_symlink()
    assert len(read_maps(tmp_path / "real" / "m").maps) == 1


def test_maps_of_another_size_or_sampling_are_refused():
    maps = MapSet(maps=(some_map(),), metadata=METADATA)
    maps.check_source(PictureFormat(width=40, height=24))
    maps.check_source(PictureFormat(width=40, height=24, pix_fmt="yuvj420p"))
    # Same macroblock grid, other picture.
    with pytest.raises(MapError, match="for 40x24 yuv420p, the input is 41x24 yuv420p"):
        maps.check_source(PictureFormat(width=41, height=24))
    for pix_fmt in ("yuv422p", "yuv420p10le"):
        with pytest.raises(MapError, match=pix_fmt):
            maps.check_source(PictureFormat(width=40, height=24, pix_fmt=pix_fmt))
    with pytest.raises(MapError, match="share size"):
        MapSet(maps=(some_map(), some_map(1, width=41)), metadata=METADATA)


def test_maps_of_another_video_are_refused():
    picture = some_picture(index=3)
    made = ImportanceMap.of(picture, np.ones((3, 2, 3), np.float32))
    assert (made.frame_index, made.pts) == (3, 5)
    maps = MapSet(maps=(made,), metadata=METADATA)
    maps.check_frame(picture)
    maps.check_frame(some_picture(value=1, index=2))  # no map, nothing to check
    with pytest.raises(MapError, match="frame 3 was made for another video"):
        maps.check_frame(some_picture(value=78, index=3))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 16), (40, 24), (33, 47)])
def test_neutral_weights_are_exactly_one(width, height):
    picture = some_picture(width=width, height=height)
    assert luma_samples(width, height).sum() == width * height
    neutral = ImportanceMap.neutral(picture)
    assert neutral.energy.shape == (3, *picture.format.mb_shape)
    np.testing.assert_array_equal(neutral.weight(), np.ones(picture.format.mb_shape, np.float32))


def test_weight_is_energy_per_sample_that_exists():
    energy = np.zeros((3, 2, 3), np.float32)
    energy[:, 0, 0] = [100, 20, 8]
    energy[1, 1, 2] = 32
    weight = some_map(energy=energy).weight()
    assert weight.dtype == np.float32
    assert weight[0, 0] == 0.5
    assert weight[1, 2] == 0.5  # an 8 x 8 corner of a 40 x 24 picture


def test_maps_check_their_energy():
    with pytest.raises(MapError, match=r"float32 \(3, 2, 2\), a 40x24 picture needs"):
        some_map(energy=np.ones((3, 2, 2), np.float32))
    with pytest.raises(InputError, match="float64"):
        some_map(energy=np.ones((3, 2, 3)))
