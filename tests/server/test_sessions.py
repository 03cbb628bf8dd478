"""Encoders and the sidecar: the offsets of a transcode, in order, whatever goes wrong."""

import contextlib
import select
import socket
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest
import tiny_networks
from encoder_servers import FAILS, LEFT, SLOW, sidecar

from idse.codecs.x264 import Encoder
from idse.errors import BusyError, InputError, ProtocolError
from idse.importance.maps import ImportanceMap, MapMetadata, write_maps
from idse.picture import Picture, PictureFormat
from idse.pipeline.arguments import parse, steering_options
from idse.pipeline.report import Warnings
from idse.pipeline.source import Source
from idse.pipeline.steering import open_steering
from idse.server.client import FrameSession
from idse.server.protocol import Outcome

pytestmark = pytest.mark.fast
FORM = PictureFormat(width=160, height=96)
RATE = Fraction(25)


def picture(n, form=FORM, seed=0):
    """Noise that moves to the right by two samples per picture."""
    rng = np.random.default_rng(seed)
    top = 256 if form.bit_depth == 8 else 1024
    dtype = np.uint8 if form.bit_depth == 8 else np.uint16
    planes = []
    for (rows, columns), step in zip(form.plane_shapes, (2, 1, 1), strict=True):
        noise = rng.integers(0, top, (rows // 4 + 1, columns // 4 + 1))
        plane = np.kron(noise, np.ones((4, 4)))[:rows, :columns]
        planes.append(np.roll(plane, step * n, axis=1).astype(dtype))
    return tuple(planes)


def opened(server, form=FORM, arguments=(), **options):
    return FrameSession(
        form,
        fps=RATE,
        time_base=1 / RATE,
        crf=26.0,
        arguments=arguments,
        path=server.path,
        **options,
    )


def clip(path, pix_fmt):
    """30 pictures, lossless and without motion vectors, of which an encoder does not know."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, pix_fmt
        for n in range(30):
            samples = np.concatenate([plane.ravel() for plane in picture(n)])
            frame = av.VideoFrame.from_ndarray(samples.reshape(144, 160), "yuv420p")
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode())
    return path


def run(session, frames, times=None):
    """Encode nothing, but as an encoder would."""
    answers = []
    for n, planes in enumerate(frames):
        session.push(planes, pts=n if times is None else times[n])
        while session.ready():
            answers.append(session.take())
    answers.extend(session.finish())
    return answers


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with sidecar(tmp_path_factory.mktemp("sidecar"), models=(LEFT, FAILS, SLOW)) as made:
        yield made


@pytest.mark.parametrize(
    ("pix_fmt", "arguments"),
    [
        ("yuv420p", "--analyse-every 0.2"),
        ("yuv420p10le", "--analyse-every 0.2 --strength 0.7 --alpha 0.2 --n-s 4 --seed 3"),
        ("yuv444p", "--consumer-fps 5 --analyse-every 0.4 --protect 0,0,40,40 --floor-crf 28"),
        ("yuv422p", "--weighted --max-offset 5"),
    ],
)
def test_offsets_are_those_of_a_transcode(server, tmp_path, pix_fmt, arguments):
    path = clip(tmp_path / "clip.mkv", pix_fmt)
    words = [*arguments.split(), "--model", LEFT]
    options = steering_options(parse(words))
    warnings = Warnings()
    shown = []

    def seen(items):
        for item in items:
            shown.append((tuple(np.array(p) for p in item.picture.planes), item.time.pts))
            yield item

    with (
        Source(str(path), warnings=warnings) as source,
        Encoder(
            width=160, height=96, pix_fmt=pix_fmt, fps=RATE, preset="fast", options={"crf": "26"}
        ) as encoder,
    ):
        steering = open_steering(options, options.open_maps(warnings), source, encoder, warnings)
        expected = [given for _, given in steering.run(seen(source.items()))]
        time_base, form = source.time_base, encoder.format
    assert sum(given is not None for given in expected) == 30
    with FrameSession(
        form,
        fps=RATE,
        time_base=time_base,
        crf=26.0,
        arguments=words,
        path=server.path,
        weights=True,
    ) as session:
        answers = run(session, *zip(*shown, strict=True))
    assert [answer.index for answer in answers] == list(range(30))
    for answer, given in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(answer.offsets, given.offsets)
        assert (answer.weights is None) == (given.weights is None)
        if given.weights is not None:
            np.testing.assert_allclose(answer.weights, given.weights, atol=1 / 256)
    assert any(np.abs(answer.offsets).max() > 1 for answer in answers)
    assert answers[0].analysed
    assert 2 <= sum(answer.analysed for answer in answers) <= 12


def test_pictures_wait_as_long_as_was_said_and_no_longer(server):
    with opened(server, arguments=["--analyse-every", "0.24"]) as session:
        assert session.lookahead == 6
        answers = run(session, [picture(n) for n in range(20)])
    assert [answer.index for answer in answers] == list(range(20))
    assert {answer.status for answer in answers} == {Outcome.STEERED}


def test_a_ring_with_few_slots_looks_less_far_ahead(server):
    with opened(server, slots=3) as session:
        assert session.lookahead == 2
        answers = run(session, [picture(n) for n in range(8)])
    assert len(answers) == 8


def test_interlaced_pictures_have_an_even_number_of_rows(server):
    form = PictureFormat(width=160, height=80)
    with opened(server, form, interlaced=True) as session:
        answers = run(session, [picture(n, form) for n in range(3)])
    assert answers[0].offsets.shape == (6, 10)
    np.testing.assert_array_equal(answers[0].offsets[::2], answers[0].offsets[1::2])


def test_an_encoder_without_pictures_or_without_an_end_harms_nobody(server):
    with opened(server) as session:
        assert list(session.finish()) == []
    with opened(server) as session:
        session.push(picture(0), pts=0)
    with opened(server) as session:
        assert len(run(session, [picture(0)])) == 1


def test_a_network_that_fails_costs_the_steering_and_nothing_else(server):
    with opened(server, arguments=["--model", FAILS]) as session:
        answers = run(session, [picture(n) for n in range(40)])
    assert {answer.status for answer in answers} == {Outcome.UNSTEERED}
    assert len(answers) == 40


def test_maps_of_another_video_cost_the_steering_and_nothing_else(tmp_path):
    planes = picture(0)
    shown = Picture(planes=planes, format=FORM)
    path = tmp_path / "maps.safetensors"
    energy = ImportanceMap.neutral(shown).energy.copy()
    energy[0, :, :5] *= 64
    metadata = MapMetadata(model="test", n_s=1, seed=0, dtype="float32")
    write_maps(path, [ImportanceMap.of(shown, energy)], metadata)
    with sidecar(tmp_path, maps={"street": path}) as made:
        with opened(made, arguments=["--maps", "street"]) as session:
            answers = run(session, [planes] * 3)
        assert [answer.analysed for answer in answers] == [True, False, False]
        assert answers[0].offsets[:, 0].max() < answers[0].offsets[:, -1].min()
        with opened(made, arguments=["--maps", "street"]) as session:
            answers = run(session, [picture(n, seed=1) for n in range(60)])
        assert {answer.status for answer in answers} == {Outcome.UNSTEERED}
        with opened(made, arguments=["--maps", "street"], live=True) as session:
            assert run(session, [planes] * 3)[0].status == Outcome.STEERED
        with pytest.raises(InputError, match="not registered"):
            opened(made, arguments=["--maps", str(path)])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--model", "yolov4-tiny"], "not registered"),
        (["--model", "/etc/passwd.onnx"], "not registered"),
        (["--model", "os:getcwd"], "not registered"),
        (["--maps", "/etc/passwd"], "not registered"),
        (["--crf", "20"], "--crf is not for"),
        (["--measure"], "--measure is not for"),
        (["--static-background"], "--static-background is not for"),
        (["--no-steer"], "--no-steer is not for"),
        (["--x264-params", "stats=/tmp/x"], "--x264-params is not for"),
        (["--n-s", "65"], "above 64"),
        (["--strength", "nan"], "strength nan"),
        (["--analyse-every", "-1"], "analyse_every"),
        (["--protect", "1000,0,5,5"], "outside"),
        (["--whatever"], "unrecognized"),
    ],
)
def test_what_clients_may_not_ask_for_is_refused_with_the_reason(server, arguments, reason):
    with pytest.raises(InputError, match=reason):
        opened(server, arguments=arguments)


def test_one_encoder_too_many_is_told_so(tmp_path):
    full = pytest.raises(BusyError, match="2 encoders are served")
    with sidecar(tmp_path, most=2) as made, opened(made), opened(made), full:
        opened(made)


def test_a_refusal_is_read_where_the_greeting_came_too_late(tmp_path, monkeypatch):
    def late(connection, *args):
        hung_up = select.poll()
        hung_up.register(connection, select.POLLHUP)
        assert hung_up.poll(10_000)
        return send(connection, *args)

    send = socket.send_fds
    with sidecar(tmp_path, most=1) as made, opened(made):
        monkeypatch.setattr(socket, "send_fds", late)
        with pytest.raises(BusyError, match="1 encoders are served"):
            opened(made)


def test_live_answers_come_at_once_and_maps_as_they_arrive(server):
    tiny_networks.GATE.clear()
    try:
        with opened(server, live=True) as session:
            assert session.lookahead == 0
            answers = []
            for n in range(4):  # the network has not said anything
                session.push(picture(n), pts=n)
                answers.append(session.take())
            assert {answer.status for answer in answers} == {Outcome.UNSTEERED}
            tiny_networks.GATE.set()
            for n in range(4, 200):
                session.push(picture(n), pts=n)
                answers.append(session.take())
                if answers[-1].offsets is not None:
                    break
                time.sleep(0.05)
            assert np.abs(answers[-1].offsets).max() > 1
            session.push(picture(n + 1), pts=n + 1, deadline=time.monotonic() - 1)
            assert session.take().status == Outcome.REFUSED
            # Content goes on from the last picture that was looked at.
            session.push(picture(n + 1), pts=n + 2, deadline=time.monotonic() + 60)
            assert session.take().status == Outcome.STEERED
            (facts,) = [f for f in server.encoders.facts() if f.live]
            assert facts.age > 0
            assert (facts.analysed, facts.refused) == (1, 1)
    finally:
        tiny_networks.GATE.set()


def test_live_encoders_of_one_size_go_through_the_network_together(tmp_path):
    with sidecar(tmp_path) as made, contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(opened(made, live=True)) for _ in range(5)]
        tiny_networks.GATE.clear()
        try:
            for session in sessions:
                session.push(picture(0), pts=0)
                session.take()
        finally:
            tiny_networks.GATE.set()
        found = []
        for session in sessions:
            for n in range(1, 500):
                session.push(picture(0), pts=n)
                offsets = session.take().offsets
                if offsets is not None:
                    break
                time.sleep(0.02)
            found.append(offsets)
        # What came while the first round was held is the second one, counted once it is over.
        end = time.monotonic() + 30
        while len(made.rounds) < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert sum(made.rounds[:2]) == 5
        for offsets in found[1:]:
            np.testing.assert_allclose(offsets, found[0], atol=1e-3)


def test_eight_encoders_get_equal_shares_of_the_network(tmp_path):
    """One of them asks far more often than the others, and gets no more while they ask, too."""
    counts, begin, stop = [0] * 8, threading.Barrier(8), threading.Event()
    with sidecar(tmp_path, models=(SLOW,)) as made:

        def encode(k):
            with opened(made, arguments=["--analyse-every", "0", "--n-s", "1"]) as session:
                begin.wait(30)
                for n in range(1000):
                    session.push(picture(n), pts=n)
                    counts[k] += session.take().analysed
                    if stop.is_set():
                        return
                    if sum(counts) >= 32:
                        stop.set()

        threads = [threading.Thread(target=encode, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert max(counts) - min(counts) <= 2, counts


def test_a_server_that_stops_ends_its_sessions_and_refuses_new_ones(tmp_path):
    with sidecar(tmp_path) as made:
        session = opened(made)
        session.push(picture(0), pts=0)
        assert not made.close(0.1)
        with pytest.raises(ProtocolError):
            run(session, [picture(0)])
        with pytest.raises(ProtocolError, match="no sidecar answers"):
            opened(made)
        made.__init__(tmp_path)  # and takes its place again
        with opened(made) as again:
            assert len(run(again, [picture(0)])) == 1
