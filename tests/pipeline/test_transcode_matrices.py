"""Quantisation matrices in a whole transcode: there where they pay, and never by surprise."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from media_clips import assert_decodes, clip, elementary

from idse.allocation import OffsetPolicy
from idse.cli.__main__ import main
from idse.errors import InputError
from idse.importance.maps import ImportanceMap, MapMetadata, write_maps
from idse.importance.spectrum import Spectrum
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.maps import NetworkMaps
from idse.pipeline.options import EncodeOptions
from idse.pipeline.report import Warnings
from idse.pipeline.schedule import Schedule
from idse.pipeline.source import DecodedFrame, Source
from idse.pipeline.transcode import transcode

pytestmark = pytest.mark.fast
METADATA = MapMetadata(model="test", n_s=1, seed=0, dtype="float32")
FALLING = {size: np.geomspace(1, 1e-6, size**2).reshape(size, size) for size in (4, 8)}


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("street") / "street.mp4")


@pytest.fixture(scope="module")
def maps(street):
    """Maps in which the left half matters, and low frequencies."""
    with Source(str(street), warnings=Warnings()) as source:
        first = next(item for item in source.items() if isinstance(item, DecodedFrame)).picture
    energy = ImportanceMap.neutral(first).energy.copy()
    energy[0, :, :5] *= 100
    path = street.with_name("maps.safetensors")
    found = Spectrum(FALLING, FALLING, 0.5)
    write_maps(path, [ImportanceMap.of(first, energy)], METADATA, spectrum=found)
    return path


def run(street, maps, out, policy=None, *, strict=True, **encode):
    """Transcode; return the video's stream and the warnings."""
    options = EncodeOptions(**{"preset": "veryfast", **encode})
    steering = None
    if maps is not None:
        steering = SteeringOptions(policy=policy or OffsetPolicy(), maps=maps)
    report = transcode(
        str(street), str(out), encode=options, steering=steering, overwrite=True, strict=strict
    )
    return elementary(out), report.warnings


def has_matrices(path):
    command = ["ffmpeg", "-i", path, "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-"]
    text = subprocess.run(command, capture_output=True, check=True).stderr.decode()
    return "delta_scale" in text


def test_the_network_s_spectrum_decides(street, maps, tmp_path):
    out = tmp_path / "out.mp4"
    shaped, _ = run(street, maps, out)
    assert has_matrices(out)
    assert_decodes(out)
    flat, _ = run(street, maps, out, matrices=0.0)
    assert not has_matrices(out)
    assert len(shaped) < len(flat)


def test_pictures_that_none_copies_have_them_too(street, maps, tmp_path):
    out = tmp_path / "out.mp4"
    shaped, _ = run(street, maps, out, options={"keyint": "1"})
    flat, _ = run(street, maps, out, options={"keyint": "1"}, matrices=0.0)
    assert len(shaped) < 0.95 * len(flat)


def test_both_passes_have_them(street, maps, tmp_path):
    out = tmp_path / "out.mp4"
    run(street, maps, out, two_pass=True, options={"bitrate": "100"})
    assert has_matrices(out)


def test_stock_has_none_unless_asked(street, tmp_path):
    out = tmp_path / "out.mp4"
    run(street, None, out)
    assert not has_matrices(out)
    run(street, None, out, matrices=0.2)
    assert has_matrices(out)


@pytest.mark.parametrize(
    "encode",
    [{"profile": "main"}, {"preset": "ultrafast"}, {"options": {"8x8dct": "0"}}],
    ids=str,
)
def test_a_stream_below_the_high_profile_stays_as_it_is(street, maps, tmp_path, encode):
    # Strict: what is left out by default is nothing to warn of.
    shaped, _ = run(street, maps, tmp_path / "auto.mp4", **encode)
    flat, _ = run(street, maps, tmp_path / "flat.mp4", matrices=0.0, **encode)
    assert shaped == flat


@pytest.mark.parametrize("bounds", [{"floor_crf": 20.0}], ids=str)
def test_promised_quality_is_not_broken(street, maps, tmp_path, bounds):
    run(street, maps, tmp_path / "out.mp4", OffsetPolicy(**bounds))
    assert not has_matrices(tmp_path / "out.mp4")


def test_a_slope_that_no_stream_can_carry_is_told_of(street, tmp_path):
    out = tmp_path / "out.mp4"
    _, warnings = run(street, None, out, strict=False, profile="main", matrices=0.2)
    assert len(warnings) == 1
    assert "slope 0.2 are left out" in warnings[0]
    with pytest.raises(InputError, match=r"slope 0\.2 are left out"):
        run(street, None, out, profile="main", matrices=0.2)


def test_a_network_that_fails_on_the_first_picture_costs_the_matrices_alone(street):
    class Broken:
        def weight(self, picture):
            raise AssertionError

        def spectrum(self, picture):
            raise RuntimeError("too dark")

    class Loaded:
        def __call__(self):
            return Broken()

        def close(self):
            pass

    warnings = Warnings(strict=True)
    assert NetworkMaps(Loaded(), Schedule(10), warnings).spectrum(None) is None
    assert warnings.messages == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [("steep", "matrices 'steep' are not auto, flat or a slope"), ("-1", "-1"), ("nan", "nan")],
)
def test_bad_words_are_one_line(street, capsys, text, message):
    assert main(["transcode", str(street), "out.mp4", f"--matrices={text}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
