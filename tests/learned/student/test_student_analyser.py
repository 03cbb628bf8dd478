"""Students as makers of maps: units, grids, and what they say by what name."""

import json
import subprocess
import sys

import numpy as np
import pytest
from student_files import computed, network_input, noise_picture, write_random

from idse.errors import InputError, ModelError
from idse.importance.maps import luma_samples
from idse.learned.student import analyser
from idse.learned.student.analyser import StudentAnalyser, load_student, student_path
from idse.learned.student.file import read_student
from idse.learned.student.spectrum import picture_spectrum
from idse.pipeline.makers import built_in, check_exact, open_maker

pytestmark = pytest.mark.fast


@pytest.fixture
def path(tmp_path):
    return write_random(tmp_path / "student.safetensors")


@pytest.fixture
def student(path):
    return load_student(str(path))


@pytest.fixture
def gentle(path):
    """A student whose maps vary little."""
    file = read_student(path)
    file.tensors["w10"][:] *= 0.05
    return StudentAnalyser(file)


def cells(student, picture):
    """Return what each head says, in float64, and its spectrum."""
    file = student._student
    levels = np.exp(computed(file, network_input(file, picture)))
    spectra = [
        picture_spectrum(a, t, picture.format)
        for a, t in zip(file.autocorrelation, file.teachers, strict=True)
    ]
    return levels, spectra


def test_weights_are_the_blend_of_the_heads_in_their_units(student):
    # One cell of the map is 4 samples of the input, whose 48x64 are the picture's 96x128 halved.
    picture = noise_picture(128, 96)
    levels, spectra = cells(student, picture)
    units = np.array([s.per_sample for s in spectra]) * [0.75, 0.25]
    blended = (levels * units).sum(-1)
    found = student.weight(picture)
    assert found.shape == (6, 8)
    assert blended.shape == (24, 32)
    np.testing.assert_allclose(found, blended.reshape(6, 4, 8, 4).mean((1, 3)), rtol=1e-4)


