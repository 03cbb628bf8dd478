"""YOLO networks from Darknet's own files: a ``.cfg`` of sections and raw float32 weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from idse.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

_Section = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class YoloLayer:
    """What a ``[yolo]`` section says: anchors in pixels of the input, classes, x-y scale."""

    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale_x_y: float


@dataclass(frozen=True)
class YoloOutput:
    """Raw output of one detection layer.

    Attributes
    ----------
    logits
        ``(n, anchors, 5 + classes, rows, columns)``: x, y, w, h, objectness, classes.
    stride
        Pixels of the network's input per cell.
    layer
        Anchors, classes, x-y scale.
    """

    logits: Tensor
    stride: int
    layer: YoloLayer


class _Route(nn.Module):
    """Concatenates (a share of the channels of) earlier outputs."""

    def __init__(self, sources: list[int], groups: int, group: int) -> None:
        super().__init__()
        self.sources = sources
        self.groups = groups
        self.group = group

    def forward(self, *inputs: Tensor) -> Tensor:
        parts = [x.chunk(self.groups, dim=1)[self.group] for x in inputs]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class _Convolution(nn.Module):
    """Convolution with batch normalisation folded in, then its activation."""

    def __init__(self, conv: nn.Conv2d, *, leaky: bool) -> None:
        super().__init__()
        self.conv = conv
        self.leaky = leaky

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return functional.leaky_relu(x, 0.1, inplace=True) if self.leaky else x


class _Upsample(nn.Module):
    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=self.factor, mode="nearest")


class _MaxPool(nn.Module):
    """Darknet's pooling: ``size - 1`` samples of padding, the odd one at the far side."""

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size = size
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.size == self.stride and x.shape[-1] % self.size == 0 == x.shape[-2] % self.size:
            return functional.max_pool2d(x, self.size, self.stride)
        before = (self.size - 1) // 2
        after = self.size - 1 - before
        x = functional.pad(x, (before, after, before, after), value=float("-inf"))
        return functional.max_pool2d(x, self.size, self.stride)


class _Head(nn.Module):
    def __init__(self, layer: YoloLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), len(self.layer.anchors), 5 + self.layer.classes, *x.shape[-2:])


