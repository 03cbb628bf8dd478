"""Trial encodes: what is learnt from them, and that it can only help."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from media_clips import elementary, times

from idse.allocation import OffsetPolicy
from idse.cli.__main__ import main
from idse.codecs.h264 import read_macroblocks
from idse.codecs.x264 import Encoder
from idse.errors import CodecError, InputError
from idse.picture import Picture, PictureFormat
from idse.pipeline import rehearsal
from idse.pipeline.frames import picture
from idse.pipeline.guard import Tally, Verdict, judge
from idse.pipeline.loading import SteeringOptions
from idse.pipeline.measured import MeasuredMaps, NotedMaps
from idse.pipeline.options import EncodeOptions
from idse.pipeline.probe import Probe
from idse.pipeline.store import PictureStore
from idse.pipeline.transcode import transcode

pytestmark = pytest.mark.fast
FRAMES = 24


def scene(width, height, frames, seed=0):
    """Blurred noise that moves to the right by a sample a frame, with a little noise of its own."""
    rng = np.random.default_rng(seed)
    texture = rng.normal(0, 60, (height, width + frames))
    for axis in (0, 1):
        texture = (texture + np.roll(texture, 1, axis) + np.roll(texture, 2, axis)) / 3
    form = PictureFormat(width=width, height=height)
    for n in range(frames):
        luma = 128 + texture[:, frames - n : frames - n + width] + rng.normal(0, 2, (height, width))
        planes = [np.clip(luma, 16, 235).astype(np.uint8)]
        planes += [np.full(form.chroma_shape, 128, np.uint8)] * 2
        yield Picture(planes=tuple(planes), format=form, index=n)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        for item in scene(192, 128, FRAMES):
            frame = av.VideoFrame.from_ndarray(
                np.concatenate([item.planes[0], *(p.reshape(32, 192) for p in item.planes[1:])]),
                format="yuv420p",
            )
            frame.pts = item.index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def run(
    clip,
    target,
    *,
    model="half_blind:sees_left",
    options=None,
    two_pass=False,
    progress=None,
    **how,
):
    encode = EncodeOptions(
        preset="veryfast",
        options={"crf": "30", "threads": "1"} if options is None else options,
        matrices=0.0,
        two_pass=two_pass,
    )
    steering = SteeringOptions(policy=OffsetPolicy(), models=(model,), analyse_every=0.5, **how)
    return transcode(str(clip), str(target), encode=encode, steering=steering, progress=progress)


def stock(clip, target):
    encode = EncodeOptions(preset="veryfast", options={"crf": "30", "threads": "1"})
    transcode(str(clip), str(target), encode=encode)
    return target


@pytest.mark.parametrize("size", [(96, 64), (97, 51)], ids=str)
@pytest.mark.parametrize("global_headers", [True, False])
def test_a_probe_pairs_every_frame_with_what_a_decoder_shows(size, global_headers, tmp_path):
    sources = list(scene(*size, 20))
    data, found = b"", []
    with Encoder(
        width=size[0],
        height=size[1],
        fps=Fraction(10),
        options={"crf": "28", "bframes": "3"},
        global_headers=global_headers,
    ) as encoder:
        probe = Probe(encoder, lambda n: n != 7)
        for n, item in enumerate(sources):
            probe.source(item)
            packets = encoder.encode(item.planes, pts=n)
            data += b"".join(packet.data for packet in packets)
            found += probe.packets(packets)
        packets = list(encoder.flush())
        data += b"".join(packet.data for packet in packets)
        found += [*probe.packets(packets), *probe.flush()]
    assert [item.index for item in found] == [n for n in range(20) if n != 7]
    for item in found:
        assert item.decoded.format == item.source.format
        np.testing.assert_array_equal(item.source.planes[0], sources[item.index].planes[0])
        error = item.decoded.planes[0].astype(float) - item.source.planes[0]
        assert np.sqrt(np.mean(error**2)) < 8
    if not global_headers:
        path = tmp_path / "stream.h264"
        path.write_bytes(data)
        with av.open(str(path)) as container:
            shown = [picture(frame, n) for n, frame in enumerate(container.decode(video=0))]
        for item in found:
            rows, columns = item.source.planes[0].shape
            expected = shown[item.index].planes[0][:rows, :columns]
            np.testing.assert_array_equal(item.decoded.planes[0], expected)


def test_a_probe_says_that_frames_are_missing():
    (item,) = scene(96, 64, 1)
    with Encoder(width=96, height=64, fps=Fraction(10)) as encoder:
        probe = Probe(encoder)
        probe.source(item)
        with pytest.raises(CodecError, match="1 of 1 frames"):
            list(probe.flush())


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le"])
def test_stored_pictures_come_back(pix_fmt, tmp_path):
    form = PictureFormat(width=33, height=17, pix_fmt=pix_fmt)
    dtype = np.uint8 if form.bit_depth == 8 else np.uint16
    rng = np.random.default_rng(0)
    sources = [
        Picture(
            planes=tuple(rng.integers(0, 255, s).astype(dtype) for s in form.plane_shapes),
            format=form,
            index=40 + n,
        )
        for n in range(3)
    ]
    path = tmp_path / "pictures"
    with PictureStore(path, form) as store:
        for item in sources:
            store.append(item)
        for n in (2, 0, 1):
            assert store[n].index == 40 + n
            for ours, theirs in zip(store[n].planes, sources[n].planes, strict=True):
                np.testing.assert_array_equal(ours, theirs)
    assert not path.exists()


def tally(rates, lost):
    made = Tally()
    for n, (rate, loss) in enumerate(zip(rates, lost, strict=True)):
        made.bytes[n] = rate
        made.distance[n] = {0: np.array([loss])}
    return made


def test_a_guard_compares_at_equal_bytes():
    # Stock halves the distance with twice the bytes: 1 at 1000, 2 at 500.
    at_crf, coarser = tally([1000] * 4, [1.0] * 4), tally([500] * 4, [2.0] * 4)
    steered = tally([800, 800, 1250, 1000], [1.25, 1.0, 1.0, 0.5])
    found = judge(steered, at_crf, coarser, importance=[1.0])
    assert [found[n].change for n in range(4)] == pytest.approx([0.0, -0.2, 0.25, -0.5])
    assert [found[n].start for n in range(4)] == [0.0, 10.0, 20.0, 30.0]
    assert [found[n].steered for n in (1, 2, 3)] == [True, False, True]


def test_a_guard_leaves_out_steering_where_stock_loses_nothing():
    nothing = tally([1000, 1000], [0.0, 0.0])
    found = judge(tally([900, 900], [0.1, 0.0]), nothing, nothing, importance=[1.0])
    assert [found[n].steered for n in (0, 1)] == [False, True]
    assert found[0].facts() == {"start": 0.0, "change": None, "steered": False}


def test_a_guard_judges_by_the_frames_that_all_have_judged():
    at_crf, coarser, steered = (tally([rate], [loss]) for rate, loss in ((8, 1), (4, 2), (8, 1)))
    for made in (at_crf, coarser):  # the network failed on it in the steered encode
        made.distance[0][1] = np.array([5.0])
    assert judge(steered, at_crf, coarser, importance=[1.0])[0].change == 0


class Constant:
    """Maps of one value for even frames; what was measured, of another one."""

    def __init__(self, value):
        self.value, self.mean = value, float(value.mean())

    def weight(self, picture, seconds, *, cut):
        return self.value if picture.index % 2 == 0 else None

    def get(self, index):
        return self.value if index % 4 == 0 else None


def test_measured_weights_count_half_whatever_their_unit():
    ours = np.array([[1.0, 3.0]], np.float32)
    theirs = np.array([[3e6, 1e6]], np.float32)
    noted = NotedMaps(Constant(ours))
    pictures = list(scene(32, 16, 5))
    for item in pictures:
        noted.weight(item, 0.0, cut=False)
    assert (noted.frames, noted.mean) == ({0, 2, 4}, 2.0)
    maps = MeasuredMaps(Constant(ours), Constant(theirs), mean=noted.mean)
    found = [maps.weight(item, 0.0, cut=False) for item in pictures]
    np.testing.assert_allclose(found[0], [[2.0, 2.0]])
    np.testing.assert_array_equal(found[2], ours)
    assert found[1] is found[3] is None


def test_measuring_changes_the_maps_and_nothing_else(clip, tmp_path):
    plain, measured, again = (tmp_path / f"{n}.mp4" for n in ("plain", "measured", "again"))
    run(clip, plain)
    report = run(clip, measured, measure=True)
    run(clip, again, measure=True)
    assert (report.frames, report.warnings) == (FRAMES, ())
    assert report.frames_measured == report.frames_analysed == 5
    assert measured.read_bytes() == again.read_bytes()
    assert elementary(measured) != elementary(plain)
    assert times(measured) == times(clip)


def test_measuring_goes_with_two_passes(clip, tmp_path):
    options = {"bitrate": "150", "threads": "1"}
    report = run(
        clip, tmp_path / "out.mp4", options=options, two_pass=True, measure=True, guard=True
    )
    assert (report.frames, report.frames_measured, len(report.segments)) == (FRAMES, 5, 1)


def test_a_guard_gives_a_segment_back_to_stock(clip, tmp_path, monkeypatch):
    steered, guarded = tmp_path / "steered.mp4", tmp_path / "guarded.mp4"
    run(clip, steered)
    report = run(clip, guarded, guard=True)
    assert report.segments[0]["steered"]
    assert report.segments[0]["change"] < -0.05
    assert elementary(guarded) == elementary(steered)
    worse = {0: Verdict(start=0.0, change=0.1, steered=False)}
    monkeypatch.setattr(rehearsal, "judge", lambda *_, **__: worse)
    report = run(clip, guarded.with_name("worse.mp4"), guard=True)
    assert report.segments == ({"start": 0.0, "change": 0.1, "steered": False},)
    assert (report.frames_unsteered, report.parameters_set) == (FRAMES, None)
    ours = elementary(guarded.with_name("worse.mp4"))
    assert ours == elementary(stock(clip, tmp_path / "stock.mp4"))
    assert ours != elementary(steered)


def test_the_oracle_spends_where_the_network_looks(clip, tmp_path):
    found, plain = tmp_path / "found.mp4", stock(clip, tmp_path / "stock.mp4")
    steps = []
    report = run(clip, found, effort="oracle", progress=steps.append)
    searched = [step.position for step in steps if step.phase == "search"]
    assert searched == sorted(searched)
    assert searched[-1] == pytest.approx(2.3)
    (segment,) = report.segments
    assert segment["change"] < -0.2
    assert (report.frames, report.frames_unsteered, report.warnings) == (FRAMES, 0, ())
    assert times(found) == times(clip)
    assert len(elementary(found)) < 1.1 * len(elementary(plain))
    qp = np.stack([m.qp_array for m in read_macroblocks(found)])
    assert np.nanmean(qp[:, :, :5]) + 4 < np.nanmean(qp[:, :, 7:])


def test_the_oracle_respects_bounds_and_takes_a_bitrate(clip, tmp_path):
    from idse.allocation import Rect

    policy = OffsetPolicy(protect=(Rect(176, 0, 16, 128),))
    encode = EncodeOptions(preset="veryfast", options={"bitrate": "200"}, matrices=0.0)
    steering = SteeringOptions(policy=policy, models=("half_blind:sees_left",), effort="oracle")
    out = tmp_path / "out.mp4"
    report = transcode(str(clip), str(out), encode=encode, steering=steering)
    assert report.segments[0]["change"] < 0
    qp = np.stack([m.qp_array for m in read_macroblocks(out)])
    assert np.nanmean(qp[:, :, 11]) + 2 < np.nanmean(qp[:, :, 7:11])


@pytest.mark.parametrize(
    "how", [{}, {"measure": True}, {"guard": True}, {"effort": "oracle"}], ids=str
)
def test_a_network_that_fails_leaves_stock(clip, tmp_path, how):
    out = tmp_path / "out.mp4"
    report = run(clip, out, model="half_blind:fails", **how)
    assert report.warnings
    assert all("out of order" in message for message in report.warnings)
    assert not any(segment["steered"] for segment in report.segments if "effort" in how)
    assert elementary(out) == elementary(stock(clip, tmp_path / "stock.mp4"))


def test_what_cannot_be_rehearsed_is_said(clip, tmp_path):
    steering = SteeringOptions(policy=OffsetPolicy(), maps=tmp_path / "m", measure=True)
    with pytest.raises(InputError, match="give --model, not --maps"):
        transcode(str(clip), str(tmp_path / "o.mp4"), steering=steering)
    with pytest.raises(InputError, match="'-' cannot do: give a file"):
        run("-", tmp_path / "o.mp4", guard=True)
    with pytest.raises(InputError, match="leave out --measure, --guard"):
        run(clip, tmp_path / "o.mp4", guard=True, effort="oracle")
    with pytest.raises(InputError, match="effort 'heroic' is not one of normal, oracle"):
        run(clip, tmp_path / "o.mp4", effort="heroic")
    with pytest.raises(InputError, match="weight 'two' in 'half_blind:fails=two'"):
        run(clip, tmp_path / "o.mp4", model="half_blind:fails=two", guard=True)
    interlaced = {"crf": "30", "tff": "1"}
    with pytest.raises(InputError, match="progressive video only"):
        run(clip, tmp_path / "o.mp4", options=interlaced, effort="oracle")
    assert not list(tmp_path.iterdir())


def test_the_command_line_knows_all_three(clip, tmp_path):
    report = tmp_path / "report.json"
    words = ["--model", "half_blind:sees_left", "--analyse-every", "5", "--measure", "--guard"]
    out = str(tmp_path / "o.mp4")
    assert main(["transcode", str(clip), out, *words, "--report", str(report)]) == 0
    facts = json.loads(report.read_text())
    assert facts["frames_measured"] == 1
    assert facts["segments"][0].keys() == {"start", "change", "steered"}
