"""Models of one rate, of both networks, from training to the tables beside the thesis'."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idse.errors import InputError
from idse.learned.vae.networks import VaeConfig, build

pytestmark = pytest.mark.full

TOOLS = Path(__file__).resolve().parents[2] / "tools"
TARGETS = ("0.5", "2")


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """Return the two tools as modules, with data and a cache of the test's own."""
    for folder in ("train", "bench"):
        monkeypatch.syspath_prepend(TOOLS / folder)
    import bench_common
    import vae_measures
    import vae_tables
    import vae_targets

    monkeypatch.setattr(bench_common, "DATA", tmp_path)
    monkeypatch.setattr(vae_measures, "CACHE", tmp_path / "cache")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield vae_targets, vae_tables
    torch.set_num_threads(threads)


def pictures(folder, count, size):
    folder.mkdir()
    random = np.random.default_rng(3)
    for index in range(count):
        coarse = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / f"{index}.png")


def start(path, architecture):
    config = VaeConfig(architecture=architecture, width=4, latents=6)
    plan = json.dumps({"model": vars(config), "iterations": 7})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        state = {"plan": plan, "iteration": 7, "network": build(config).state_dict()}
    torch.save(state, path)


def call(monkeypatch, tool, *arguments):
    monkeypatch.setattr("sys.argv", [f"{tool.__name__}.py", *map(str, arguments)])
    tool.main()


def rows(markdown, heading):
    """Return the cells of a section's table."""
    section = markdown.split(heading)[1].split("\n## ")[0]
    lines = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)[2:]
    return [line.split(" | ") for line in lines]


def test_both_networks(tools, tmp_path, monkeypatch):
    training, tables = tools
    pictures(tmp_path / "photos", 6, (96, 80))
    pictures(tmp_path / "kodak", 2, (208, 184))
    losses = ("heuristic", "adaptive", "rate-distortion")
    options = ["--photos", tmp_path / "photos", "--iterations", 8, "--crop", 64]
    options += ["--targets", *TARGETS, "--losses", *losses]
    for name in ("hyperprior", "factorised"):
        start(tmp_path / f"{name}.ckpt", name)
        call(monkeypatch, training, tmp_path / f"{name}.ckpt", tmp_path / name, *options)
    made = sorted(tmp_path.glob("*/*-*.ckpt"))
    assert len(made) == 2 * len(TARGETS) * len(losses)
    for path in made:
        note = json.loads(path.with_suffix(".json").read_text())
        assert path.stem == f"{note['loss']}-{note['target']:g}"
        assert (note["iterations"], note["start_iterations"]) == (8, 7)
        assert note["validation_rate"] > 0
    # Table 5.3's own beta for each network, where nothing searches for another.
    betas = [
        json.loads((tmp_path / name / "adaptive-2.json").read_text())["beta"]
        for name in ("hyperprior", "factorised")
    ]
    assert betas == [2500, 1500]

    folders = [tmp_path / "factorised", tmp_path / "hyperprior"]
    results = tmp_path / "results"
    many = ["--many", tmp_path / "factorised.ckpt", "--results", results]
    call(monkeypatch, tables, *folders, *many)
    markdown = (results / "vae_tables.md").read_text()
    parametric = rows(markdown, "parametric (hyperprior)")
    other = rows(markdown, "non-parametric (factorised)")
    for found in (parametric, other):
        assert [cells[1] for cells in found] == [*TARGETS, *TARGETS]
    # The thesis' rates and R_param, of tables 6.3 and 5.3a, 6.2 and 5.3b.
    assert [parametric[1][i].split()[1] for i in (2, 5)] == ["(1.93)", "(1.917)"]
    assert [other[1][i].split()[1] for i in (2, 5)] == ["(2)", "(1.995)"]
    assert len(rows(markdown, "one of many rates")) == len(TARGETS)
    kept = json.loads((results / "vae_tables.json").read_text())["models"]
    assert len(kept) == len(made)
    assert "many" in kept["factorised-rate-distortion-2"]
    assert "many" not in kept["hyperprior-rate-distortion-2"]

    with pytest.raises(InputError, match=r"factorised-adaptive-0\.5 is in several"):
        call(monkeypatch, tables, folders[0], folders[0], "--results", results)
