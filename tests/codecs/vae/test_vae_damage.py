"""Damaged streams, and what claims to be one."""

import struct
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vae_models import GOLDEN, KINDS, photo, tiny

from idse.codecs import vae
from idse.codecs.vae.container import _FIELDS, HEADER_BYTES
from idse.errors import InputError, ModelError
from idse.learned.vae import model

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module", params=KINDS)
def small(request):
    return (GOLDEN / f"v1-small-{request.param}.ivae").read_bytes(), tiny(request.param)


def resealed(data, **changes):
    """The stream with fields changed and a checksum that agrees."""
    names = ("magic", "version", "identity", "width", "height", "step", "payload")
    fields = dict(zip(names, _FIELDS.unpack_from(data), strict=True)) | changes
    payload = bytes(data[HEADER_BYTES:])
    head = _FIELDS.pack(*fields.values())
    return head + struct.pack(">I", zlib.crc32(payload, zlib.crc32(head))) + payload


def test_a_resealed_stream_is_the_stream(small):
    assert resealed(small[0]) == small[0]


def test_every_flipped_byte_is_told(small):
    data, network = small
    for place in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[place] ^= flip
            with pytest.raises(InputError, match="VAE stream"):
                vae.decode(damaged, lambda _: network)


def test_every_truncation_and_appendix_is_told(small):
    data, network = small
    for size in range(len(data)):
        with pytest.raises(InputError, match="VAE stream"):
            vae.decode(data[:size], lambda _: network)
    with pytest.raises(InputError, match="damaged"):
        vae.decode(data + b"\0", lambda _: network)


def test_any_payload_with_a_true_checksum_decodes_or_is_refused(small):
    data, network = small

    @settings(deadline=None, max_examples=60)
    @given(st.binary(max_size=300), st.integers(-(1 << 15), (1 << 15) - 1))
    def check(payload, step):
        forged = resealed(data[:HEADER_BYTES] + payload, payload=len(payload), step=step)
        try:
            decoded = vae.decode(forged, lambda _: network)
        except InputError:
            return
        assert decoded.shape == (40, 56, 3)

    check()


def test_flips_behind_a_true_checksum_decode_or_are_refused(small):
    data, network = small
    for place in range(HEADER_BYTES, len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        try:
            decoded = vae.decode(resealed(damaged), lambda _: network)
        except InputError:
            continue
        assert decoded.shape == (40, 56, 3)


def test_absurd_sizes_are_refused_before_memory_is_spent(small):
    data, _ = small

    def never(identity):
        raise AssertionError("the model is not looked for")

    with pytest.raises(InputError, match="65535x65535 pixels; the limit is 100000000"):
        vae.decode(resealed(data, width=65535, height=65535), never)
    with pytest.raises(InputError, match="56x40 pixels; the limit is 2000"):
        vae.decode(data, never, max_pixels=2000)
    for side in ("width", "height"):
        with pytest.raises(InputError, match="damaged"):
            vae.decode(resealed(data, **{side: 0}), never)


CLAIM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from idse.pipeline.report import peak_rss_bytes
from test_vae_damage import *
data = Path(sys.argv[2]).read_bytes()
network = tiny("hyperprior")
vae.decode(data, lambda _: network)
before = peak_rss_bytes()
try:
    vae.decode(resealed(data, width=10000, height=10000), lambda _: network)
except InputError:
    print(peak_rss_bytes() - before)
"""


@pytest.mark.full
def test_a_large_claim_costs_little():
    """100 megapixels from 200 bytes: refused where the stream makes no sense any more."""
    folder, stream = GOLDEN.parents[1] / "codecs" / "vae", GOLDEN / "v1-small-hyperprior.ivae"
    done = subprocess.run(
        [sys.executable, "-c", CLAIM, folder, stream],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert int(done.stdout) < 100e6


LARGE = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from vae_models import photo, tiny
from idse.codecs import vae
from idse.pipeline.report import peak_rss_bytes
network = tiny("hyperprior")
def coded(picture):
    return vae.decode(vae.encode(picture, network, step=2000).data, lambda _: network)
coded(photo(768, 1024))
large = np.tile(photo(500, 500), (10, 12, 1))
before = peak_rss_bytes()
coded(large)
print(peak_rss_bytes() - before)
"""


@pytest.mark.full
def test_memory_grows_by_a_few_bytes_per_pixel():
    """30 megapixels: the decoded picture is 90 MB, latents of 6 feature maps 3 MB."""
    folder = GOLDEN.parents[1] / "codecs" / "vae"
    done = subprocess.run(
        [sys.executable, "-c", LARGE, folder], check=True, stdout=subprocess.PIPE, text=True
    )
    assert int(done.stdout) < 160e6


def test_other_files_and_versions_are_told(small):
    data, network = small
    with pytest.raises(InputError, match=r"starts with b'\\xff\\xd8"):
        vae.read_header(b"\xff\xd8\xff\xe0" + bytes(100))
    with pytest.raises(InputError, match="not a VAE stream"):
        vae.read_header(b"")
    with pytest.raises(InputError, match="version 2; this idse reads version 1"):
        vae.decode(resealed(data, version=2), lambda _: network)


def test_the_wrong_model_is_told(small):
    data, network = small
    other = replace(network, name="other", identity=bytes(32))
    with pytest.raises(ModelError, match="other is 0000000000000000"):
        vae.decode(data, lambda _: other)
    find = model.finder([])
    with pytest.raises(ModelError, match=rf"{network.identity[:8].hex()}, which is not here"):
        vae.decode(data, find)


def test_buffers_of_any_kind_are_read(small):
    data, network = small
    wanted = vae.decode(data, lambda _: network)
    for kind in (bytearray, memoryview):
        assert np.array_equal(vae.decode(kind(data), lambda _: network), wanted)


@pytest.mark.parametrize("sides", [(1, 1), (1, 200), (65, 1), (64, 64), (65, 127), (3, 1025)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_size_of_picture_comes_back(kind, sides):
    network = tiny(kind)
    encoded = vae.encode(photo(*sides), network, step=0)
    assert vae.decode(encoded.data, lambda _: network).shape == (*sides, 3)
