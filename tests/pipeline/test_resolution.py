"""The coded size that networks choose: small where they see no detail, full where they do."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from media_clips import clip, video
from torch import nn

from idse.allocation import OffsetPolicy
from idse.codecs.x264 import load_library
from idse.errors import InputError
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.max_resolution import MaxResolution
from idse.pipeline.options import EncodeOptions
from idse.pipeline.resolution import choose_size, rate_change, sample_frames, sure_change
from idse.pipeline.transcode import transcode
from idse.vision import FeatureExtractor

pytestmark = pytest.mark.fast
QUICK = EncodeOptions(
    preset="veryfast", options={"crf": "27"}, max_resolution=MaxResolution.parse("auto")
)


def coarse():
    """Sees a picture of 48 x 32."""
    torch.manual_seed(0)
    return FeatureExtractor(nn.Conv2d(3, 4, 3), size=(32, 48), fit="stretch")


def fine():
    """Sees every sample, and of it the highest frequencies alone."""
    net = nn.Conv2d(3, 1, 2, bias=False)
    with torch.no_grad():
        net.weight[:] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    return FeatureExtractor(net, size=(192, 288), fit="stretch")


def blind():
    return FeatureExtractor(nn.Conv2d(3, 1, 1).requires_grad_(False), size=(8, 8), features=_zero)


def _zero(output):
    return output * 0


def natural(seed):
    """A picture with the spectrum of photographs, and grain."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(192)[:, None], np.fft.fftfreq(288)[None])
    spectrum = np.fft.fft2(rng.normal(size=(192, 288))) / np.maximum(frequency, 1 / 288) ** 1.3
    luma = np.fft.ifft2(spectrum).real
    planes = np.full((288, 288), 128.0)
    planes[:192] = 120 + 40 * luma / luma.std() + rng.normal(0, 6, luma.shape)
    samples = np.clip(np.rint(planes), 0, 255).astype(np.uint8)
    return av.VideoFrame.from_ndarray(samples, format="yuv420p")


@pytest.fixture(scope="module")
def textured(tmp_path_factory):
    """Three seconds, a scene each, without loss."""
    path = tmp_path_factory.mktemp("textured") / "in.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 288, 192, "yuv420p"
        for n in range(30):
            frame = natural(n // 10)
            frame.pts = n
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def samples(textured):
    with av.open(textured) as container:
        return list(container.decode(video=0))[5::10]


def choose(samples, *networks):
    nets = [(make(), 1.0) for make in networks]
    return choose_size(samples, nets, QUICK, crf=27, library=load_library())


def test_a_network_that_sees_no_detail_gets_a_small_picture(samples):
    choice = choose(samples, coarse)
    assert choice.size[0] <= 192
    assert choice.size[0] * 192 == choice.size[1] * 288
    assert choice.why.startswith("by 3 frames at CRF 27, ")
    assert "fewer bytes" in choice.why
    assert choice == choose(samples, coarse)


@pytest.mark.parametrize("networks", [(fine,), (coarse, fine), (blind,)], ids=str)
def test_detail_that_any_network_sees_keeps_the_size(samples, networks):
    assert choose(samples, *networks).size == (288, 192)


def test_samples_are_spread_over_a_file(textured):
    with av.open(textured) as container:
        first = next(iter(container.decode(video=0)))
    found = sample_frames(str(textured), first, count=3)
    assert [frame.time for frame in found] == [0.5, 1.5, 2.5]
    assert sample_frames("-", first) == [first]
    assert sample_frames("rtsp://camera/stream", first) == [first]


def steer(model):
    return SteeringOptions(policy=OffsetPolicy(), models=[model])


def test_a_transcode_chooses_once_and_says_why(textured, tmp_path):
    out = tmp_path / "out.mp4"
    report = transcode(
        str(textured), str(out), encode=QUICK, steering=steer("test_resolution:coarse")
    )
    assert report.warnings == ()
    assert report.scaled_to == f"{video(out)['width']}x{video(out)['height']}" != "288x192"
    assert report.scaled_because.startswith("by 6 frames at CRF 27, ")
    assert (report.frames, report.frames_unsteered) == (30, 0)


def test_a_failure_of_the_choice_costs_nothing_but_the_choice(textured, tmp_path, monkeypatch):
    from idse.pipeline import resolution

    def fails(*args, **kwargs):
        raise ZeroDivisionError("no\nidea")

    monkeypatch.setattr(resolution, "choose_size", fails)
    steering = steer("test_resolution:coarse")
    report = transcode(str(textured), str(tmp_path / "o.mp4"), encode=QUICK, steering=steering)
    assert (report.scaled_to, report.scaled_because) == ("288x192", "choosing failed")
    assert "no size could be chosen (ZeroDivisionError: no idea)" in report.warnings[0]
    with pytest.raises(InputError, match="--strict"):
        transcode(
            str(textured), str(tmp_path / "s.mp4"), encode=QUICK, steering=steering, strict=True
        )


def test_interlaced_pictures_stay_as_they_are(tmp_path):
    path = clip(
        tmp_path / "in.mkv",
        *("-vf", "setfield=tff", "-c:v", "mpeg2video", "-flags", "+ildct+ilme"),
        size="320x192",
        seconds=0.2,
    )
    report = transcode(
        str(path),
        str(tmp_path / "out.mp4"),
        encode=QUICK,
        steering=steer("test_resolution:coarse"),
    )
    assert report.scaled_to == "320x192"
    assert "interlaced" in report.scaled_because


def test_rate_change_is_read_off_two_lines():
    rate = np.log([100.0, 200.0, 400.0])
    full = np.stack([rate, -rate], axis=1)
    cheaper = np.stack([rate + np.log(0.8), -rate], axis=1)
    assert np.isclose(rate_change(full, cheaper), np.log(0.8))
    assert np.isclose(rate_change(full, full), 0)
    never = cheaper + np.array([0, 3])  # as far off at its best as the full size at its worst
    assert rate_change(full, never) is None
    noise = np.stack([rate, rate * 0], axis=1)
    assert rate_change(noise, noise) is None


def test_no_single_sample_and_no_single_mean_decides():
    size = np.array([100.0, 200.0, 400.0])
    full = np.stack([np.stack([size, 100 / size])] * 4, axis=-1)
    cheap = full.copy()
    cheap[0, :, 2] *= 0.1  # saves a lot, on one sample
    assert np.isclose(sure_change(full, cheap), 0)
    cheap = full * np.array([0.7, 1]).reshape(2, 1, 1)
    assert np.isclose(sure_change(full, cheap), np.log(0.7))
    assert np.isclose(sure_change(full[..., :1], cheap[..., :1]), np.log(0.7))
    # Two empty scenes become better, and two with something in them much worse.
    cheap[1, :, :2] *= 0.01
    cheap[1, :, 2:] *= 20
    assert sure_change(full, cheap) is None
