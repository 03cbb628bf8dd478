"""`idse eval` over JPEG encoders, from a suite to its report."""

import json
import sys

import pytest
from eval_media import write_images

from idse.cli import main

pytestmark = pytest.mark.full

NETWORK = "--model eval_networks:judge"
PEERS = {"mozjpeg": "", "jpegli": "", "luo": NETWORK, "grace": NETWORK}


def test_a_comparison_of_all_peers(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(sys.path[0]))
    monkeypatch.setenv("IDSE_EVAL_CACHE", str(tmp_path / "cache"))
    folder = write_images(tmp_path / "images", [(192, 176), (176, 192), (192, 180), (180, 184)])
    suite = tmp_path / "own.toml"
    suite.write_text(
        """
anchor = "standard"
[[configuration]]
name = "standard"
codec = "libjpeg-turbo"
[[configuration]]
name = "small"
codec = "libjpeg-turbo"
filter = "downscale"
alone = true
[[best]]
name = "moz"
codec = "mozjpeg"
images = [{ options = { quant-table = [1, 3] } }]
[[best]]
name = "turbo"
codec = "libjpeg-turbo"
rates = [20, 30, 40, 50, 60, 70]
images = [{ options = { sampling = ["4:2:0"], progressive = [false, true] } }]
"""
    )
    judge = ["--judge", "eval_networks:judge", "--resamples", "100", "--select", "report"]
    configs = [
        word
        for name, options in PEERS.items()
        for word in ("--config", f"{name}: {name} {options}")
    ]
    assert main(["eval", str(folder), "--suite", str(suite), *configs, *judge, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (part,) = found["samples"]
    (chosen,) = found["chosen"].values()
    assert set(chosen) == {"moz", "turbo"}
    assert chosen["turbo"]["arguments"].startswith("--sampling 4:2:0")
    assert chosen["moz"]["codec"] == "mozjpeg"
    assert set(part["curves"]) == {"standard", "small", "moz", "turbo", *PEERS}
    assert part["rates"]["turbo"][0] == 10
    assert any("mozjpeg" in text for text in found["encoders"])
    assert max(part["curves"]["small"]["PSNR-Y"]) < max(part["curves"]["standard"]["PSNR-Y"])
