"""The C library that runs students, against plain numpy and torch."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from student_files import (
    PROGRAM,
    computed,
    network_input,
    noise_picture,
    write_random,
)

from idse.errors import InputError, ModelError
from idse.learned.student import _raw
from idse.learned.student.engine import Engine, spread
from idse.learned.student.file import read_student

pytestmark = pytest.mark.fast

BEST = _raw.library().idse_student_best_isa()
ISAS = [name for name, number in _raw.ISAS.items() if 0 < number <= BEST]


@pytest.fixture
def student(tmp_path):
    return read_student(write_random(tmp_path / "student.safetensors"))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("width", "height", "options"),
    [
        (96, 64, {}),
        (160, 90, {"pix_fmt": "yuv422p10le"}),
        (31, 57, {"pix_fmt": "yuv444p"}),
        (33, 70, {"rotation": 90}),
        (33, 70, {"rotation": 180}),
        (75, 40, {"rotation": 270, "pix_fmt": "yuvj420p", "full_range": True}),
        (640, 7, {}),
        (1, 1, {}),
        (5, 3, {"pix_fmt": "yuv420p10le", "full_range": True}),
    ],
)
def test_maps_are_those_of_the_program(student, width, height, options, isa):
    picture = noise_picture(width, height, **options)
    found = Engine(student, isa=isa).run(picture)
    turns = picture.format.rotation // 90
    expected = np.rot90(computed(student, network_input(student, picture)), -turns)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_padded_rows_are_not_looked_at(student):
    picture = noise_picture(90, 50)
    wide = [np.full((len(p), p.shape[1] + 13), 255, np.uint8) for p in picture.planes]
    for padded, plane in zip(wide, picture.planes, strict=True):
        padded[:, : plane.shape[1]] = plane
    views = tuple(w[:, : p.shape[1]] for w, p in zip(wide, picture.planes, strict=True))
    strided = type(picture)(planes=views, format=picture.format)
    engine = Engine(student)
    np.testing.assert_array_equal(engine.run(strided), engine.run(picture))


def test_samples_that_do_not_follow_each_other_are_refused(student):
    picture = noise_picture(90, 50)
    planes = (np.zeros((50, 180), np.uint8)[:, ::2], *picture.planes[1:])
    with pytest.raises(InputError, match="2 bytes apart"):
        Engine(student).run(type(picture)(planes=planes, format=picture.format))


@pytest.mark.skipif(len(ISAS) < 3, reason="needs a machine with AVX-512")
def test_the_width_of_vectors_changes_no_bit(tmp_path):
    for seed in range(8):
        student = read_student(write_random(tmp_path / "student.safetensors", seed=seed))
        picture = noise_picture(50 + 31 * seed, 200 - 17 * seed, seed=seed)
        narrow, wide = (Engine(student, isa=isa).run(picture) for isa in ("avx2", "avx512"))
        np.testing.assert_array_equal(narrow, wide)


def test_maps_are_the_same_in_every_thread(student):
    pictures = [noise_picture(80 + 16 * k, 64, seed=k) for k in range(4)]
    shared = Engine(student)
    alone = [Engine(student).run(picture) for picture in pictures]
    found = {}

    def look(k):
        found[k] = [shared.run(pictures[k]) for _ in range(20)]

    threads = [threading.Thread(target=look, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, expected in enumerate(alone):
        for one in found[k]:
            np.testing.assert_array_equal(one, expected)


def test_torch_computes_the_same(student):
    torch = pytest.importorskip("torch")
    picture = noise_picture(200, 130)
    buffers = {0: torch.from_numpy(network_input(student, picture)).float().permute(2, 0, 1)[None]}
    for op in student.ops:
        inputs = [buffers[i] for i in op.inputs]
        if op.op == "conv":
            weight = torch.from_numpy(student.tensors[op.weight]).permute(0, 3, 1, 2)
            bias = torch.from_numpy(student.tensors[op.bias])
            pad = weight.shape[2] // 2
            out = torch.nn.functional.conv2d(
                inputs[0], weight, bias, op.stride, pad, groups=op.groups
            )
        elif op.op == "add":
            out = inputs[0] + inputs[1]
        elif op.op == "concat":
            out = torch.cat(inputs, 1)
        elif op.op == "upsample":
            out = torch.nn.functional.interpolate(inputs[0], scale_factor=2)
        else:
            out = inputs[0].mean((2, 3), keepdim=True)
        buffers[op.out] = out.relu() if op.relu else out
    expected = buffers[student.map][0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(Engine(student).run(picture), expected, atol=1e-5, rtol=1e-5)


@st.composite
def programs(draw):
    """Programs in which every operation reads whatever there is and fits."""
    sizes = {0: (1, 3)}  # stride and channels of each buffer; the mean's stride is 0
    steps = []

    def push(op, inputs, stride, count, kernel=0, step=1, *, depthwise=False):
        relu = draw(st.sampled_from(["none", "relu"])) if op in {"conv", "add"} else "none"
        out = len(sizes)
        steps.append((op, inputs, out, count, kernel, step, depthwise, relu))
        sizes[out] = (stride, count)

    for _ in range(draw(st.integers(1, 7))):
        source = draw(st.sampled_from(sorted(sizes)))
        stride, count = sizes[source]
        same = [i for i, size in sizes.items() if size[0] == stride]
        addable = [i for i, (s, c) in sizes.items() if c == count and s in {stride, 0}]
        kind = draw(st.sampled_from(["conv", "depthwise", "upsample", "add", "concat", "mean"]))
        step = draw(st.sampled_from([1, 2])) if stride and stride < 8 else 1
        kernel = draw(st.sampled_from([1, 3, 5]))
        if kind == "depthwise" and source:
            push("conv", source, stride * step, count, kernel, step, depthwise=True)
        elif kind == "upsample" and stride >= 2:
            push("upsample", source, stride // 2, count)
        elif kind == "add":
            push("add", [source, draw(st.sampled_from(addable))], stride, count)
        elif kind == "concat":
            other = draw(st.sampled_from(same))
            push("concat", [source, other], stride, count + sizes[other][1])
        elif kind == "mean":
            push("mean", source, 0, count)
        else:
            width = draw(st.integers(1, 40))
            push("conv", source, stride * step, width, kernel, step)
    last = len(sizes) - 1
    push("conv", last, sizes[last][0], 2, 1)
    return steps


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(0, 99))
def test_random_programs(tmp_path_factory, steps, seed):
    path = tmp_path_factory.mktemp("programs") / "student.safetensors"
    student = read_student(write_random(path, steps, seed))
    picture = noise_picture(40 + seed, 90 - seed // 2, seed=seed)
    expected = computed(student, network_input(student, picture))
    for isa in ISAS:
        found = Engine(student, isa=isa).run(picture)
        np.testing.assert_allclose(found, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (4, ("add", [3, 1], 5, 0, 0, 1, False, "none"), "37 and 16 channels cannot be added"),
        (8, ("upsample", 7, 9, 0, 0, 1, False, "none"), "cannot be combined"),
        (10, ("conv", 10, 10, 2, 5, 1, False, "none"), "buffer 10 is not a new one"),
        (10, ("conv", 10, 11, 3, 5, 1, False, "none"), "3 channels for 2 heads"),
        (10, ("conv", 10, 11, 1100, 1, 1, False, "none"), "1100 channels are not 1 to 1024"),
        (0, ("conv", 0, 1, 3, 3, 1, True, "none"), "3 groups from 3 to 3 channels"),
        (10, ("conv", 10, 11, 2, 7, 1, False, "none"), "kernel 7 at stride 1"),
    ],
)
def test_programs_that_make_no_sense_are_refused(tmp_path, place, change, message):
    steps = [*PROGRAM[:place], change, *PROGRAM[place + 1 :]]
    student = read_student(write_random(tmp_path / "student.safetensors", steps))
    with pytest.raises(ModelError, match=message):
        Engine(student).run(noise_picture())


def test_too_large_an_input_is_refused(tmp_path):
    facts = {"area": 1 << 24, "multiple": 8, "mean": [0, 0, 0], "std": [1, 1, 1]}
    student = read_student(write_random(tmp_path / "student.safetensors", input=facts))
    with pytest.raises(ModelError, match=r"4096x4096 needs more than \d+ bytes"):
        Engine(student).run(noise_picture(64, 64))


def test_a_map_that_is_not_finite_is_an_error(tmp_path):
    student = read_student(write_random(tmp_path / "student.safetensors"))
    student.tensors["w10"][:] = 3e38
    with pytest.raises(ModelError, match="not finite"):
        Engine(student).run(noise_picture())


def test_an_instruction_set_that_is_not_there_is_refused(student, monkeypatch):
    monkeypatch.setitem(_raw.ISAS, "avx1024", BEST + 1)
    with pytest.raises(ModelError, match="lacks instruction set"):
        Engine(student, isa="avx1024")


def test_spreading_interpolates_logarithms_between_the_middles_of_cells():
    random = np.random.default_rng(3)
    found = random.normal(0, 3, (4, 6, 2)).astype(np.float32)
    down = np.array([0.125, 0.25, 0.0, 1.0, 0.9], np.float32)
    across = (np.arange(6) + np.float32(0.5)) / np.float32(6)
    blend = [0.5, 2.0]
    out = spread(found, blend, down, across)
    rows = [found[0], (found[0] + found[1]) / 2, found[0], found[3], found[3]]
    expected = (np.exp(np.array(rows, np.float64)) * blend).sum(-1)
    np.testing.assert_allclose(out, expected, rtol=1e-5)
    np.testing.assert_allclose(spread(found, [0, 1], down, across), np.exp(rows)[..., 1], rtol=1e-5)


def test_spreading_what_does_not_fit_together_is_refused():
    cells = np.zeros((2, 2, 2), np.float32)
    places = np.zeros(3, np.float32)
    with pytest.raises(InputError, match="do not fit together"):
        spread(cells, [1.0], places, places)
    with pytest.raises(InputError, match="do not fit together"):
        spread(cells, [1.0, 1.0], places[:, None], places)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize(
    "sum_of",
    [[2, 3], [3, 2], [3, 3], [1, 3]],
    ids=["after", "before", "twice", "of another"],
)
def test_an_addition_right_after_a_convolution(tmp_path, isa, activation, sum_of):
    steps = [
        ("conv", 0, 1, 37, 3, 2, False, "relu"),
        ("conv", 1, 2, 37, 1, 1, False, "relu"),
        ("conv", 2, 3, 37, 3, 1, False, "none"),
        ("add", sum_of, 4, 0, 0, 1, False, activation),
        ("conv", 4, 5, 2, 3, 1, False, "none"),
    ]
    student = read_student(write_random(tmp_path / "student.safetensors", steps))
    picture = noise_picture(150, 70)
    expected = computed(student, network_input(student, picture))
    np.testing.assert_allclose(Engine(student, isa=isa).run(picture), expected, atol=2e-5)


def test_a_convolution_that_others_need_is_not_lost_in_an_addition(tmp_path):
    steps = [
        ("conv", 0, 1, 16, 3, 2, False, "relu"),
        ("conv", 1, 2, 16, 1, 1, False, "none"),
        ("add", [1, 2], 3, 0, 0, 1, False, "relu"),
        ("concat", [3, 2], 4, 0, 0, 1, False, "none"),
        ("conv", 4, 5, 2, 1, 1, False, "none"),
        ("add", [5, 5], 6, 0, 0, 1, False, "none"),
    ]
    for result in (6, 5):
        path = write_random(tmp_path / "student.safetensors", steps, map=result)
        student = read_student(path)
        picture = noise_picture(150, 70)
        expected = computed(student, network_input(student, picture))
        np.testing.assert_allclose(Engine(student).run(picture), expected, atol=2e-5)
