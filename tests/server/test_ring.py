"""Rings of pictures: every arrangement of samples, and no memory that could be pulled away."""

import fcntl
import os

import numpy as np
import pytest

from idse import kernels
from idse.errors import InputError, ProtocolError
from idse.server.protocol import Arrangement, Chroma, Hello
from idse.server.ring import Ring, encode_facts

pytestmark = pytest.mark.fast
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def hello(**changes):
    sized = Hello(**{"width": 51, "height": 35, "slots": 2, **changes})
    rows, cols = sized.mb_shape
    return Hello(**{**vars(sized), "mb_rows": rows, "mb_cols": cols})


def planes(layout):
    rng = np.random.default_rng(0)
    dtype = np.uint8 if layout.bit_depth == 8 else np.uint16
    luma, chroma = layout.plane_shapes
    top = 1 << layout.bit_depth
    return [rng.integers(0, top, shape, dtype) for shape in (luma, chroma, chroma)]


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("chroma", [Chroma.YUV420, Chroma.YUV422, Chroma.YUV444])
@pytest.mark.parametrize("arrangement", list(Arrangement))
def test_pictures_are_read_as_they_lie(depth, chroma, arrangement):
    layout = hello(bit_depth=depth, chroma=chroma, arrangement=arrangement)
    y, cb, cr = planes(layout)
    parts = {
        Arrangement.PLANAR: [cb, cr],
        Arrangement.PAIRS_CB_CR: [np.stack([cb, cr], -1)],
        Arrangement.PAIRS_CR_CB: [np.stack([cr, cb], -1)],
    }[arrangement]
    ring, descriptor = Ring.make(layout)
    written = b"".join(part.tobytes() for part in (y, *parts))
    os.pwrite(descriptor, written, layout.slot_bytes)
    os.close(descriptor)
    picture = ring.picture(1, 7, 9)
    for found, expected in zip(picture.planes, (y, cb, cr), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (picture.index, picture.pts) == (7, 9)
    assert not any(plane.any() for plane in ring.picture(0, 0).planes)
    # The kernels walk them as they are.
    assert kernels.ac_energy(picture).shape[-2:] == layout.mb_shape


def test_grey_pictures_have_no_colour():
    layout = hello(chroma=Chroma.GREY, bit_depth=10)
    ring, descriptor = Ring.make(layout)
    os.close(descriptor)
    y, cb, cr = ring.picture(0, 0).planes
    assert y.shape == (35, 51)
    assert cb.shape == cr.shape == (18, 26)
    assert {*cb.ravel(), *cr.ravel()} == {512}


def test_offsets_and_weights_are_shared_by_both_ends():
    layout = hello(flags=2)
    here, descriptor = Ring.make(layout)
    there = Ring(descriptor, layout)
    os.close(descriptor)
    here.offsets(1)[...] = np.arange(12, dtype=np.float32).reshape(3, 4)
    here.weights(1)[...] = 256
    assert there.offsets(1)[2, 3] == 11
    assert there.weights(1).shape == (12, 16)
    assert (there.weights(1) == 256).all()
    assert not there.offsets(0).any()
    with pytest.raises(InputError, match="no room"):
        Ring.make(hello())[0].weights(0)


@pytest.mark.parametrize("seals", [0, fcntl.F_SEAL_GROW, fcntl.F_SEAL_SHRINK])
def test_memory_that_may_be_made_smaller_is_refused(seals):
    layout = hello()
    descriptor = os.memfd_create("ring", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, layout.ring_bytes)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    with pytest.raises(ProtocolError, match="seals"):
        Ring(descriptor, layout)
    os.close(descriptor)


@pytest.mark.parametrize("off", [-1, 1, -4096])
def test_memory_of_another_size_is_refused(off):
    layout = hello()
    descriptor = os.memfd_create("ring", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, layout.ring_bytes + off)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    with pytest.raises(ProtocolError, match="bytes"):
        Ring(descriptor, layout)
    os.close(descriptor)


def test_files_are_no_rings(tmp_path):
    layout = hello()
    path = tmp_path / "ring"
    path.write_bytes(bytes(layout.ring_bytes))
    with path.open("r+b") as file, pytest.raises(ProtocolError, match="memfd"):
        Ring(file.fileno(), layout)


def test_colours_are_those_of_the_standard():
    assert encode_facts(hello(matrix=1, transfer=16, full_range=1)).form.matrix == "bt709"
    assert encode_facts(hello(transfer=16)).form.transfer == "pq"
    assert encode_facts(hello()).form.matrix == "bt601"
    assert encode_facts(hello(height=720)).form.matrix == "bt709"
    with pytest.raises(InputError, match="R'G'B'"):
        encode_facts(hello(matrix=0))
