"""OpenVINO: its CPU plugin at float32, forwards only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset15 as ops

from fastconv import ConvGeometry
from fastconv.bench.contestants import Call, NotOfferedError
from fastconv.bench.operands import Operands
from fastconv.bench.problems import Problem


class OpenVino:
    """A compiled model a problem."""

    def __init__(self, threads: int) -> None:
        self.core = openvino.Core()
        self.settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}

    def prepare(self, problem: Problem, operation: str, arrays: Operands) -> Call:
        if operation != "forward":
            raise NotOfferedError("it runs forwards only")
        x = ops.parameter(arrays.x.shape, np.float32)
        return self._compiled(openvino.Model([_node(problem, x, arrays)], [x]), arrays.x)

    def network(self, path: Path, x: Any) -> Call:
        return self._compiled(self.core.read_model(path), x)

    def _compiled(self, model: Any, images: Any) -> Call:
        request = self.core.compile_model(model, "CPU", self.settings).create_infer_request()
        request.set_input_tensor(openvino.Tensor(images, shared_memory=True))

        def call() -> Any:
            assert images.size  # the call holds the memory that the request reads
            request.infer()
            return request.output_tensors

        return call

    def arrays(self, result: Any) -> tuple[Any, ...]:
        return tuple(each.data.copy() for each in result)


def _node(problem: Problem, x: Any, arrays: Operands) -> Any:
    g = problem.geometry
    if not isinstance(g, ConvGeometry):
        how = (g.stride, g.padding, g.padding, (g.R, g.S))
        if problem.kind == "avg":
            return ops.avg_pool(x, *how, exclude_pad=False)
        return ops.max_pool(x, g.stride, (1, 1), g.padding, g.padding, (g.R, g.S)).output(0)
    top, bottom, left, right = g.padding
    how = (g.stride, (top, left), (bottom, right), g.dilation)
    if g.groups == 1:
        y = ops.convolution(x, ops.constant(arrays.w), *how)
    else:
        w = arrays.w.reshape(g.groups, g.K // g.groups, *arrays.w.shape[1:])
        y = ops.group_convolution(x, ops.constant(w), *how)
    return ops.add(y, ops.constant(arrays.b.reshape(1, -1, 1, 1)))


def make(variant: str, threads: int) -> OpenVino:
    """OpenVINO on ``threads`` threads."""
    return OpenVino(threads)
