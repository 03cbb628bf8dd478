"""Students' files: what is read, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from student_files import (
    PROGRAM,
    metadata,
    metadata_2,
    noise_picture,
    program_and_weights,
    write_random,
)

from idse.errors import IdseError, ModelError
from idse.learned.student.analyser import StudentAnalyser
from idse.learned.student.file import read_student, write_student

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
        ({"version": "3"}, "student version '3', this idse reads '1' and '2'"),
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
        ("w0", np.zeros((16, 3, 3, 3), np.int8), "w0 is int8"),
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


def rounded_file(path, tensors=None, **facts):
    """Write a student of version 2 with rounded weights; ``tensors`` replace some of its own."""
    ops, made = program_and_weights(PROGRAM)
    made["autocorrelation"] = np.arange(15, dtype=np.float32).reshape(1, 3, 5) + 1
    random = np.random.default_rng(0)
    made["w2"] = random.integers(-128, 128, (37, 1, 1, 16)).astype(np.int8)
    made["w2.scale"] = random.uniform(1e-3, 1e-2, 37).astype(np.float16)
    made |= tensors or {}
    kept = {name: value for name, value in made.items() if value is not None}
    path.write_bytes(safetensors.numpy.save(kept, metadata_2(ops) | facts))
    return made


def test_rounded_weights_are_multiplied_by_their_scales(tmp_path):
    path = tmp_path / "student.safetensors"
    made = rounded_file(path)
    student = read_student(path)
    scale = made["w2.scale"].astype(np.float32)[:, None, None, None]
    np.testing.assert_array_equal(student.tensors["w2"], made["w2"] * scale)
    assert "w2.scale" not in student.tensors
    assert {tensor.dtype for tensor in student.tensors.values()} == {np.dtype(np.float32)}
    first = np.array([[1, 2, 3], [4, 5, 4], [3, 2, 1]], np.float32)
    np.testing.assert_array_equal(student.autocorrelation[1, 0], first)
    np.testing.assert_array_equal(student.autocorrelation[0, 2], first + 10)
    StudentAnalyser(student).weight(noise_picture(48, 32))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"w2.scale": None}, "it lacks 'w2.scale'"),
        ({"w2.scale": np.ones(15, np.float32)}, r"w2.scale is \(15,\), expected \(37,\)"),
        ({"w2.scale": np.ones((37, 1), np.float32)}, r"w2.scale is \(37, 1\), expected"),
        ({"w2.scale": np.full(37, np.inf, np.float32)}, "w2.scale is not finite"),
        ({"w2.scale": np.full(37, np.nan, np.float16)}, "w2.scale is not finite"),
        ({"w2.scale": np.full(37, 3e38, np.float32)}, "w2 is not finite"),
        ({"w2.scale": np.ones(37, np.float64)}, "w2.scale is float64"),
        ({"w2.scale": np.ones(37, np.int8)}, r"w2\.scale"),
        ({"w2": np.ones((37, 1, 1, 16), np.uint8)}, "w2 is uint8"),
        ({"w2": np.int8(3)}, r"w2.scale is \(37,\), expected \(\)"),
        ({"w2": np.ones((37, 16), np.int8)}, r"w2 is \(37, 16\)"),
        ({"autocorrelation": np.ones((1, 3, 4), np.float32)}, "autocorrelation is"),
        ({"autocorrelation": np.ones((1, 3, 3, 3), np.float32)}, "autocorrelation is"),
        ({"autocorrelation": np.ones((1, 2, 5), np.float32)}, "autocorrelation is"),
        ({"autocorrelation": np.ones((1, 3, 0), np.float32)}, "autocorrelation is"),
        ({"autocorrelation": np.ones((1, 3, 32768), np.float32)}, "autocorrelation is"),
        ({"autocorrelation": np.full((1, 3, 5), np.nan, np.float16)}, "is not finite"),
        ({"autocorrelation": np.ones((1, 3, 5), np.int8)}, "'autocorrelation.scale'"),
    ],
)
def test_rounded_tensors_that_do_not_fit_are_refused(tmp_path, tensors, message):
    path = tmp_path / "student.safetensors"
    rounded_file(path, {name: None if v is None else np.asarray(v) for name, v in tensors.items()})
    with pytest.raises(ModelError, match=message):
        StudentAnalyser(read_student(path))


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ("[0]", r"units \[0\] are not one of 1 for each of 2 heads"),
        ("[0, 1]", "are not one of 1"),
        ("[0, -1]", "units -1"),
        ("[0, 0.5]", "units 0.5"),
        ("3", "units is no list"),
        ("x", "damaged"),
    ],
)
def test_units_that_make_no_sense_are_refused(tmp_path, units, message):
    path = tmp_path / "student.safetensors"
    rounded_file(path, units=units)
    with pytest.raises(ModelError, match=message):
        read_student(path)


def test_version_1_is_written_as_version_2(tmp_path):
    path = write_random(tmp_path / "first.safetensors", card={"rate": 1 / 3, "kept": [0.1, {}]})
    first = read_student(path)
    again = tmp_path / "second.safetensors"
    write_student(again, first)
    second = read_student(again)
    assert again.stat().st_size < path.stat().st_size
    assert second.card == {"rate": 0.333333, "kept": [0.1, {}]}
    for name in ("area", "multiple", "mean", "std", "heads", "blend", "teachers", "ops", "map"):
        assert getattr(second, name) == getattr(first, name)
    np.testing.assert_allclose(second.autocorrelation, first.autocorrelation, rtol=2e-3, atol=1e-7)
    for name, value in first.tensors.items():
        np.testing.assert_allclose(second.tensors[name], value, rtol=0, atol=0.02)
    with safetensors.safe_open(again, framework="numpy") as file:
        kinds = {name: file.get_tensor(name).dtype.name for name in file.keys()}  # noqa: SIM118
    assert kinds["w3"] == "int8"
    assert kinds["w3.scale"] == kinds["w0"] == kinds["b3"] == kinds["autocorrelation"] == "float16"
    maps = [StudentAnalyser(item).weight(noise_picture(64, 48)) for item in (first, second)]
    np.testing.assert_allclose(*maps, rtol=0.05)


def test_what_heads_share_is_kept_once_and_what_is_large_as_it_is(tmp_path):
    path = write_random(tmp_path / "first.safetensors")
    first = read_student(path)
    planes = first.autocorrelation[[1, 1]]
    tensors = first.tensors | {"b0": np.full(16, 1e30, np.float32)}
    write_student(path, dataclasses.replace(first, autocorrelation=planes, tensors=tensors))
    with safetensors.safe_open(path, framework="numpy") as file:
        assert file.get_tensor("autocorrelation").shape == (1, 3, 85)
        assert file.metadata()["units"] == "[0,0]"
    found = read_student(path)
    np.testing.assert_allclose(found.autocorrelation, planes, rtol=2e-3, atol=1e-7)
    np.testing.assert_array_equal(found.tensors["b0"], tensors["b0"])


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


@pytest.fixture(scope="module", params=[1, 2])
def whole(tmp_path_factory, request):
    path = write_random(tmp_path_factory.mktemp("whole") / "student.safetensors")
    if request.param == 2:
        write_student(path, read_student(path))
    return path.read_bytes()


@settings(max_examples=120, deadline=None)
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