class Darknet(nn.Module):
    """A network described by a Darknet ``.cfg``; returns a list of :class:`YoloOutput`.

    Attributes
    ----------
    size
        Rows and columns that the ``.cfg`` was made for. Any multiple of ``stride`` works.
    stride
        Largest stride of its detection layers.
    """

    def __init__(self, cfg: Path, weights: Path) -> None:
        super().__init__()
        sections = _parse(cfg)
        if not sections or sections[0][0] != "net":
            raise ModelError(f"{cfg} does not start with a [net] section")
        net = sections[0][1]
        self.size = (int(net["height"]), int(net["width"]))
        reader = _Weights(weights)
        channels = [int(net["channels"])]
        layers: list[nn.Module] = []
        for section in sections[1:]:
            module, width = _build(section, channels, reader)
            layers.append(module)
            channels.append(width)
        reader.expect_end()
        self.layers = nn.ModuleList(layers)
        needed = {s for m in layers if isinstance(m, _Route) for s in m.sources}
        self._needed = frozenset(needed)
        with torch.no_grad():
            self.stride = max(o.stride for o in self(torch.zeros(1, 3, *self.size)))

    def forward(self, x: Tensor) -> list[YoloOutput]:
        """Run the network on ``x`` (n, 3, h, w), R'G'B' 0..1."""
        width = x.shape[-1]
        saved: dict[int, Tensor] = {}
        outputs: list[YoloOutput] = []
        for index, module in enumerate(self.layers):
            x = (
                module(*(saved[s] for s in module.sources))
                if isinstance(module, _Route)
                else module(x)
            )
            if index in self._needed:
                saved[index] = x
            if isinstance(module, _Head):
                outputs.append(YoloOutput(x, width // x.shape[-1], module.layer))
        return outputs


def _build(
    section: _Section,
    channels: list[int],
    reader: _Weights,
) -> tuple[nn.Module, int]:
    """Return the module of one section and its output channels.

    ``channels`` are those of the network's input and of every section before this one.
    """
    kind, options = section
    before, index = channels[-1], len(channels) - 1
    if kind == "convolutional":
        return reader.convolution(options, before), int(options["filters"])
    if kind == "maxpool":
        return _MaxPool(int(options["size"]), int(options["stride"])), before
    if kind == "upsample":
        return _Upsample(int(options["stride"])), before
    if kind == "route":
        sources = [int(n) for n in options["layers"].split(",")]
        sources = [n if n >= 0 else index + n for n in sources]
        groups = int(options.get("groups", "1"))
        route = _Route(sources, groups, int(options.get("group_id", "0")))
        return route, sum(channels[n + 1] // groups for n in sources)
    if kind == "yolo":
        numbers = [float(n) for n in options["anchors"].split(",")]
        pairs = list(zip(numbers[0::2], numbers[1::2], strict=True))
        anchors = tuple(pairs[int(i)] for i in options["mask"].split(","))
        layer = YoloLayer(anchors, int(options["classes"]), float(options.get("scale_x_y", "1")))
        return _Head(layer), before
    raise ModelError(f"section {index} of the .cfg is [{kind}], which is not supported")


def _parse(cfg: Path) -> list[_Section]:
    sections: list[_Section] = []
    for number, raw in enumerate(cfg.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.split("#", 1)[0].strip()
        if line.startswith("[") and line.endswith("]"):
            sections.append((line[1:-1], {}))
        elif line:
            key, separator, value = line.partition("=")
            if not separator or not sections:
                raise ModelError(f"{cfg}:{number}: {line!r} is neither [section] nor key = value")
            sections[-1][1][key.strip()] = value.strip()
    return sections


class _Weights:
    """Hands out the numbers of a ``.weights`` file in the order Darknet wrote them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        data = path.read_bytes()
        major, minor = (int.from_bytes(data[i : i + 4], "little") for i in (0, 4))
        # Three version numbers, then a count of images seen: 64 bit since version 0.2.
        header = 20 if major * 10 + minor >= 2 else 16
        self._values = np.frombuffer(data[header : len(data) // 4 * 4], "<f4")
        self._used = 0

    def take(self, *shape: int) -> Tensor:
        count = int(np.prod(shape))
        part = self._values[self._used : self._used + count]
        if len(part) < count:
            raise ModelError(f"{self.path} is too short for its .cfg")
        self._used += count
        return torch.from_numpy(part.reshape(shape).copy())

    def expect_end(self) -> None:
        if self._used != len(self._values):
            left = len(self._values) - self._used
            raise ModelError(f"{self.path} holds {left} numbers more than its .cfg describes")

    def convolution(self, options: dict[str, str], before: int) -> _Convolution:
        """Read one convolution; batch normalisation is folded into kernel and bias."""
        width, size = int(options["filters"]), int(options["size"])
        bias = self.take(width)
        scale = torch.ones(width)
        if options.get("batch_normalize") == "1":
            gamma, mean, variance = self.take(width), self.take(width), self.take(width)
            scale = gamma / torch.sqrt(variance + 1e-5)
            bias = bias - mean * scale
        kernel = self.take(width, before, size, size) * scale[:, None, None, None]
        activation = options["activation"]
        if activation not in {"leaky", "linear"}:
            raise ModelError(f"activation {activation!r} is not leaky or linear")
        pad = size // 2 if options.get("pad") == "1" else 0
        conv = nn.Conv2d(before, width, size, int(options.get("stride", "1")), pad)
        conv.weight, conv.bias = nn.Parameter(kernel), nn.Parameter(bias)
        return _Convolution(conv, leaky=activation == "leaky")


def gated_features(outputs: list[YoloOutput]) -> list[Tensor]:
    """Return the task's outputs after activation, class and box terms gated by objectness.

    Per anchor and cell, with o = sigmoid(objectness): ``o``; ``o * sigmoid(class)`` for every
    class; and ``o`` times the box's centre (offset from the cell's centre over the anchor's width
    and height) and the logarithm of its size over the anchor's. One unit is thus an object that
    appears or goes, a class that flips, or a box that moves or grows by about its own size: what
    costs a detection each time, so the three kinds are not weighted further. The gate is live: the
    features are one function of the input, whose distance is what its Jacobian predicts. Where
    there is no object, all 85 numbers are still, whatever the raw head does.
    """
    features: list[Tensor] = []
    for output in outputs:
        logits, layer = output.logits, output.layer
        anchors = logits.new_tensor(layer.anchors)[:, :, None, None]
        gate = torch.sigmoid(logits[:, :, 4:5])
        classes = torch.sigmoid(logits[:, :, 5:])
        offset = (torch.sigmoid(logits[:, :, 0:2]) - 0.5) * layer.scale_x_y
        centre = offset * output.stride / anchors
        features += [gate, gate * classes, gate * centre, gate * logits[:, :, 2:4]]
    return features


def decode_boxes(outputs: list[YoloOutput], _size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Decode YOLO outputs: a ``BoxDecoder`` for :class:`idse.vision.heads.Boxes`.

    Returns
    -------
    boxes ``(n, k, 4)`` in pixels of the input, scores ``(n, k, classes)`` = objectness * class.
    """
    all_boxes: list[Tensor] = []
    all_scores: list[Tensor] = []
    for output in outputs:
        logits, layer = output.logits, output.layer
        rows, columns = logits.shape[-2:]
        anchors = logits.new_tensor(layer.anchors)[:, :, None, None]
        x = torch.arange(columns).to(logits) + 0.5
        y = (torch.arange(rows).to(logits) + 0.5)[:, None]
        cells = torch.stack([x.expand(rows, columns), y.expand(rows, columns)])
        offset = (torch.sigmoid(logits[:, :, 0:2]) - 0.5) * layer.scale_x_y
        centre = (cells + offset) * output.stride
        half = torch.exp(logits[:, :, 2:4]) * anchors / 2
        boxes = torch.cat([centre - half, centre + half], dim=2)
        scores = torch.sigmoid(logits[:, :, 4:5]) * torch.sigmoid(logits[:, :, 5:])
        all_boxes.append(_per_box(boxes))
        all_scores.append(_per_box(scores))
    return torch.cat(all_boxes, dim=1), torch.cat(all_scores, dim=1)


def _per_box(x: Tensor) -> Tensor:
    """(n, anchors, values, rows, columns) -> (n, anchors * rows * columns, values)."""
    return x.permute(0, 1, 3, 4, 2).flatten(1, 3)
