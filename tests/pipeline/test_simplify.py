"""Videos whose rate x264 cannot hold, with and without a fallback."""

from pathlib import Path

import pytest
from media_clips import assert_decodes, clip, times

from idse.codecs.x264 import Packet
from idse.errors import InputError
from idse.pipeline.options import EncodeOptions
from idse.pipeline.rate import Rate
from idse.pipeline.simplify import Look
from idse.pipeline.transcode import transcode

FAST, FULL = pytest.mark.fast, pytest.mark.full
TINY = str(Path(__file__).parents[1] / "golden" / "vae" / "tiny-hyperprior.safetensors")
ABSURD = {"bitrate": "1", "vbv-maxrate": "1", "vbv-bufsize": "1"}


def looked(sizes, fps=1):
    """What a look at frames of so many bits sees, one a second by default."""
    look = Look(fps)
    for n, size in enumerate(sizes):
        look.source(None, n, 3.0 + n / fps)
        look.packets([Packet(bytes(size // 8), n, n, n == 0, "idr" if n == 0 else "p")])
    look.flush()
    return look


@FAST
def test_segments_in_which_the_buffer_runs_dry():
    rate = Rate(mean=None, peak=1000.0, buffer=4000.0)
    assert looked([3600, 1000, 1000, 1000]).overruns(rate) == frozenset()
    # Empty after the first frame: more than comes in underflows, in the segment of that frame.
    assert looked([3600, 1008, 1000, 1000]).overruns(rate) == {0}
    assert looked([3600, 1000, 1000, 1000, 800, 1400]).overruns(rate) == {2}
    assert looked([4000, 96, 96, 4000]).overruns(rate) == {0, 1}


@FAST
def test_segments_above_a_mean():
    rate = Rate(mean=1000.0, peak=None, buffer=None)
    assert looked([1000] * 6).overruns(rate) == frozenset()
    assert looked([2000, 2000, 96, 96, 800, 800]).overruns(rate) == frozenset()
    assert looked([2000, 2000, 960, 960, 1200, 1200]).overruns(rate) == {0, 2}


@FAST
@pytest.mark.parametrize("interlaced", [False, True])
def test_an_absurd_rate(tmp_path, interlaced):
    extra = ("-flags", "+ildct+ilme") if interlaced else ()
    source = clip(tmp_path / "in.mp4", "-c:v", "mpeg4", "-q:v", "2", *extra, size="192x128")
    out = tmp_path / "out.mp4"
    plain = transcode(str(source), str(out), encode=EncodeOptions(options=ABSURD))
    options = EncodeOptions(options=ABSURD, fallback="vae-h264", vae_models=(TINY,))
    report = transcode(str(source), str(out), encode=options, overwrite=True)
    assert report.segments_simplified == (0.0,)
    assert_decodes(out)
    assert times(out) == times(source)
    if interlaced:
        assert report.frames_simplified == 0
        assert "interlaced" in report.warnings[-1]
        return
    assert report.frames_simplified == report.frames == 25
    assert report.frames == plain.frames
    assert "frames_simplified" in report.to_json()


@FAST
def test_only_the_segments_that_need_it(tmp_path):
    # Two seconds of grey, two of noise, two of grey.
    source = tmp_path / "in.mp4"
    noise = "color=gray:s=160x96:r=10:d=6,noise=alls=100:allf=t:enable='between(t,2,3.99)'"
    from media_clips import ffmpeg

    ffmpeg("-f", "lavfi", "-i", noise, "-c:v", "mpeg4", "-q:v", "2", source)
    hard = {"crf": "23", "vbv-maxrate": "3", "vbv-bufsize": "3"}
    options = EncodeOptions(options=hard, fallback="vae-h264", vae_models=(TINY,))
    report = transcode(str(source), str(tmp_path / "out.mkv"), encode=options)
    assert report.segments_simplified == (2.0,)
    assert report.frames_simplified == 20


@FAST
def test_a_rate_that_holds_changes_nothing(tmp_path):
    source = clip(tmp_path / "in.mp4")
    held = {"bitrate": "2000", "vbv-maxrate": "4000", "vbv-bufsize": "4000", "threads": "1"}
    one, two = tmp_path / "one.mkv", tmp_path / "two.mkv"
    transcode(str(source), str(one), encode=EncodeOptions(options=held))
    options = EncodeOptions(options=held, fallback="vae-h264", vae_models=("missing.safetensors",))
    report = transcode(str(source), str(two), encode=options)
    assert (report.frames_simplified, report.segments_simplified) == (0, ())
    assert report.warnings == ()
    assert one.read_bytes()[-3000:] == two.read_bytes()[-3000:]


@FAST
def test_a_codec_that_is_missing_leaves_the_video(tmp_path):
    source = clip(tmp_path / "in.mp4")
    options = EncodeOptions(
        options=ABSURD, fallback="vae-h264", vae_models=("missing.safetensors",)
    )
    out = tmp_path / "out.mp4"
    report = transcode(str(source), str(out), encode=options)
    assert report.frames_simplified == 0
    assert len(report.warnings) == 1
    assert "missing.safetensors" in report.warnings[0]
    with pytest.raises(InputError, match="--strict"):
        transcode(str(source), str(out), encode=options, overwrite=True, strict=True)


@FAST
@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"fallback": "vae-h264"}, "bitrate"),
        ({"fallback": "vae-h264", "options": {"crf": "30", "vbv-maxrate": "5"}}, "bufsize"),
        ({"fallback": "vae", "options": ABSURD}, "'vae'"),
        ({"vae_models": ("a.safetensors",)}, "a.safetensors"),
    ],
)
def test_options_that_make_no_sense(options, word):
    with pytest.raises(InputError, match=word):
        EncodeOptions(**options)


@FAST
def test_what_can_be_read_once_cannot_be_looked_at(tmp_path):
    options = EncodeOptions(options=ABSURD, fallback="vae-h264")
    with pytest.raises(InputError, match="twice"):
        transcode("-", str(tmp_path / "out.mp4"), encode=options)


@FULL
def test_a_real_clip(shared, tmp_path):
    source = tmp_path / "in.mp4"
    from media_clips import ffmpeg

    real = shared / "video" / "vtest.avi"
    ffmpeg("-ss", "50", "-i", real, "-frames:v", "20", "-c:v", "libx264", "-crf", "18", source)
    options = EncodeOptions(options=ABSURD, fallback="vae-h264", vae_models=(TINY,))
    report = transcode(str(source), str(tmp_path / "out.mp4"), encode=options)
    assert report.frames_simplified == 20
    assert report.segments_simplified == (0.0,)
    assert_decodes(tmp_path / "out.mp4")
