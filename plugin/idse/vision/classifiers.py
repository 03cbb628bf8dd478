"""ImageNet classifiers in plain torch: EfficientNet-Lite0, EfficientNet-Lite1 and MobileNetV2.

All are stacks of inverted residuals; their batch normalisation is folded into the convolutions
when the weights are read, which is exact and saves a third of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from idse.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# expansion, output channels, repeats, stride of the first, kernel (tables 1 and 2 of the
# EfficientNet and MobileNetV2 papers; the Lite models keep stem and head, the first and the last
# stage unscaled and drop the attention). Lite1 is Lite0 with 1.1 times the repeats, rounded up.
_Stage = tuple[int, int, int, int, int]
_LITE0: tuple[_Stage, ...] = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_LITE1: tuple[_Stage, ...] = (
    (1, 16, 1, 1, 3),
    (6, 24, 3, 2, 3),
    (6, 40, 3, 2, 5),
    (6, 80, 4, 2, 3),
    (6, 112, 4, 1, 5),
    (6, 192, 5, 2, 5),
    (6, 320, 1, 1, 3),
)
_V2: tuple[_Stage, ...] = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 4, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# EfficientNet-Lite is made for quantised inputs: (code value - 127) / 128.
LITE_MEAN = (127 / 255,) * 3
LITE_STD = (128 / 255,) * 3


class _Conv(nn.Conv2d):
    """Convolution with folded normalisation, then ReLU6 where ``relu`` is set.

    Where it strides, ``same`` pads as TensorFlow does: only as much as needed, the odd sample at
    the far side.
    """

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        *,
        relu: bool,
        stride: int = 1,
        groups: int = 1,
        same: bool = False,
    ) -> None:
        super().__init__(before, after, kernel, stride, kernel // 2, groups=groups)
        self.relu = relu
        self.same = same and stride > 1

    def forward(self, x: Tensor) -> Tensor:
        x = self._convolve_same(x) if self.same else super().forward(x)
        return functional.relu6(x, inplace=True) if self.relu else x

    def _convolve_same(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        totals = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:]]
        (top, left) = (total // 2 for total in totals)
        x = functional.pad(x, (left, totals[1] - left, top, totals[0] - top))
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


class _InvertedResidual(nn.Module):
    def __init__(self, before: int, stage: _Stage, stride: int, *, same: bool) -> None:
        super().__init__()
        expansion, after, _, _, kernel = stage
        hidden = before * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_Conv(before, hidden, 1, relu=True))
        layers.append(
            _Conv(hidden, hidden, kernel, relu=True, stride=stride, groups=hidden, same=same)
        )
        layers.append(_Conv(hidden, after, 1, relu=False))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class InvertedResidualClassifier(nn.Module):
    """Stem, inverted residuals, 1x1 head, global mean, linear classifier: logits ``(n, 1000)``."""

    def __init__(self, stages: tuple[_Stage, ...], *, same: bool) -> None:
        super().__init__()
        self.stem = _Conv(3, 32, 3, relu=True, stride=2, same=same)
        blocks: list[nn.Module] = []
        channels = 32
        for stage in stages:
            for repeat in range(stage[2]):
                stride = stage[3] if repeat == 0 else 1
                blocks.append(_InvertedResidual(channels, stage, stride, same=same))
                channels = stage[1]
        self.blocks = nn.ModuleList(blocks)
        self.head = _Conv(channels, 1280, 1, relu=True)
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits for ``x`` (n, 3, h, w)."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.classifier(self.head(x).mean((2, 3)))
        return logits

    def convolutions(self) -> Iterator[_Conv]:
        """Yield the convolutions in the order in which they run."""
        return (module for module in self.modules() if isinstance(module, _Conv))


def root_probabilities(logits: Tensor) -> Tensor:
    """Return the square roots of the softmax probabilities: a classifier's default features.

    Their squared distance is twice the squared Hellinger distance of the two predictions, to
    second order half their Kullback-Leibler divergence: it is bounded, needs no temperature, and
    weighs a change of a small probability by what it says and not by its size. Probabilities
    themselves go blind where the classifier is sure.
    """
    return torch.exp(0.5 * functional.log_softmax(logits, dim=1))


def load_lite0(path: Path) -> InvertedResidualClassifier:
    """Build EfficientNet-Lite0 from its state dict."""
    return _load(InvertedResidualClassifier(_LITE0, same=True), path, epsilon=1e-3)


def load_lite1(path: Path) -> InvertedResidualClassifier:
    """Build EfficientNet-Lite1 from its state dict."""
    return _load(InvertedResidualClassifier(_LITE1, same=True), path, epsilon=1e-3)


def load_mobilenet_v2(path: Path) -> InvertedResidualClassifier:
    """Build MobileNetV2 from torchvision's state dict."""
    return _load(InvertedResidualClassifier(_V2, same=False), path, epsilon=1e-5)


def _load(
    network: InvertedResidualClassifier, path: Path, epsilon: float
) -> InvertedResidualClassifier:
    """Fill the network: state dicts list conv, normalisation, ... in order of execution."""
    state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    tensors = [t for name, t in state.items() if not name.endswith("num_batches_tracked")]
    convolutions = list(network.convolutions())
    if len(tensors) != 5 * len(convolutions) + 2:
        raise ModelError(f"{path} holds {len(tensors)} tensors, not those of its network")
    with torch.no_grad():
        for i, conv in enumerate(convolutions):
            kernel, gamma, beta, mean, variance = tensors[5 * i : 5 * i + 5]
            scale = gamma / torch.sqrt(variance + epsilon)
            conv.weight.copy_(kernel * scale[:, None, None, None])
            assert conv.bias is not None
            conv.bias.copy_(beta - mean * scale)
        network.classifier.weight.copy_(tensors[-2])
        network.classifier.bias.copy_(tensors[-1])
    return network
