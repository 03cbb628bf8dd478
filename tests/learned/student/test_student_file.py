"""Students' files: what is read, and what is refused."""

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from student_files import PROGRAM, metadata, noise_picture, program_and_weights, write_random

from idse.errors import IdseError, ModelError
from idse.learned.student.analyser import StudentAnalyser
from idse.learned.student.file import read_student

pytestmark = pytest.mark.fast


def test_what_is_read_is_what_was_written(tmp_path):
    path = write_random(tmp_path / "student.safetensors")
    student = read_student(path)
    assert (student.area, student.multiple) == (3072, 8)
    assert student.mean == (112, 128, 128)
    assert student.heads == ("yolov4-tiny", "mobilenet_v2")
    assert student.blend == (0.75, 0.25)
    assert student.teachers[1] == {"size": [224, 224], "fit": "stretch", "stride": None}
    assert student.autocorrelation.shape == (2, 3, 13, 13)
    assert [op.op for op in student.ops] == [step[0] for step in PROGRAM]
    assert student.ops[4].inputs == (3, 4)
    assert student.card == {"data": "none"}
    assert {tensor.dtype for tensor in student.tensors.values()} == {np.dtype(np.float32)}
    assert "autocorrelation" not in student.tensors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "idse-map"}, "its format is 'idse-map'"),
        ({"version": "2"}, "student version '2'"),
        ({"heads": "[]"}, "heads is no list"),
        ({"heads": '["a", 3]'}, "3 is no text"),
        ({"blend": "[1]"}, "blend"),
        ({"blend": "[0, 0]"}, "must be 0 or more"),
        ({"blend": "[1, NaN]"}, "2 finite numbers"),
        ({"teachers": "[{}]"}, "1 teachers are not one for each"),
        ({"teachers": '[{"size": [0, 1], "fit": "stretch", "stride": 1}, {}]'}, "size 0"),
        ({"program": "[1]"}, "damaged"),
        ({"program": '[{"op": "conv", "in": [0, 1], "out": 1}]'}, "of 2 buffers"),
        ({"program": '[{"op": "sort", "in": 0, "out": 1}]'}, "operation 'sort'"),
        ({"program": '[{"op": "mean", "in": 0, "out": 1, "activation": "relu"}]'}, "no activation"),
        ({"program": '[{"op": "mean", "in": -1, "out": 1}]'}, "in -1"),
        ({"program": "[" * 100000}, "damaged"),
        ({"map": "1e9"}, "map 1000000000.0"),
        ({"map": "true"}, "map True"),
        ({"input": "3"}, "damaged"),
        ({"input": '{"area": 0, "multiple": 8, "mean": [0,0,0], "std": [1,1,1]}'}, "area 0"),
        ({"input": '{"area": 9, "multiple": 8, "mean": [0,0,0], "std": [1,0,1]}'}, "above 0"),
        ({"card": "[]"}, "card is no object"),
        ({"card": "x"}, "damaged"),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(tmp_path, change, message):
    ops, tensors = program_and_weights(PROGRAM)
    tensors["autocorrelation"] = np.ones((2, 3, 3, 3), np.float32)
    path = tmp_path / "student.safetensors"
    path.write_bytes(safetensors.numpy.save(tensors, metadata(ops) | change))
    with pytest.raises(ModelError, match=message) as caught:
        read_student(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["input", "heads", "blend", "teachers", "program", "map", "card"])
def test_metadata_that_is_missing_is_named(tmp_path, name):
    ops, tensors = program_and_weights(PROGRAM)
    facts = metadata(ops)
    del facts[name]
    path = tmp_path / "student.safetensors"
    path.write_bytes(safetensors.numpy.save(tensors, facts))
    with pytest.raises(ModelError, match=f"it lacks '{name}'"):
        read_student(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("w0", np.zeros((16, 3, 3, 3), np.int32), "w0 is int32"),
        ("b0", np.full(16, np.nan, np.float32), "b0 is not finite"),
        ("autocorrelation", np.ones((2, 3, 4, 4), np.float32), "autocorrelation is"),
        ("autocorrelation", np.ones((1, 3, 3, 3), np.float32), "autocorrelation is"),
        ("autocorrelation", None, "it lacks 'autocorrelation'"),
        ("w3", None, "lacks the weights 'w3'"),
        ("w0", np.zeros((16, 3, 3, 4), np.float32), r"w0 is \(16, 3, 3, 4\)"),
        ("w0", np.zeros((16, 3), np.float32), r"w0 is \(16, 3\)"),
        ("w0", np.zeros((0, 3, 3, 3), np.float32), "w0 is"),
        ("b0", np.zeros(15, np.float32), r"bias of \(15,\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path, name, value, message):
    ops, tensors = program_and_weights(PROGRAM)
    tensors["autocorrelation"] = np.ones((2, 3, 3, 3), np.float32)
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    path = tmp_path / "student.safetensors"
    path.write_bytes(safetensors.numpy.save(tensors, metadata(ops)))
    with pytest.raises(ModelError, match=message):
        StudentAnalyser(read_student(path))


def test_a_file_that_is_missing_or_huge_is_refused(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        read_student(tmp_path / "none.safetensors")
    huge = tmp_path / "huge.safetensors"
    with huge.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(ModelError, match="more than"):
        read_student(huge)
    with pytest.raises(ModelError, match=r"cannot read|damaged"):
        read_student(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_random(tmp_path_factory.mktemp("whole") / "student.safetensors").read_bytes()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_runs(whole, tmp_path_factory, data):
    broken = bytearray(whole[: data.draw(st.integers(0, len(whole)))] or b"\0")
    header = min(len(broken) - 1, 2600)  # where everything that is parsed stands
    for _ in range(data.draw(st.integers(0, 4))):
        broken[data.draw(st.integers(0, header))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("broken") / "student.safetensors"
    path.write_bytes(broken)
    try:
        StudentAnalyser(read_student(path)).weight(noise_picture(48, 32))
    except IdseError as error:
        assert str(error)  # noqa: PT017


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_hostile_numbers_are_refused_or_run(tmp_path_factory, data):
    ops, tensors = program_and_weights(PROGRAM)
    tensors["autocorrelation"] = np.ones((2, 3, 3, 3), np.float32)
    for _ in range(data.draw(st.integers(1, 3))):
        op = data.draw(st.sampled_from(ops))
        field = data.draw(st.sampled_from(sorted(op)))
        op[field] = data.draw(
            st.one_of(
                st.integers(-(2**70), 2**70),
                st.integers(-2, 20),
                st.sampled_from(["w0", "b0", "add", "conv", "", None, [], [0, 1], {}]),
                st.floats(),
            )
        )
    facts = metadata(ops, map=data.draw(st.integers(-1, 12)))
    path = tmp_path_factory.mktemp("hostile") / "student.safetensors"
    path.write_bytes(safetensors.numpy.save(tensors, facts))
    try:
        StudentAnalyser(read_student(path)).weight(noise_picture(48, 32))
    except IdseError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_the_card_survives(tmp_path):
    card = {"steps": 3, "rank_correlation": {"yolov4-tiny": 0.9}}
    path = write_random(tmp_path / "student.safetensors", card=card)
    assert json.dumps(dict(read_student(path).card)) == json.dumps(card)
