"""A problem as an ONNX graph of one node, for the libraries that run such graphs forwards."""

from __future__ import annotations

from typing import Any

from onnx import ModelProto, TensorProto, helper, numpy_helper

from fastconv import ConvGeometry
from fastconv.bench.contestants import NotOfferedError
from fastconv.bench.operands import Operands
from fastconv.bench.problems import Problem


def model(problem: Problem, operation: str, arrays: Operands) -> ModelProto:
    """The graph, its input "x" and its output "y"; weight and bias are constants of it."""
    if operation != "forward":
        raise NotOfferedError("it runs forwards only")
    g = problem.geometry
    if isinstance(g, ConvGeometry):
        top, bottom, left, right = g.padding
        how: dict[str, Any] = {"dilations": g.dilation, "group": g.groups}
        kind, constants = "Conv", {"w": arrays.w, "b": arrays.b}
    else:
        (top, left), (bottom, right) = g.padding, g.padding
        how = {"count_include_pad": 1} if problem.kind == "avg" else {}
        kind, constants = ("AveragePool" if problem.kind == "avg" else "MaxPool"), {}
    node = helper.make_node(
        kind,
        ["x", *constants],
        ["y"],
        kernel_shape=(g.R, g.S),
        strides=g.stride,
        pads=(top, left, bottom, right),
        **how,
    )
    graph = helper.make_graph(
        [node],
        problem.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, g.input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, g.output_shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
