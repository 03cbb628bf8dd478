"""ONNX files as torch modules, so that gradients flow through them.

Runtimes for ONNX compute outputs only. Here every node of the graph becomes a small torch module,
reachable by its name as a feature layer. The operators are in ``onnx_ops`` and ``onnx_nn``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from idse.errors import ModelError, missing_extra
from idse.vision import onnx_nn, onnx_ops
from idse.vision.extractor import FeatureExtractor

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

_OPS: dict[str, Callable[..., Any]] = {**onnx_ops.OPS, **onnx_nn.OPS}


class _Node(nn.Module):
    """One operator with its attributes."""

    def __init__(self, node: onnx.NodeProto, label: str, opset: int) -> None:
        super().__init__()
        self.label = label
        self.op = node.op_type
        self.inputs = tuple(node.input)
        self.outputs = tuple(node.output)
        self.attributes: dict[str, Any] = {a.name: _attribute(a) for a in node.attribute}
        self.attributes["opset"] = opset
        self.attributes["n_outputs"] = len(self.outputs)

    def forward(self, *inputs: Tensor | None) -> Any:  # noqa: ANN401
        try:
            return _OPS[self.op](self.attributes, *inputs)
        except (RuntimeError, ValueError, IndexError, KeyError, TypeError) as error:
            raise ModelError(f"ONNX node {self.label} ({self.op}) failed: {error}") from error

    def extra_repr(self) -> str:
        return self.op


class OnnxModule(nn.Module):
    """A graph with one picture as its input.

    The modules of its nodes are named by the nodes (dots become underscores), so that
    ``file.onnx@NODE`` takes features from any of them.
    """

    def __init__(self, model: onnx.ModelProto, path: str) -> None:
        super().__init__()
        from onnx import numpy_helper

        graph = model.graph
        opset = max(
            (o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), default=1
        )
        self._constants: dict[str, Tensor] = {}
        self._weights: dict[str, str] = {}
        for initialiser in graph.initializer:
            value = onnx_ops.as_tensor(numpy_helper.to_array(initialiser))
            self._keep(initialiser.name, value)
        for node in graph.node:
            if node.op_type == "Constant":
                attributes = {a.name: _attribute(a) for a in node.attribute}
                self._keep(node.output[0], onnx_ops.constant(attributes))
        known = {*self._weights, *self._constants}
        self.input, self.input_shape = _picture_input(graph, known, path)
        self.outputs = tuple(output.name for output in graph.output)
        self.nodes = self._build(graph, known | {self.input, ""}, opset, path)
        self._last_use = {name: i for i, node in enumerate(self._order) for name in node.inputs}

    def _keep(self, name: str, value: Tensor) -> None:
        if value.is_floating_point():
            # Registered, so that the module moves between devices and dtypes as a whole.
            self._weights[name] = f"weight_{len(self._weights)}"
            parameter = nn.Parameter(value, requires_grad=False)
            self.register_parameter(self._weights[name], parameter)
        else:
            self._constants[name] = value

    def _build(
        self, graph: onnx.GraphProto, known: set[str], opset: int, path: str
    ) -> nn.ModuleDict:
        modules: dict[str, nn.Module] = {}
        self._order: list[_Node] = []
        for index, node in enumerate(graph.node):
            if node.op_type == "Constant":
                continue
            label = node.name.replace(".", "_") or f"{node.op_type}_{index}"
            if node.domain not in {"", "ai.onnx"} or node.op_type not in _OPS:
                raise ModelError(
                    f"{path}: operator {node.domain or 'ai.onnx'}.{node.op_type} of node {label!r} "
                    "is not supported; cut the graph before it, or convert the file with "
                    "onnx2torch and hand it over as package.module:factory"
                )
            missing = [name for name in node.input if name not in known]
            if missing:
                raise ModelError(
                    f"{path}: node {label!r} reads {missing[0]!r}, which nothing makes"
                )
            while label in modules:
                label += "_"
            modules[label] = _Node(node, label, opset)
            self._order.append(modules[label])  # type: ignore[arg-type]
            known.update(node.output)
        lost = [name for name in self.outputs if name not in known]
        if lost or not self.outputs:
            raise ModelError(f"{path}: nothing makes the graph's outputs {lost}")
        return nn.ModuleDict(modules)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Run the graph on ``x`` (n, 3, h, w); a list where it has several outputs."""
        if self.input_shape[0] == 1 and len(x) > 1:
            # The file was exported for one picture at a time; its reshapes rely on that.
            parts = [self._run(one[None]) for one in x]
            results = [torch.cat(outputs) for outputs in zip(*parts, strict=True)]
        else:
            results = self._run(x)
        return results[0] if len(results) == 1 else results

    def _run(self, x: Tensor) -> list[Tensor]:
        values: dict[str, Any] = dict(self._constants)
        values.update((name, getattr(self, weight)) for name, weight in self._weights.items())
        values[self.input] = x
        values[""] = None
        for index, node in enumerate(self._order):
            result = node(*(values[name] for name in node.inputs))
            several = isinstance(result, tuple | list)
            values.update(zip(node.outputs, result if several else (result,), strict=False))
            for name in set(node.inputs):
                if name and self._last_use[name] == index and name not in self.outputs:
                    del values[name]
        return [values[name] for name in self.outputs]