@pytest.mark.parametrize("size", [(128, 96), (90, 70), (17, 33), (300, 20)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le"])
def test_everything_said_of_a_picture_agrees(gentle, size, pix_fmt):
    student = gentle
    picture = noise_picture(*size, pix_fmt=pix_fmt)
    form = picture.format
    weight, found = student.weight(picture), student.analyse(picture)
    assert found.luma_crc32 == picture.luma_crc32()
    np.testing.assert_allclose(found.weight(), weight, rtol=1e-5)
    blocks, spectrum = student.blocks(picture), student.spectrum(picture)
    assert blocks.shape == (-(-form.height // 4), -(-form.width // 4))
    # Means of a smooth map over different grids.
    inside = luma_samples(form.width, form.height)
    mean = (weight * inside).sum() / inside.sum()
    np.testing.assert_allclose(spectrum.per_sample, mean, rtol=0.02)
    luma = blocks.sum() / (form.width * form.height)
    np.testing.assert_allclose(luma, spectrum.luma[8].mean(), rtol=0.02)
    planes = student.coefficients(picture)
    for plane, weights in zip(form.plane_shapes, planes, strict=True):
        assert weights.shape == (-(-plane[0] // 8), -(-plane[1] // 8), 8, 8)
        assert weights.dtype == np.float32
    np.testing.assert_allclose(planes[0].mean((0, 1)), spectrum.luma[8], rtol=0.02)
    np.testing.assert_allclose(planes[1].mean((0, 1)), spectrum.chroma[8], rtol=0.02)


def test_a_picture_that_is_shown_turned_gets_the_map_of_what_is_shown(student):
    upright = noise_picture(128, 80, pix_fmt="yuv444p")
    lying = noise_picture(80, 128, pix_fmt="yuv444p", rotation=90)
    planes = tuple(np.ascontiguousarray(np.rot90(plane, -1)) for plane in upright.planes)
    lying = type(lying)(planes=planes, format=lying.format)
    shown = np.rot90(student.weight(lying), 1)
    np.testing.assert_allclose(shown, student.weight(upright), rtol=1e-4)


def test_samples_at_the_edge_count_what_lies_inside(gentle):
    blocks = gentle.blocks(noise_picture(65, 33))
    # One sample of each of the last blocks lies inside; densities differ less than that.
    assert blocks[-1, :-1].max() < blocks[:-1, :-1].min()
    assert blocks[-1, -1] < blocks[-1, :-1].min()


def test_what_is_said_does_not_depend_on_what_was_asked_before(student, path):
    pictures = [noise_picture(64, 48, seed=k) for k in range(3)]
    expected = [load_student(str(path)).weight(p) for p in pictures]
    for picture, weight in zip(pictures, expected, strict=True):
        student.spectrum(picture)
        student.blocks(picture)
        np.testing.assert_array_equal(student.weight(picture), weight)
        np.testing.assert_array_equal(student.weight(picture), weight)
        student.coefficients(picture)
    student.forget()
    np.testing.assert_array_equal(student.weight(pictures[0]), expected[0])


def test_heads_by_name(path, student):
    picture = noise_picture()
    heads = [load_student(f"{path}@{name}") for name in ("yolov4-tiny", "mobilenet_v2")]
    first, second = (head.weight(picture) for head in heads)
    np.testing.assert_allclose(student.weight(picture), 0.75 * first + 0.25 * second, rtol=1e-5)
    assert heads[1].heads == ("mobilenet_v2",)
    assert heads[1].metadata.model == f"{path}@mobilenet_v2"
    with pytest.raises(InputError, match="no head 'resnet': yolov4-tiny, mobilenet_v2"):
        load_student(f"{path}@resnet")


@pytest.mark.parametrize("stills", [False, True])
def test_the_built_in_student_is_missed_by_name(monkeypatch, tmp_path, stills):
    missing = student_path("student", stills=stills).name
    monkeypatch.setattr(analyser, "_WEIGHTS", tmp_path)
    for name in ("student", "student@yolov4-tiny"):
        with pytest.raises(ModelError, match=f"{missing} is missing.*--model yolov4-tiny"):
            load_student(name, stills=stills)


def test_the_built_in_student_is_two_networks_and_others_are_one(path):
    video, stills = (student_path("student", stills=kind) for kind in (False, True))
    assert video.stat().st_size + stills.stat().st_size <= 1_000_000
    picture = noise_picture(128, 96)
    maps = [load_student("student", stills=kind).weight(picture) for kind in (False, True)]
    assert not np.allclose(*maps, rtol=0.05)
    for head in ("yolov4-tiny", "efficientnet-lite0", "mobilenet_v2", "all"):
        for kind, file in ((False, video), (True, stills)):
            found = load_student(f"student@{head}", stills=kind)
            expected = load_student(f"{file}@{head}").weight(picture)
            np.testing.assert_array_equal(found.weight(picture), expected)
            assert found.name == f"student@{head}"
    own = [load_student(str(path), stills=kind).weight(picture) for kind in (False, True)]
    np.testing.assert_array_equal(*own)
    assert student_path(f"{path}@yolov4-tiny", stills=True) == path


def test_models_that_do_not_go_together_are_refused(path):
    for models in (["student", "yolov4-tiny=2"], [str(path), "student"], ["a.onnx", "student=2"]):
        with pytest.raises(InputError, match="is a student"):
            open_maker(models)
    with pytest.raises(InputError, match="a sketch needs the outputs or gradients"):
        check_exact(["student@yolov4-tiny"], "a sketch")
    check_exact(["yolov4-tiny", object()], "a sketch")
    assert built_in(["student"])
    assert built_in(["student@yolov4-tiny=3"])
    assert not built_in([str(path)])
    assert not built_in(["yolov4-tiny"])


def test_a_student_is_no_network():
    from idse.vision import load_model

    for name in ("student", "student@yolov4-tiny", "some/where.safetensors", "a:b.safetensors"):
        with pytest.raises(ModelError, match="exact model, such as --model yolov4-tiny"):
            load_model(name)


def test_maps_are_made_without_torch(path):
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[2]);"
        "from student_files import noise_picture; from idse.pipeline.makers import open_maker;"
        "found = open_maker([sys.argv[1]]).weight(noise_picture());"
        "print(json.dumps(['torch' in sys.modules, found.shape, float(found.min())]))"
    )
    here = str(__file__).rpartition("/")[0]
    run = subprocess.run(
        [sys.executable, "-c", code, str(path), here], capture_output=True, check=True, text=True
    )
    torch, shape, least = json.loads(run.stdout)
    assert not torch
    assert shape == [4, 6]
    assert least > 0
