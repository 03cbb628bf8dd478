"""A server whose model is the student: no torch, and no answer that it does not have."""

import io
import json

import av
import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image
from served import TOKEN, served, session
from tritonclient.utils import InferenceServerException

from idse.learned.student.analyser import load_student
from idse.picture import Picture, PictureFormat
from idse.pipeline import frames

pytestmark = pytest.mark.fast

ALLOWED = {"Authorization": f"Bearer {TOKEN}"}
FORM = PictureFormat(width=96, height=64, matrix="bt709")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    # A module that cannot be imported, as where it is not installed.
    (folder / "torch.py").write_text("raise ModuleNotFoundError('no torch here', name='torch')\n")
    models = ("--model", "student@yolov4-tiny")
    with served(folder, *models, model="student", PYTHONPATH=str(folder)) as made:
        yield made


@pytest.fixture
def client(server):
    made = triton.InferenceServerClient(server.tcp)
    yield made
    made.close()


def tensors(**arrays):
    made = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, array.shape, "UINT8")
        tensor.set_data_from_numpy(array)
        made.append(tensor)
    return made


@pytest.mark.parametrize("name", ["student", "student@yolov4-tiny"])
def test_importance_is_the_students(client, name):
    rng = np.random.default_rng(0)
    y, cb, cr = (rng.integers(0, 256, shape, np.uint8) for shape in FORM.plane_shapes)
    parameters = {"matrix": "bt709", "network": name}
    answer = client.infer(
        "importance", tensors(y=y, cb=cb, cr=cr), parameters=parameters, headers=dict(ALLOWED)
    )
    expected = load_student(name).weight(Picture(planes=(y, cb, cr), format=FORM))
    np.testing.assert_array_equal(answer.as_numpy("importance"), expected)


@pytest.mark.parametrize("name", ["student", "student@yolov4-tiny"])
def test_who_asks_about_stills_gets_the_network_for_them(client, name):
    image = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    found = []
    for stills in (False, True):
        answer = client.infer(
            "importance",
            tensors(image=image),
            parameters={"stills": stills, "network": name},
            headers=dict(ALLOWED),
        )
        found.append(answer.as_numpy("importance"))
        picture = frames.picture(av.VideoFrame.from_ndarray(image, "rgb24"), 0)
        expected = load_student(name, stills=stills).weight(picture)
        np.testing.assert_array_equal(found[-1], expected)
    assert not np.array_equal(*found)


def test_what_it_cannot_say_is_refused(client):
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(InferenceServerException, match="--model yolov4-tiny"):
        client.infer("sketch", tensors(image=image), headers=dict(ALLOWED))
    both = {"network": "student student@yolov4-tiny"}
    with pytest.raises(InferenceServerException, match="stands for a blend"):
        client.infer("importance", tensors(image=image), parameters=both, headers=dict(ALLOWED))
    unclear = {"stills": "perhaps"}
    with pytest.raises(InferenceServerException, match="stills 'perhaps' must be true or false"):
        client.infer("importance", tensors(image=image), parameters=unclear, headers=dict(ALLOWED))


def test_an_encoder_gets_a_map_for_every_picture(server):
    rng = np.random.default_rng(2)
    form = PictureFormat(width=96, height=64)
    with session(server) as encoder:
        for pts in range(6):
            encoder.push([rng.integers(0, 256, s, np.uint8) for s in form.plane_shapes], pts=pts)
        answers = list(encoder.finish())
    assert [answer.analysed for answer in answers] == [True] * 6


def test_the_page_shows_what_it_sees_and_no_objects(server):
    pixels = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    status, _, body = server.request("POST", "/preview", buffer.getvalue())
    assert status == 200, body
    facts = json.loads(body)
    assert facts["network"] == "student"
