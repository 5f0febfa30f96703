"""tinygrad: its compiled CPU kernels, replayed by its own JIT, forwards only."""

from __future__ import annotations

import os
from typing import Any

from fastconv import ConvGeometry
from fastconv.bench.contestants import Call, NotOfferedError
from fastconv.bench.operands import Operands
from fastconv.bench.problems import Problem


class Tinygrad:
    """One traced function a problem."""

    def prepare(self, problem: Problem, operation: str, arrays: Operands) -> Call:
        from tinygrad import Tensor, TinyJit

        if operation != "forward":
            raise NotOfferedError("its backward pass is not part of this adapter")
        g = problem.geometry
        x = Tensor(arrays.x).realize()
        if isinstance(g, ConvGeometry):
            w, b = Tensor(arrays.w).realize(), Tensor(arrays.b).realize()
            top, bottom, left, right = g.padding
            sides = (left, right, top, bottom)
            traced = TinyJit(lambda x: x.conv2d(w, b, g.groups, g.stride, g.dilation, sides).realize())
        else:
            pool = Tensor.max_pool2d if problem.kind == "max" else Tensor.avg_pool2d
            sides = (g.padding[1], g.padding[1], g.padding[0], g.padding[0])
            traced = TinyJit(lambda x: pool(x, (g.R, g.S), g.stride, padding=sides).realize())
        for _ in range(3):  # the JIT compiles at its first calls and replays from the third on
            traced(x)
        return lambda: traced(x)

    def arrays(self, result: Any) -> tuple[Any, ...]:
        return (result.numpy(),)


def make(variant: str, threads: int) -> Tinygrad:
    """tinygrad's CPU device on ``threads`` threads."""
    os.environ.update(DEV="CPU", CPU_COUNT=str(threads))
    return Tinygrad()
