"""onnxruntime: its CPU kernels (MLAS), forwards only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from fastconv.bench.contestants import Call
from fastconv.bench.contestants.onnx_model import model
from fastconv.bench.operands import Operands
from fastconv.bench.problems import Problem


class OnnxRuntime:
    """A session a problem; the result is allocated at each call, as everywhere here."""

    def __init__(self, threads: int) -> None:
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1

    def prepare(self, problem: Problem, operation: str, arrays: Operands) -> Call:
        content = model(problem, operation, arrays).SerializeToString()
        session = onnxruntime.InferenceSession(content, self.options, providers=["CPUExecutionProvider"])
        feed = {"x": arrays.x}
        return lambda: session.run(None, feed)

    def network(self, path: Path, x: Any) -> Call:
        session = onnxruntime.InferenceSession(path, self.options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: x}
        return lambda: session.run(None, feed)

    def arrays(self, result: Any) -> tuple[Any, ...]:
        return tuple(result)


def make(variant: str, threads: int) -> OnnxRuntime:
    """onnxruntime on ``threads`` threads."""
    return OnnxRuntime(threads)
