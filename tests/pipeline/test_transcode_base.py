"""How x264 distributes bits under steering: set where nobody chose it, and never by surprise."""

from __future__ import annotations

import numpy as np
import pytest
from media_clips import assert_decodes, clip, elementary

from idse.allocation import OffsetPolicy, Rect
from idse.allocation.base import BASE_OPTIONS, base_options
from idse.codecs.x264 import load_library
from idse.codecs.x264.distribution import chooses_distribution
from idse.importance.maps import ImportanceMap, MapMetadata, write_maps
from idse.importance.spectrum import Spectrum
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.options import EncodeOptions
from idse.pipeline.report import Warnings
from idse.pipeline.source import DecodedFrame, Source
from idse.pipeline.transcode import transcode

pytestmark = pytest.mark.fast
METADATA = MapMetadata(model="test", n_s=1, seed=0, dtype="float32")
LINE = "aq-mode=2:aq-strength=0.7:qcomp=0.7"
STOCK, BASE = (b"qcomp=0.60", b"aq=1:1.00"), (b"qcomp=0.70", b"aq=2:0.70")


def spectrum(value):
    planes = {size: np.full((size, size), value, np.float64) for size in (4, 8)}
    return Spectrum(planes, planes, 0.5)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("street") / "street.mp4")


@pytest.fixture(scope="module")
def maps(street):
    """Return a function that writes neutral maps with a spectrum of one value, or with none."""
    with Source(str(street), warnings=Warnings()) as source:
        first = next(item for item in source.items() if isinstance(item, DecodedFrame)).picture

    def written(value):
        path = street.with_name(f"maps {value}.safetensors")
        found = None if value is None else spectrum(value)
        write_maps(path, [ImportanceMap.neutral(first)], METADATA, spectrum=found)
        return path

    return written


def run(street, maps, out, policy=None, **encode):
    """Transcode; return the report and the video's stream."""
    options = EncodeOptions(**{"preset": "veryfast", **encode})
    steering = None
    if maps is not None:
        steering = SteeringOptions(policy=policy or OffsetPolicy(), maps=maps)
    report = transcode(
        str(street), str(out), encode=options, steering=steering, overwrite=True, strict=True
    )
    return report, elementary(out)


def says(stream, words):
    return all(word in stream for word in words)


def test_it_is_set_and_told_of(street, maps, tmp_path):
    report, stream = run(street, maps(1.0), tmp_path / "out.mp4")
    assert report.parameters_set == LINE
    assert f'"parameters_set": "{LINE}"' in report.to_json()
    assert says(stream, BASE)


def test_the_stream_is_that_of_the_same_options_without_steering(street, maps, tmp_path):
    # The maps are neutral: the offsets are 0, and nothing but the base is left.
    _, ours = run(street, maps(1.0), tmp_path / "ours.mp4")
    _, plain = run(street, None, tmp_path / "plain.mp4", options=dict(BASE_OPTIONS))
    assert ours == plain


@pytest.mark.parametrize(
    "options",
    [
        {"bitrate": "200"},
        {"bitrate": "200", "vbv-maxrate": "300", "vbv-bufsize": "300"},
        {"crf": "30", "vbv-maxrate": "300", "vbv-bufsize": "300"},
        {"mbtree": "0"},
    ],
    ids=str,
)
def test_every_rate_control_takes_it(street, maps, tmp_path, options):
    out = tmp_path / "out.mp4"
    report, stream = run(street, maps(1.0), out, options=options)
    assert report.parameters_set == LINE
    assert says(stream, BASE)
    assert_decodes(out)


def test_both_passes_take_it(street, maps, tmp_path):
    out = tmp_path / "out.mp4"
    report, stream = run(street, maps(1.0), out, two_pass=True, options={"bitrate": "100"})
    assert report.parameters_set == LINE
    assert says(stream, [b"rc=2pass", *BASE])


@pytest.mark.parametrize(
    ("encode", "words"),
    [
        ({"options": {"aq-mode": "1"}}, STOCK),
        ({"options": {"aq_strength": "1.0"}}, STOCK),
        ({"options": {"qcomp": "0.65"}}, [b"qcomp=0.65", b"aq=1:1.00"]),
        ({"tune": "grain"}, [b"qcomp=0.80", b"aq=1:0.50"]),
        ({"tune": "ssim"}, [b"qcomp=0.60", b"aq=2:1.00"]),
        ({"options": {"keyint": "1"}}, [b"aq=1:1.00"]),
    ],
    ids=str,
)
def test_whoever_chose_one_of_them_has_chosen_all(street, maps, tmp_path, encode, words):
    report, stream = run(street, maps(1.0), tmp_path / "out.mp4", **encode)
    assert report.parameters_set is None
    assert says(stream, words)


@pytest.mark.parametrize(
    "policy",
    [
        OffsetPolicy(strength=0),
        OffsetPolicy(floor_crf=30),
        OffsetPolicy(protect=(Rect(0, 0, 16, 16),)),
    ],
    ids=["no strength", "floor", "protected"],
)
def test_what_is_promised_of_stock_holds(street, maps, tmp_path, policy):
    report, stream = run(street, maps(1.0), tmp_path / "out.mp4", policy, matrices=0.0)
    assert report.parameters_set is None
    assert stream == run(street, None, tmp_path / "stock.mp4")[1]


@pytest.mark.parametrize("value", [None, 0.0])
def test_a_network_that_says_nothing_leaves_stock(street, maps, tmp_path, value):
    report, stream = run(street, maps(value), tmp_path / "out.mp4")
    assert report.parameters_set is None
    assert stream == run(street, None, tmp_path / "stock.mp4")[1]


@pytest.mark.parametrize(
    ("preset", "tune", "chosen"),
    [
        ("ultrafast", None, True),  # adaptive quantisation is off
        ("superfast", None, False),
        ("placebo", None, False),
        ("medium", "film", False),
        ("medium", "zerolatency", False),
        ("medium", "animation", True),
        ("medium", "stillimage", True),
        ("medium", "psnr", True),
    ],
)
def test_presets_and_tunes_choose_what_they_set(preset, tune, chosen):
    library = load_library()
    assert chooses_distribution(library, preset=preset, tune=tune, options={"ref": "1"}) is chosen


def test_nothing_steered_nothing_set():
    assert base_options(spectrum(1.0), None, intra=False) == {}
    assert base_options(None, OffsetPolicy(), intra=False) == {}
    assert base_options(spectrum(1.0), OffsetPolicy(), intra=True) == {}
    assert base_options(spectrum(1.0), OffsetPolicy(), intra=False) == BASE_OPTIONS
