"""ONNX graphs as torch modules, against ONNX's own reference evaluator."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from idse.errors import ModelError
from idse.vision import load_model
from idse.vision.onnx_graph import OnnxModule

pytestmark = pytest.mark.fast

RNG = np.random.default_rng(7)


def graph(nodes, shape=(1, 3, 8, 12), constants=None, outputs=("y",), opset=17):
    """Make a model of ``nodes`` that reads ``x``."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(v, k) for k, v in (constants or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )


def compare(model, tolerance=2e-5):
    """Assert that our module gives what the reference evaluator gives; return the module."""
    shape = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = RNG.standard_normal(shape).astype(np.float32)
    expected = ReferenceEvaluator(model).run(None, {"x": x})
    module = OnnxModule(model, "test.onnx")
    with torch.no_grad():
        got = module(torch.from_numpy(x))
    got = got if isinstance(got, list) else [got]
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=tolerance, atol=tolerance)
    return module


def node(op, *inputs, out="y", **attributes):
    return helper.make_node(op, ["x", *inputs], [out], name=f"n_{op}", **attributes)


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def i64(*values):
    return np.array(values, np.int64)


SINGLE = {
    "conv": (
        node("Conv", "w", "b", pads=[1, 0, 1, 2], strides=[2, 1]),
        {"w": f32(4, 3, 3, 3), "b": f32(4)},
    ),
    "conv_group_same": (
        node("Conv", "w", auto_pad="SAME_UPPER", strides=[2, 2], group=3),
        {"w": f32(6, 1, 3, 3)},
    ),
    "conv_transpose": (
        node("ConvTranspose", "w", pads=[1, 1, 1, 1], strides=[2, 2], output_padding=[1, 1]),
        {"w": f32(3, 4, 3, 3)},
    ),
    "batch_norm": (
        node("BatchNormalization", "s", "b", "m", "v", epsilon=1e-2),
        {"s": f32(3), "b": f32(3), "m": f32(3), "v": np.abs(f32(3))},
    ),
    "max_pool": (node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]), {}),
    "max_pool_pad": (node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), {}),
    "average_pool_include": (
        node("AveragePool", kernel_shape=[3, 2], pads=[1, 1, 1, 1], count_include_pad=1),
        {},
    ),
    "average_pool": (node("AveragePool", kernel_shape=[3, 3], pads=[1, 0, 1, 1]), {}),
    "global_average": (node("GlobalAveragePool"), {}),
    "layer_norm": (node("LayerNormalization", "s", "b"), {"s": f32(12), "b": f32(12)}),
    "clip": (node("Clip", "lo", "hi"), {"lo": np.float32(-0.5), "hi": np.float32(0.7)}),
    "hard_sigmoid": (node("HardSigmoid", alpha=0.3, beta=0.4), {}),
    "hard_swish": (node("HardSwish"), {}),
    "leaky": (node("LeakyRelu", alpha=0.1), {}),
    "softmax": (node("Softmax", axis=1), {}),
    "erf": (node("Erf"), {}),
    "pow": (node("Pow", "p"), {"p": np.float32(2)}),
    "reduce_mean": (node("ReduceMean", axes=[2, 3], keepdims=0), {}),
    "reduce_sum": (node("ReduceSum", "axes"), {"axes": i64(-1)}),
    "slice_back": (
        node("Slice", "s", "e", "a", "t"),
        {"s": i64(-1, 1), "e": i64(-100, 6), "a": i64(3, 2), "t": i64(-2, 2)},
    ),
    "gather_negative": (node("Gather", "i", axis=3), {"i": np.array([[0, -1], [3, 5]])}),
    "reshape_zero": (node("Reshape", "s"), {"s": i64(0, -1, 4)}),
    "flatten": (node("Flatten", axis=2), {}),
    "transpose": (node("Transpose", perm=[0, 2, 3, 1]), {}),
    "expand": (node("Expand", "s"), {"s": i64(2, 1, 1, 1, 12)}),
    "pad_reflect": (node("Pad", "p", mode="reflect"), {"p": i64(0, 0, 2, 1, 0, 0, 1, 3)}),
    "pad_constant": (
        node("Pad", "p", "v"),
        {"p": i64(0, 1, 2, 1, 0, 0, 1, 3), "v": np.float32(0.25)},
    ),
    "resize_nearest": (
        node("Resize", "", "s", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        {"s": np.array([1, 1, 2, 1.5], np.float32)},
    ),
    "resize_linear": (
        node("Resize", "", "", "z", mode="linear", coordinate_transformation_mode="half_pixel"),
        {"z": i64(1, 3, 13, 7)},
    ),
    "resize_corners": (
        node("Resize", "", "", "z", mode="linear", coordinate_transformation_mode="align_corners"),
        {"z": i64(1, 3, 5, 20)},
    ),
    "resize_cubic": (
        node("Resize", "", "s", mode="cubic", coordinate_transformation_mode="half_pixel"),
        {"s": np.array([1, 1, 2, 1.5], np.float32)},
    ),
    "gemm": (
        helper.make_node("Gemm", ["flat", "w", "c"], ["y"], transB=1, alpha=0.5, beta=2.0),
        {"w": f32(5, 12), "c": f32(5), "shape": i64(-1, 12)},
    ),
    "space_to_depth": (node("SpaceToDepth", blocksize=2), {}),
    "crd": (
        helper.make_node("DepthToSpace", ["flat"], ["y"], blocksize=2, mode="CRD"),
        {"shape": i64(1, 12, 4, 6)},
    ),
    "dcr": (
        helper.make_node("DepthToSpace", ["flat"], ["y"], blocksize=2),
        {"shape": i64(1, 12, 4, 6)},
    ),
    "mod": (node("Mod", "d", fmod=1), {"d": np.float32(0.7)}),
}


