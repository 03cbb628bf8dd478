"""The benchmark of JPEG control runs to its end; what it measures is not judged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

BENCH = Path(__file__).resolve().parents[3] / "tools" / "bench" / "jpeg_control.py"


@pytest.mark.parametrize(
    ("part", "name", "found"),
    [
        ("forward", "jpeg_differentiable", "forward/surrogate"),
        ("attack", "jpeg_attacks", "attack/none"),
        ("sizes", "jpeg_size_model", "coco_val128"),
        ("compare", "jpeg_control", "imagenet/efficientnet-lite0"),
    ],
)
def test_parts(shared, tmp_path, part, name, found):
    environment = os.environ | {"IDSE_BENCH_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, BENCH, "--quick", "--results", tmp_path, part]
    for _ in range(2):  # the second run takes all from the first's store
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        markdown = (tmp_path / f"{name}.md").read_text()
        assert markdown in done.stdout
        assert found in json.loads((tmp_path / f"{name}.json").read_text())["results"]