def load_onnx(
    path: str,
    *,
    size: tuple[int, int] | None = None,
    **options: Any,  # noqa: ANN401
) -> FeatureExtractor:
    """Load an ONNX file.

    Parameters
    ----------
    path
        The file; weights kept outside it are found beside it.
    size
        Rows and columns of the input, where the graph leaves them open.
    **options
        ``mean``, ``std``, ``channels``, ``fit`` of :class:`FeatureExtractor`: an ONNX file does
        not say how its input is normalised. By default it is R'G'B' in 0..1.

    Raises
    ------
    ModelError
        Not an ONNX file, an unsupported operator, or an input that is not one picture.
    MissingExtraError
        The package ``onnx`` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing_extra("onnx", "onnx") from error
    if not Path(path).is_file():
        raise ModelError(f"there is no ONNX file {path}")
    try:
        model = onnx.load(path)
    # protobuf's exceptions share no public base class.
    except Exception as error:
        raise ModelError(f"{path} cannot be read as ONNX: {error}") from error
    module = OnnxModule(model, path)
    rows, columns = module.input_shape[2:]
    if rows and columns:
        if size not in {None, (rows, columns)}:
            raise ModelError(f"{path} takes {rows}x{columns} only, not {size}: export it dynamic")
        size = (rows, columns)
    if size is None:
        raise ModelError(f"{path} leaves its input size open: give one (size=...)")
    return FeatureExtractor(module, size=size, name=Path(path).name, **options)


def _picture_input(
    graph: onnx.GraphProto, initialisers: set[str], path: str
) -> tuple[str, tuple[int, ...]]:
    """Return the input's name and shape, 0 where it is open."""
    inputs = [value for value in graph.input if value.name not in initialisers]
    if len(inputs) != 1:
        names = [value.name for value in inputs]
        raise ModelError(f"{path} has inputs {names}, expected one picture")
    dims = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim]
    if len(dims) != 4 or dims[1] not in {0, 3}:
        raise ModelError(f"{path} takes input of shape {dims}, expected (n, 3, rows, columns)")
    return inputs[0].name, tuple(dims)


def _attribute(attribute: onnx.AttributeProto) -> Any:  # noqa: ANN401
    from onnx import AttributeProto, helper, numpy_helper

    value = helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.TENSOR:
        return onnx_ops.as_tensor(numpy_helper.to_array(value))
    if isinstance(value, bytes):
        return value.decode()
    return list(value) if attribute.type in {AttributeProto.INTS, AttributeProto.FLOATS} else value