@pytest.mark.parametrize("case", SINGLE)
def test_operator(case):
    single, constants = SINGLE[case]
    first = [helper.make_node("Reshape", ["x", "shape"], ["flat"])] if "shape" in constants else []
    compare(graph([*first, single], constants=constants))


@pytest.mark.parametrize("opset", [9, 10, 12])
def test_old_opsets_keep_their_meaning(opset):
    # Attributes that later became inputs.
    nodes = [
        helper.make_node("Clip", ["x"], ["c"], min=-1.0, max=1.0)
        if opset < 11
        else helper.make_node("Relu", ["x"], ["c"]),
        helper.make_node("Softmax", ["c"], ["s"], axis=3),
        helper.make_node("Unsqueeze", ["s"], ["u"], axes=[0]),
        helper.make_node("Squeeze", ["u"], ["q"], axes=[0]),
        helper.make_node("Split", ["q"], ["a", "b"], axis=3, split=[5, 7]),
        helper.make_node("ReduceSum", ["a"], ["y"], axes=[1]),
    ]
    compare(graph(nodes, opset=opset, outputs=("y", "b")))


def test_softmax_before_opset_13_spans_all_later_axes():
    # The reference evaluator reads every opset's softmax as opset 13's, so this is numpy's.
    module = OnnxModule(graph([node("Softmax", axis=1)], opset=11), "test.onnx")
    x = f32(1, 3, 8, 12)
    expected = np.exp(x) / np.exp(x).sum()
    np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), expected, rtol=1e-5)


def test_attention_block_with_shape_arithmetic():
    """What exporters write for a transformer: shapes read, cut and glued at run time."""
    nodes = [
        helper.make_node("Conv", ["x", "wp"], ["p"], strides=[4, 4], name="patch.embed"),
        helper.make_node("Shape", ["p"], ["ps"]),
        helper.make_node("Gather", ["ps", "first"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "zero"], ["n1"]),
        helper.make_node("Concat", ["n1", "four", "minus"], ["s3"], axis=0),
        helper.make_node("Reshape", ["p", "s3"], ["t0"]),
        helper.make_node("Transpose", ["t0"], ["t"], perm=[0, 2, 1]),
        helper.make_node("LayerNormalization", ["t", "g", "gb"], ["ln"]),
        helper.make_node("MatMul", ["ln", "wqkv"], ["qkv"]),
        helper.make_node("Split", ["qkv"], ["q", "k", "v"], axis=2),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["a0"]),
        helper.make_node("Constant", [], ["d"], value_float=2.0),
        helper.make_node("Div", ["a0", "d"], ["a1"]),
        helper.make_node("Softmax", ["a1"], ["a"], axis=-1, name="attention"),
        helper.make_node("MatMul", ["a", "v"], ["o"]),
        helper.make_node("Add", ["o", "t"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["y"], axes=[1], keepdims=0),
    ]
    constants = {
        "wp": f32(4, 3, 4, 4),
        "zero": i64(0),
        "first": np.int64(0),
        "four": i64(4),
        "minus": i64(-1),
        "g": f32(4),
        "gb": f32(4),
        "wqkv": f32(4, 12),
    }
    module = compare(graph(nodes, constants=constants))
    names = dict(module.named_modules())
    assert "nodes.patch_embed" in names
    assert "nodes.attention" in names


