"""JAX: functions compiled by XLA, the gradients by its own transposition."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import lax

from fastconv import ConvGeometry, PoolGeometry
from fastconv.bench.contestants import Call
from fastconv.bench.operands import Operands
from fastconv.bench.problems import Problem


class Jax:
    """NCHW, float32."""

    def prepare(self, problem: Problem, operation: str, arrays: Operands) -> Call:
        x, w, b, grad = (jax.device_put(a) for a in (arrays.x, arrays.w, arrays.b, arrays.grad))
        if problem.kind != "conv":
            forward = _pooling(problem)
            if operation == "forward":
                return _compiled(forward, x)
            return _compiled(lambda x, grad: jax.vjp(forward, x)[1](grad), x, grad)
        convolve = _convolution(problem)
        if operation == "forward":
            return _compiled(convolve, x, w, b)
        wanted = {"backward": (0, 1, 2), "input": (0,), "weight": (1,)}[operation]
        return _compiled(lambda x, w, b, grad: [jax.vjp(convolve, x, w, b)[1](grad)[i] for i in wanted], x, w, b, grad)

    def arrays(self, result: Any) -> tuple[Any, ...]:
        parts = result if isinstance(result, (tuple, list)) else (result,)
        return tuple(np.asarray(part) for part in parts)


def _compiled(function: Any, *operands: Any) -> Call:
    call = jax.jit(function)
    return lambda: jax.block_until_ready(call(*operands))


def _convolution(problem: Problem) -> Any:
    g = problem.geometry
    assert isinstance(g, ConvGeometry)
    sides = (g.padding[:2], g.padding[2:])

    def convolve(x: Any, w: Any, b: Any) -> Any:
        y = lax.conv_general_dilated(
            x, w, g.stride, sides, rhs_dilation=g.dilation, feature_group_count=g.groups, precision="highest"
        )
        return y + b[:, None, None]

    return convolve


def _pooling(problem: Problem) -> Any:
    g = problem.geometry
    assert isinstance(g, PoolGeometry)
    window, steps = (1, 1, g.R, g.S), (1, 1, *g.stride)
    sides = ((0, 0), (0, 0), (g.padding[0],) * 2, (g.padding[1],) * 2)
    if problem.kind == "max":
        return lambda x: lax.reduce_window(x, -np.inf, lax.max, window, steps, sides)
    return lambda x: lax.reduce_window(x, 0.0, lax.add, window, steps, sides) / (g.R * g.S)


def make(variant: str, threads: int) -> Jax:
    """XLA takes its threads from the cores that the process may run on."""
    jax.config.update("jax_platforms", "cpu")
    return Jax()
