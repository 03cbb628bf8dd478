"""ONNX operators with windows, normalisation and resampling; see ``onnx_ops`` for the calling."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from idse.vision.onnx_ops import Attributes, Op, numbers

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_CONV_TRANSPOSE = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}
_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVG_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _pads(a: Attributes, x: Tensor, kernel: list[int]) -> tuple[list[int], list[int]]:
    """Return padding before and after each spatial axis."""
    axes = len(kernel)
    mode = a.get("auto_pad", "NOTSET")
    if mode in {"SAME_UPPER", "SAME_LOWER"}:
        strides, dilations = a.get("strides", [1] * axes), a.get("dilations", [1] * axes)
        totals = [
            max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)
        ]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        return (small, large) if mode == "SAME_UPPER" else (large, small)
    pads = a.get("pads", [0] * (2 * axes)) if mode == "NOTSET" else [0] * (2 * axes)
    return pads[:axes], pads[axes:]


def _pad_constant(x: Tensor, before: list[int], after: list[int], value: float) -> Tensor:
    """Pad the last ``len(before)`` axes."""
    pairs = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
    return functional.pad(x, pairs, value=value) if any(pairs) else x


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    kernel = list(weight.shape[2:])
    axes = len(kernel)
    before, after = _pads(a, x, kernel)
    if before != after:
        x = _pad_constant(x, before, after, 0.0)
        before = [0] * axes
    strides, dilations = a.get("strides", [1] * axes), a.get("dilations", [1] * axes)
    return _CONV[axes](x, weight, bias, strides, before, dilations, a.get("group", 1))


def _conv_transpose(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    axes = weight.ndim - 2
    pads = a.get("pads", [0] * (2 * axes))
    if a.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in a or pads[:axes] != pads[axes:]:
        raise ValueError("only equal explicit padding on both sides is supported")
    extra = a.get("output_padding", [0] * axes)
    strides, dilations = a.get("strides", [1] * axes), a.get("dilations", [1] * axes)
    function = _CONV_TRANSPOSE[axes]
    return function(x, weight, bias, strides, pads[:axes], extra, a.get("group", 1), dilations)


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    if a["n_outputs"] > 1:
        raise ValueError("the indices of MaxPool are not supported")
    kernel = a["kernel_shape"]
    before, after = _pads(a, x, kernel)
    if before != after:
        x = _pad_constant(x, before, after, -math.inf)
        before = [0] * len(kernel)
    strides, dilations = a.get("strides", [1] * len(kernel)), a.get("dilations", [1] * len(kernel))
    ceil = bool(a.get("ceil_mode"))
    return _MAX_POOL[len(kernel)](x, kernel, strides, before, dilations, ceil_mode=ceil)


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    kernel = a["kernel_shape"]
    if any(d != 1 for d in a.get("dilations", [1])):
        raise ValueError("dilated AveragePool is not supported")
    before, after = _pads(a, x, kernel)
    strides, ceil = a.get("strides", [1] * len(kernel)), bool(a.get("ceil_mode"))
    pool, include = _AVG_POOL[len(kernel)], bool(a.get("count_include_pad"))
    if before == after:
        return pool(x, kernel, strides, before, ceil_mode=ceil, count_include_pad=include)
    mean = pool(_pad_constant(x, before, after, 0.0), kernel, strides, 0, ceil_mode=ceil)
    if include:
        return mean
    inside = _pad_constant(torch.ones_like(x[:1, :1]), before, after, 0.0)
    return mean / pool(inside, kernel, strides, 0, ceil_mode=ceil)


def _batch_normalization(  # noqa: PLR0917 (ONNX's inputs)
    a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    epsilon = a.get("epsilon", 1e-5)
    return functional.batch_norm(x, mean, variance, scale, bias, training=False, eps=epsilon)


def _instance_normalization(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return functional.instance_norm(x, weight=scale, bias=bias, eps=a.get("epsilon", 1e-5))


def _layer_normalization(
    a: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor:
    shape = x.shape[a.get("axis", -1) % x.ndim :]
    normalised = functional.layer_norm(x, shape, eps=a.get("epsilon", 1e-5)) * scale
    return normalised if bias is None else normalised + bias


def _group_normalization(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    if a["opset"] < 21:
        # Opset 18 has one scale and bias per group.
        each = x.shape[1] // a["num_groups"]
        scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
    return functional.group_norm(x, a["num_groups"], scale, bias, a.get("epsilon", 1e-5))


def _global_average_pool(_a: Attributes, x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def _global_max_pool(_a: Attributes, x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


def _pad(
    a: Attributes,
    x: Tensor,
    pads: Tensor | None = None,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    amounts = numbers(pads if pads is not None else a["pads"]) or []
    dims = numbers(axes) or list(range(x.ndim))
    before, after = [0] * x.ndim, [0] * x.ndim
    for dim, low, high in zip(dims, amounts[: len(dims)], amounts[len(dims) :], strict=True):
        before[dim % x.ndim], after[dim % x.ndim] = low, high
    mode = a.get("mode", "constant")
    if mode == "constant":
        filler = a.get("value", 0.0) if value is None else value.item()
        return _pad_constant(x, before, after, filler)
    if any(before[:2] + after[:2]) or mode not in {"reflect", "edge"}:
        raise ValueError(f"padding mode {mode} {amounts} is not supported")
    pairs = [n for i in range(x.ndim - 1, 1, -1) for n in (before[i], after[i])]
    return functional.pad(x, pairs, mode="replicate" if mode == "edge" else "reflect")


def _depth_to_space(a: Attributes, x: Tensor) -> Tensor:
    b = a["blocksize"]
    if a.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, b)
    n, c, h, w = x.shape
    parts = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // (b * b), h * b, w * b)


def _space_to_depth(a: Attributes, x: Tensor) -> Tensor:
    b = a["blocksize"]
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * b * b, h // b, w // b)


def _upsample(a: Attributes, x: Tensor, scales: Tensor | None = None) -> Tensor:
    attributes = {
        "mode": a.get("mode", "nearest"),
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
        "opset": a["opset"],
    }
    factors = scales if scales is not None else torch.tensor(a["scales"])
    return _resize(attributes, x, None, factors)


def _resize(
    a: Attributes,
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    if a["opset"] < 11:
        # Resize-10 has (X, scales) and maps coordinates as Upsample did.
        scales = roi
        a = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", **a}
    if a.get("antialias") or a.get("exclude_outside"):
        raise ValueError("antialiased Resize and exclude_outside are not supported")
    dims = a.get("axes", list(range(x.ndim)))
    if sizes is not None and sizes.numel():
        if a.get("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise ValueError("keep_aspect_ratio_policy is not supported")
        targets = [int(n) for n in sizes.tolist()]
        factors = [t / x.shape[d] for t, d in zip(targets, dims, strict=True)]
    elif scales is not None and scales.numel():
        factors = scales.tolist()
        targets = [math.floor(x.shape[d] * f) for d, f in zip(dims, factors, strict=True)]
    else:
        raise ValueError("Resize has neither scales nor sizes")
    for dim, target, factor in zip(dims, targets, factors, strict=True):
        if target != x.shape[dim] or factor != 1:
            x = _resize_axis(a, x, dim, target, factor)
    return x


def _coordinates(a: Attributes, n_in: int, n_out: int, factor: float) -> Tensor:
    """Positions of the outputs in units of input samples (sample 0 at 0)."""
    out = torch.arange(n_out, dtype=torch.float64)
    mode = a.get("coordinate_transformation_mode", "half_pixel")
    if mode == "asymmetric":
        return out / factor
    if mode == "align_corners":
        return out * ((n_in - 1) / max(n_out - 1, 1))
    if mode == "pytorch_half_pixel":
        return (out + 0.5) / factor - 0.5 if n_out > 1 else torch.zeros(1, dtype=torch.float64)
    if mode == "half_pixel":
        return (out + 0.5) / factor - 0.5
    raise ValueError(f"coordinate_transformation_mode {mode} is not supported")


def _resize_axis(a: Attributes, x: Tensor, dim: int, n_out: int, factor: float) -> Tensor:
    n_in = x.shape[dim]
    position = _coordinates(a, n_in, n_out, factor)
    mode = a.get("mode", "nearest")
    if mode == "nearest":
        index = _round(position, a.get("nearest_mode", "round_prefer_floor"))
        return x.index_select(dim, index.clamp(0, n_in - 1).to(x.device))
    low = torch.floor(position)
    t = position - low
    if mode == "linear":
        taps = {0: 1 - t, 1: t}
    elif mode == "cubic":
        c = a.get("cubic_coeff_a", -0.75)
        taps = {k: _cubic((t - k).abs(), c) for k in (-1, 0, 1, 2)}
    else:
        raise ValueError(f"Resize mode {mode} is not supported")
    shape = [1] * x.ndim
    shape[dim] = n_out
    total = x.new_zeros(())
    for offset, weight in taps.items():
        index = (low.long() + offset).clamp(0, n_in - 1).to(x.device)
        total = total + x.index_select(dim, index) * weight.to(x).reshape(shape)
    return total


def _round(position: Tensor, mode: str) -> Tensor:
    rounded: dict[str, Any] = {
        "round_prefer_floor": lambda: torch.ceil(position - 0.5),
        "round_prefer_ceil": lambda: torch.floor(position + 0.5),
        "floor": lambda: torch.floor(position),
        "ceil": lambda: torch.ceil(position),
    }
    result: Tensor = rounded[mode]().long()
    return result


def _cubic(d: Tensor, c: float) -> Tensor:
    """Keys' cubic convolution kernel with parameter ``c``, for distances 0..2."""
    near = ((c + 2) * d - (c + 3)) * d * d + 1
    far = ((c * d - 5 * c) * d + 8 * c) * d - 4 * c
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


OPS: dict[str, Op] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "GroupNormalization": _group_normalization,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Resize": _resize,
    "SpaceToDepth": _space_to_depth,
    "Upsample": _upsample,
}