def test_gradients_match_finite_differences():
    nodes = [
        node("Conv", "w", out="c", pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c"], ["s"]),
        helper.make_node("Mul", ["c", "s"], ["m"]),
        helper.make_node("Resize", ["m", "", "r"], ["y"], mode="linear"),
    ]
    constants = {"w": f32(2, 3, 3, 3), "r": np.array([1, 1, 2, 2], np.float32)}
    module = OnnxModule(graph(nodes, constants=constants, shape=(1, 3, 4, 4)), "t").double()
    x = torch.from_numpy(RNG.standard_normal((1, 3, 4, 4))).requires_grad_()
    assert torch.autograd.gradcheck(module, (x,))


def test_file_with_fixed_batch_and_size_is_a_feature_extractor(tmp_path):
    nodes = [
        node("Conv", "w", out="c", strides=[2, 2]),
        helper.make_node("Reshape", ["c", "s"], ["y"], name="head"),
    ]
    # The reshape only works for one picture: a batch has to be run one by one.
    constants = {"w": f32(4, 3, 2, 2), "s": i64(1, 96)}
    path = tmp_path / "net.onnx"
    onnx.save(graph(nodes, constants=constants), path)
    network = load_model(f"{path}")
    assert network.size == (8, 12)
    x = torch.from_numpy(f32(3, 3, 8, 12))
    f = network.features(x)
    assert f.shape == (3, 96)
    torch.testing.assert_close(f[1:2], network.features(x[1:2]))
    layer = load_model(f"{path}@nodes.n_Conv")
    assert layer.features(x[:1]).shape == (1, 96)
    with pytest.raises(ModelError, match="takes 8x12 only"):
        load_model(str(path), size=64)


def test_open_size_must_be_given(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(graph([node("Relu")], shape=("n", 3, "h", "w")), path)
    with pytest.raises(ModelError, match="leaves its input size open"):
        load_model(str(path))
    assert load_model(str(path), size=(32, 64)).size == (32, 64)


@pytest.mark.parametrize(
    ("nodes", "shape", "message"),
    [
        (
            [node("NonMaxSuppression", "x")],
            (1, 3, 8, 8),
            "NonMaxSuppression.*'n_NonMaxSuppression'",
        ),
        ([node("Add", "ghost")], (1, 3, 8, 8), "'ghost', which nothing makes"),
        ([node("Relu")], (1, 8, 8, 3), "expected .n, 3, rows, columns."),
        ([node("Relu", out="z")], (1, 3, 8, 8), "outputs .'y'."),
    ],
)
def test_bad_graphs_are_refused_by_name(nodes, shape, message):
    with pytest.raises(ModelError, match=message):
        OnnxModule(graph(nodes, shape=shape), "bad.onnx")


def test_failing_node_is_named():
    module = OnnxModule(graph([node("Reshape", "s")], constants={"s": i64(7)}), "bad.onnx")
    with pytest.raises(ModelError, match=r"n_Reshape \(Reshape\) failed"):
        module(torch.zeros(1, 3, 8, 12))


def test_not_onnx(tmp_path):
    path = tmp_path / "noise.onnx"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="cannot be read as ONNX"):
        load_model(str(path))
    with pytest.raises(ModelError, match="no ONNX file"):
        load_model(str(tmp_path / "absent.onnx"))
