"""Files of a wanted size."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vae_models import KINDS, photo, tiny

from idse.codecs import vae
from idse.codecs.vae.latents import Latents
from idse.codecs.vae.rate import fill, search
from idse.errors import CodecError, InputError, TargetError

pytestmark = pytest.mark.fast


@settings(deadline=None)
@given(st.floats(1, 1e8), st.floats(0.2, 2), st.floats(0, 1e4), st.floats(1, 1e8))
def test_the_search_finds_the_finest_step_that_fits(top, slope, floor, wanted):
    calls = []

    def bits(step):
        calls.append(step)
        return floor + top * 2 ** (-slope * step / 1024)

    step, size = search(bits, (-6144, 6144), wanted)
    assert size == bits(step)
    assert -6144 <= step <= 6144
    assert bits(step) <= wanted or step == 6144
    assert step == -6144 or bits(step) >= 0.999 * wanted or bits(step - 1) > wanted
    assert len(calls) <= 30


def test_the_search_takes_few_looks():
    calls = []

    def bits(step):
        calls.append(step)
        return 3000 + 4e6 / (1 + math.exp(step / 1000))

    search(bits, (-6144, 6144), 90_000)
    assert len(calls) <= 9


def test_a_deadzone_fills_what_steps_leave():
    assert fill(lambda width: 1000 - 200 * width, 960) == pytest.approx(0.2, abs=0.01)
    assert fill(lambda width: 1000 - 10 * width, 900) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.4, 0.9])
def test_files_meet_their_target(kind, share):
    network = tiny(kind)
    picture = photo(256, 384)
    largest, smallest = (len(vae.encode(picture, network, step=s).data) for s in network.steps)
    target = round(smallest + share * (largest - smallest))
    encoded = vae.encode(picture, network, target_bytes=target)
    assert 0.99 * target <= len(encoded.data) <= target
    bpp = 8 * (target + 0.5) / picture[..., 0].size
    again = vae.encode(picture, network, target_bpp=bpp)
    assert again.data == encoded.data
    header = vae.read_header(encoded.data)
    assert (header.bytes, header.step) == (len(encoded.data), encoded.step)
    assert header.bpp <= bpp


@pytest.mark.parametrize("kind", KINDS)
def test_small_files_meet_their_target_to_a_few_bytes(kind):
    picture, network = photo(64, 96), tiny(kind)
    smallest = len(vae.encode(picture, network, step=network.steps[1]).data)
    largest = len(vae.encode(picture, network, step=network.steps[0]).data)
    for target in range(smallest, min(largest, smallest + 300), 7):
        size = len(vae.encode(picture, network, target_bytes=target).data)
        assert target - max(0.01 * target, 4) <= size <= target


def test_predicted_sizes_are_the_coder_s():
    latents = Latents(photo(200, 300), tiny("hyperprior"))
    for step in (-3000, -1000, 0, 1500, 3000):
        assert abs(latents.bits(step) / 8 - len(latents.write(step))) < 8


def test_networks_run_once_whatever_the_target():
    counts = {"analyse": 0, "hyper_analyse": 0}
    network = tiny("hyperprior")

    class Counting:
        def __getattr__(self, name):
            if name in counts:
                counts[name] += 1
            return getattr(network.transforms, name)

    counted = replace(network, transforms=Counting())
    vae.encode(photo(256, 384), counted, target_bytes=2500)
    assert counts == {"analyse": 1, "hyper_analyse": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_reached_names_the_smallest_size(kind):
    picture, network = photo(256, 384), tiny(kind)
    smallest = len(vae.encode(picture, network, step=network.steps[1]).data)
    assert len(vae.encode(picture, network, target_bytes=smallest).data) == smallest
    with pytest.raises(TargetError, match=rf"256 pixels .* {smallest - 1} bytes: .* {smallest}$"):
        vae.encode(picture, network, target_bytes=smallest - 1)


def test_more_than_the_finest_step_takes_gives_the_finest():
    picture, network = photo(40, 40), tiny("hyperprior")
    assert vae.encode(picture, network, target_bytes=10**6).step == network.steps[0]


def test_the_model_that_promises_least_error_is_taken():
    network = tiny("hyperprior")
    low = replace(network, name="low", curve=((0.05, 90.0), (0.5, 40.0)))
    high = replace(network, name="high", curve=((0.2, 60.0), (0.5, 30.0), (2.0, 5.0)))
    picture = photo(256, 384)
    for target, name in ((1600, "low"), (8000, "high")):
        assert vae.encode(picture, [high, low], target_bytes=target).network.name == name


def test_another_model_steps_in_where_the_first_cannot_go_so_low():
    network = tiny("hyperprior")
    low = replace(network, name="low")
    high = replace(network, name="high", steps=(-6144, -5000), curve=((0.01, 1.0),))
    encoded = vae.encode(photo(256, 384), [high, low], target_bytes=2000)
    assert encoded.network.name == "low"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of"),
        ({"step": 1, "target_bpp": 0.5}, "give one of"),
        ({"target_bpp": -1.0}, "-1.0 bits per pixel"),
        ({"target_bpp": float("nan")}, "nan bits per pixel"),
        ({"target_bytes": 0}, "0 bytes"),
        ({"step": 40000}, "40000"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        vae.encode(photo(64, 64), tiny("hyperprior"), **options)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.broadcast_to(np.uint8(0), (70_000, 1, 3)),
        np.broadcast_to(np.uint8(0), (20_000, 20_000, 3)),
    ],
    ids=lambda picture: f"{picture.dtype}-{picture.shape}",
)
def test_what_is_no_picture_is_refused(picture):
    with pytest.raises(InputError, match="picture"):
        vae.encode(picture, tiny("hyperprior"), step=0)


def test_a_network_gone_wrong_is_refused():
    network = tiny("hyperprior")
    network.transforms._vae.analysis[0].weight.fill_(float("nan"))
    with pytest.raises(CodecError, match="not a number"):
        vae.encode(photo(64, 64), network, step=0)
    with pytest.raises(InputError, match="no model"):
        vae.encode(photo(64, 64), [], step=0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_is_larger_than_what_is_read(kind, monkeypatch):
    monkeypatch.setattr("idse.codecs.vae.codec.MAX_BYTES", 1000)
    network = tiny(kind)
    with pytest.raises(InputError, match="of the 1000 that a file may have: give a coarser one"):
        vae.encode(photo(128, 128), network, step=network.steps[0])
    assert 900 < len(vae.encode(photo(128, 128), network, target_bytes=10**9).data) <= 1000
