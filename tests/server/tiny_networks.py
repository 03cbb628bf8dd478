"""Networks for the tests of the server, as ``--model tiny_networks:NAME`` finds them."""

from __future__ import annotations

import os
import sys
import threading
import time

import torch
from torch import nn

from idse.vision import FeatureExtractor

_OPENED = os.environ.get("IDSE_TEST_OPENED")
if _OPENED:
    # Every file that the process opens from now on, for tests of what it may touch.
    _log = os.open(_OPENED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    _KINDS = {"open", "os.listdir", "os.remove", "os.rename", "os.mkdir", "shutil.copyfile"}

    def _opened(event, args):
        if event in _KINDS and args and isinstance(args[0], str | bytes):
            path = os.fsdecode(args[0])
            os.write(_log, f"{path}\n".encode(errors="replace"))

    sys.addaudithook(_opened)

# Held by tests that want networks to be slow.
GATE = threading.Event()
GATE.set()


class LeftHalf(nn.Module):
    """Sees the left half of its input only."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 6, 5, stride=2, padding=2)

    def forward(self, x):
        assert GATE.wait(60)
        return torch.tanh(self.convolution(x[..., : x.shape[-1] // 2]))


class Slow(LeftHalf):
    def forward(self, x):
        time.sleep(0.05)
        return super().forward(x)


class Failing(nn.Module):
    """Fails on every picture but the first one, by which a server warms up."""

    seen = 0

    def forward(self, x):
        self.seen += 1
        if self.seen > 1:
            raise RuntimeError("out of order")
        return x.mean(dim=(2, 3))


def _made(module: nn.Module) -> FeatureExtractor:
    return FeatureExtractor(module, size=(64, 96), mean=(0.45,) * 3, std=(0.25,) * 3)


def sees_left() -> FeatureExtractor:
    return _made(LeftHalf())


def slow() -> FeatureExtractor:
    return _made(Slow())


def fails() -> FeatureExtractor:
    return FeatureExtractor(Failing(), size=(64, 96), name="failing")
