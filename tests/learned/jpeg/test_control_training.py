"""Training of JPEG control: the same run has the same end, interrupted or not."""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from jpeg_photos import photo
from safetensors import safe_open

from idse.codecs import jpeg
from idse.learned.jpeg.control import Control
from idse.learned.jpeg.examples import SAMPLINGS, Example, save
from idse.vision import FeatureExtractor

pytestmark = pytest.mark.full

TOOL = Path(__file__).resolve().parents[3] / "tools" / "train" / "control.py"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOL.parent))
    spec = importlib.util.spec_from_file_location("train_control", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "IMITATION_STEPS", 4)
    monkeypatch.setattr(module, "EVERY", 2)
    return module


def arguments(folder, teachers):
    """Return what a short training takes, and make its examples."""
    cache = folder / "cache"
    cache.mkdir(parents=True)
    for seed in range(8):
        pixels = photo(96, 64, seed)
        for sampling in SAMPLINGS:
            coefficients = jpeg.transform(pixels, jpeg.JpegLayout(96, 64, sampling))
            rng = np.random.default_rng(seed)
            weights = {
                name: [rng.uniform(0.1, 1, p.shape).astype(np.float32) for p in coefficients]
                for name in teachers
            }
            path = cache / f"{seed}-{sampling.replace(':', '')}.npz"
            save(path, Example(pixels, coefficients, weights, sampling))
    return argparse.Namespace(
        cache=cache,
        weights=folder,
        shared_steps=4,
        steps=5,
        batch=2,
        judged=0,
        lessons=20,
        compared=0,
    )


def read(args):
    """Return the bytes of each tensor, and what is told beside them, in no order."""
    with safe_open(args.weights / "jpeg-control.safetensors", "np") as file:
        names = sorted(file.keys())
        return {name: file.get_tensor(name).tobytes() for name in names} | file.metadata()


def test_a_run_that_was_interrupted_ends_as_another(tool, tmp_path, monkeypatch):
    whole = arguments(tmp_path / "whole", tool.TEACHERS)
    assert tool.train_network(whole) == 0
    wanted = read(whole)
    learn = tool.Training.learn

    for after in (1, 6, 11):
        args = arguments(tmp_path / str(after), tool.TEACHERS)
        steps = []

        def stopped(self, *told, steps=steps, after=after):
            if len(steps) == after:
                raise KeyboardInterrupt
            steps.append(told)
            learn(self, *told)

        with monkeypatch.context() as patched:
            patched.setattr(tool.Training, "learn", stopped)
            with pytest.raises(KeyboardInterrupt):
                tool.train_network(args)
        assert tool.train_network(args) == 0
        assert read(args) == wanted
    assert Control(whole.weights / "jpeg-control.safetensors").heads == tool.TEACHERS


def test_what_is_no_example_of_this_training_is_left_alone(tool, tmp_path):
    args = arguments(tmp_path, tool.TEACHERS)
    whole = tool.Training(args)
    old = args.cache / "imagenet-before_there_were_samplings.npz"
    np.savez(old, pixels=photo(96, 64, 0))
    (args.cache / "9-420.part.npz").write_bytes(b"interrupted")
    (args.cache / "8-420.npz").write_bytes((args.cache / "7-420.npz").read_bytes())
    training = tool.Training(args)
    assert training.facts["examples"] == 16
    assert training.checkpoint == whole.checkpoint
    for path in args.cache.glob("*-4*.npz"):
        path.unlink()
    with pytest.raises(SystemExit, match="there are no examples in"):
        tool.Training(args)


def test_what_was_learned_of_other_examples_is_none_of_a_run(tool, tmp_path):
    args = arguments(tmp_path, tool.TEACHERS)
    before = tool.Training(args).checkpoint
    for path in args.cache.glob("7-*.npz"):
        path.unlink()
    assert tool.Training(args).checkpoint != before


class Sees(torch.nn.Module):
    """Sees a mix of R', G' and B', sample by sample."""

    def __init__(self, *mix):
        super().__init__()
        self.mix = torch.tensor(mix).view(1, 3, 1, 1)

    def forward(self, x):
        return (x * self.mix).sum(1)


def test_each_network_says_from_which_rate_on_samplings_change(tool, tmp_path, monkeypatch):
    rates = np.arange(0.25, 2.3, 0.5)
    monkeypatch.setattr(tool, "COMPARED", (rates, rates))
    args = arguments(tmp_path, tool.TEACHERS)
    training = tool.Training(args)
    training.prepare()
    mixes = (0.299, 0.587, 0.114), (-0.169, -0.331, 0.5)
    training.networks = [FeatureExtractor(Sees(*mix), size=(64, 96)) for mix in mixes]
    args.compared = 3
    training.compare()
    luma, blue = training.network.finer.numpy()
    # Who sees no colour never gains by its detail; who sees nothing else does before the last rate.
    assert luma[0] == rates[-1] + 1
    assert blue[0] < rates[-1]
    # There is no picture of the other size.
    assert luma[1] == blue[1] == 16
    told = training.facts["4:4:4 over 4:2:0"]
    assert [name.split(", ") for name in told] == [[name, "crops"] for name in tool.TEACHERS]
    assert all(len(one["gains"]) == len(rates) for one in told.values())
