"""Students with random weights, small enough to compute by hand, and what they compute."""

from __future__ import annotations

import json

import numpy as np
import safetensors.numpy

from idse.learned.student.resize import student_planes
from idse.picture import Picture, PictureFormat

HEADS = ["yolov4-tiny", "mobilenet_v2"]
TEACHERS = [
    {"size": [416, 416], "fit": "letterbox", "stride": 32},
    {"size": [224, 224], "fit": "stretch", "stride": None},
]

# Down to a quarter, a mean over everything, and up again: every operation and every kind of
# convolution. (op, inputs, out, channels, kernel, stride, depthwise, activation)
PROGRAM = [
    ("conv", 0, 1, 16, 3, 2, False, "relu"),
    ("conv", 1, 2, 16, 3, 2, True, "relu"),
    ("conv", 2, 3, 37, 1, 1, False, "none"),
    ("conv", 3, 4, 37, 5, 1, True, "relu"),
    ("add", [3, 4], 5, 0, 0, 1, False, "relu"),
    ("mean", 5, 6, 0, 0, 1, False, "none"),
    ("conv", 6, 7, 37, 1, 1, False, "relu"),
    ("add", [5, 7], 8, 0, 0, 1, False, "none"),
    ("upsample", 8, 9, 0, 0, 1, False, "none"),
    ("concat", [9, 1], 10, 0, 0, 1, False, "none"),
    ("conv", 10, 11, len(HEADS), 5, 1, False, "none"),
]


def program_and_weights(steps, seed=0):
    """Return the operations as a file has them, and random weights that keep values near 1."""
    random = np.random.default_rng(seed)
    channels, ops, tensors = {0: 3}, [], {}
    for number, (op, inputs, out, count, kernel, stride, depthwise, activation) in enumerate(steps):
        described = {"op": op, "in": inputs, "out": out}
        given = inputs if isinstance(inputs, list) else [inputs]
        before = channels[given[0]]
        channels[out] = sum(channels[i] for i in given) if op == "concat" else before
        if op in {"conv", "add"}:
            described["activation"] = activation
        if op == "conv":
            channels[out] = before if depthwise else count
            per = 1 if depthwise else before
            shape = (channels[out], kernel, kernel, per)
            weight = random.normal(0, 1 / np.sqrt(kernel * kernel * per), shape)
            described |= {"weight": f"w{number}", "bias": f"b{number}", "stride": stride}
            described["groups"] = before if depthwise else 1
            kind = np.float16 if number % 2 else np.float32
            tensors[f"w{number}"] = weight.astype(kind)
            tensors[f"b{number}"] = random.normal(0, 0.3, channels[out]).astype(np.float32)
        ops.append(described)
    return ops, tensors


def metadata(ops, **changes):
    """Return a file's metadata; ``changes`` replace parts of it."""
    facts = {
        "input": {"area": 3072, "multiple": 8, "mean": [112, 128, 128], "std": [64, 32, 32]},
        "heads": HEADS,
        "blend": [0.75, 0.25],
        "teachers": TEACHERS,
        "program": ops,
        "map": ops[-1]["out"],
        "card": {"data": "none"},
    } | changes
    texts = {name: json.dumps(value) for name, value in facts.items()}
    return {"format": "idse-student", "version": "1"} | texts


def metadata_2(ops, **changes):
    """Return a file's metadata of version 2."""
    return metadata(ops, **changes) | {"version": "2", "units": json.dumps([0, 0])}


def write_random(path, steps=None, seed=0, **changes):
    """Write a student with random weights."""
    ops, tensors = program_and_weights(PROGRAM if steps is None else steps, seed)
    at = np.hypot(*np.mgrid[-6:7, -6:7])
    bump = np.exp(-((at / 1.2) ** 2)).astype(np.float32)
    tensors["autocorrelation"] = np.stack(
        [np.stack([bump, bump / 5, bump / 4]) * scale for scale in (1e-4, 3e-4)]
    )
    path.write_bytes(safetensors.numpy.save(tensors, metadata(ops, **changes)))
    return path


def noise_picture(width=96, height=64, seed=0, **options):
    """Return a picture of noise."""
    random = np.random.default_rng(seed)
    form = PictureFormat(width=width, height=height, **options)
    kind = np.uint8 if form.bit_depth == 8 else np.uint16
    y, cb, cr = (
        random.integers(0, 1 << form.bit_depth, shape).astype(kind) for shape in form.plane_shapes
    )
    return Picture(planes=(y, cb, cr), format=form)


def network_input(student, picture):
    """Return what the network sees, ``(rows, columns, 3)``."""
    planes = student_planes(picture, area=student.area, multiple=student.multiple)
    return (planes.transpose(1, 2, 0) - np.array(student.mean)) / np.array(student.std)


def computed(student, seen):
    """Run a program in float64, as the file says and nothing else."""
    buffers = {0: np.asarray(seen, np.float64)}
    for op in student.ops:
        first, *others = (buffers[i] for i in op.inputs)
        if op.op == "conv":
            found = _convolved(first, student.tensors[op.weight], op) + student.tensors[op.bias]
        elif op.op == "add":
            found = first + others[0]
        elif op.op == "concat":
            found = np.concatenate([first, others[0]], 2)
        elif op.op == "upsample":
            found = first.repeat(2, 0).repeat(2, 1)
        else:
            found = first.mean((0, 1), keepdims=True)
        buffers[op.out] = np.maximum(found, 0) if op.relu else found
    return buffers[student.map]


def _convolved(values, weight, op):
    pad = weight.shape[1] // 2
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(values, ((pad, pad), (pad, pad), (0, 0))), weight.shape[1:3], (0, 1)
    )[:: op.stride, :: op.stride]
    if op.groups == 1:
        return np.einsum("yxcij,oijc->yxo", windows, weight.astype(np.float64))
    return np.einsum("yxcij,cij->yxc", windows, weight[..., 0].astype(np.float64))
