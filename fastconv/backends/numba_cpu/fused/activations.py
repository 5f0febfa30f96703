"""This file computes tanh, and the gradients of ReLU and tanh from their results, in vectors.

    y = tanh(z) in place          z_grad = y_grad where y > 0          z_grad = y_grad (1 - y^2)

ReLU itself costs nothing: the micro-kernels' epilogue raises results to a floor of 0. The two gradients are bound by
memory; tanh takes some 25 instructions a vector:

    tanh a = t / (t + 2),      t = exp(2 a) - 1 = 2^n (exp r - 1) + (2^n - 1),      2 a = n log 2 + r, |r| <= log(2) / 2

with exp r - 1 by its Taylor series, 7 terms for float32 and 13 for float64. Nothing cancels in t, however small a is,
so the result is within 2.3 units in the last place. Beyond |a| = 20 it is +-1. NaN stays NaN.

The method is that of W. Cody and W. Waite, "Software manual for the elementary functions" (1980), with expm1 in the
place of exp.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime.launch import ARGUMENTS_BYTES, execute
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd import (
    Simd,
    SimdType,
    lanes_between,
    load_where,
    multiply_add,
    store_where,
    vector_of,
    zeros,
)
from fastconv.backends.numba_cpu.simd.arguments import Arguments
from fastconv.backends.numba_cpu.simd.task import Task, task
from fastconv.threads import get_num_threads

_CHUNK = 1 << 14
"""Length of the piece of an array that one task does, in numbers."""

_LOG2_HIGH = 0.693359375
"""The first 10 bits of log 2: n times this is exact. The rest of log 2 is subtracted in a second step."""


@intrinsic
def _tanh(typing, simd, value):
    """Return the tanh of each lane."""

    def generate(context, builder, signature, arguments):
        return _tanh_value(builder, simd, arguments[1])

    return vector_of(simd)(simd, vector_of(simd)), generate


def _tanh_value(builder: Any, simd: SimdType, value: Any) -> Any:
    kind, lanes, single = value.type, simd.simd.lanes, simd.simd.dtype == "float32"
    bits = ir.VectorType(ir.IntType(32 if single else 64), lanes)

    def constant(number: float) -> Any:
        return ir.Constant(kind, [number] * lanes)

    def apply(name: str, *operands: Any) -> Any:
        function = ir.FunctionType(kind, [kind] * len(operands))
        full = f"llvm.{name}.v{lanes}f{32 if single else 64}"
        return builder.call(cgutils.get_or_insert_function(builder.module, function, full), operands)

    magnitude = apply("fabs", value)
    # A comparison with NaN is false, so NaN is not replaced.
    far = builder.fcmp_ordered(">", magnitude, constant(20.0))
    magnitude = builder.select(far, constant(20.0), magnitude)
    doubled = builder.fadd(magnitude, magnitude)
    n = apply("rint", builder.fmul(doubled, constant(1 / math.log(2))))
    r = multiply_add(builder, n, constant(-_LOG2_HIGH), doubled)
    r = multiply_add(builder, n, constant(_LOG2_HIGH - math.log(2)), r)
    terms = 7 if single else 13
    series = constant(1 / math.factorial(terms))
    for term in range(terms - 1, 0, -1):
        series = multiply_add(builder, series, r, constant(1 / math.factorial(term)))
    series = builder.fmul(series, r)
    mantissa, bias = (23, 127) if single else (52, 1023)
    # n of NaN is whatever the conversion gives; the series is NaN already.
    exponent = builder.add(builder.fptosi(n, bits), ir.Constant(bits, [bias] * lanes))
    power = builder.bitcast(builder.shl(exponent, ir.Constant(bits, [mantissa] * lanes)), kind)
    t = multiply_add(builder, power, series, builder.fsub(power, constant(1.0)))
    return apply("copysign", builder.fdiv(t, builder.fadd(t, constant(2.0))), value)


@intrinsic
def _through_tanh(typing, simd, grad, y):
    """Return grad (1 - y^2), the gradient before tanh."""

    def generate(context, builder, signature, arguments):
        _, grad, y = arguments
        one = ir.Constant(y.type, [1.0] * y.type.count)
        return builder.fmul(grad, multiply_add(builder, builder.fneg(y), y, one))

    return vector_of(simd)(simd, vector_of(simd), vector_of(simd)), generate


@intrinsic
def _through_relu(typing, simd, grad, y):
    """Return 0 in the lanes where y is 0 or less, and ``grad`` in the others; y = NaN gives ``grad``, as in torch."""

    def generate(context, builder, signature, arguments):
        _, grad, y = arguments
        nothing = ir.Constant(y.type, None)
        return builder.select(builder.fcmp_ordered("<=", y, nothing), nothing, grad)

    return vector_of(simd)(simd, vector_of(simd), vector_of(simd)), generate


class ActivationArguments(Arguments):
    """Lists the arguments of a task that applies an activation or its gradient."""

    grad: int
    """Address of the gradient of the activation's results."""
    y: int
    """Address of the activation's results."""
    target: int
    """Address of the output: the results, or the gradient of the activation's inputs."""
    workspace: int
    """Address of the workspace, which these tasks don't use."""
    count: int
    """Length of the arrays, in numbers."""


_new = lru_cache(maxsize=4096)(ActivationArguments.new)
_OPERANDS = ActivationArguments.positions("grad", "y", "target")
_TARGET, _WORKSPACE = ActivationArguments.positions("target", "workspace")
_PARTS = _WORKSPACE, _WORKSPACE


@task(ActivationArguments)
def _tanh_chunk(simd, args, task, thread):
    """Replace a chunk of numbers by their tanh."""
    end = min(args.count, (task + 1) * _CHUNK)
    target = args.target
    for i in range(task * _CHUNK, end, simd.lanes):
        there = lanes_between(simd, 0, end - i)
        store_where(simd, target, i, there, _tanh(simd, load_where(simd, target, i, there, zeros(simd))))


def _gradient_task(relu: bool) -> Task:
    """Return the task that multiplies a chunk of gradients by the derivative of ReLU, or else of tanh."""

    @task(ActivationArguments)
    def gradient_chunk(simd, args, task, thread):
        end = min(args.count, (task + 1) * _CHUNK)
        grad, y, target = args.grad, args.y, args.target
        for i in range(task * _CHUNK, end, simd.lanes):
            there = lanes_between(simd, 0, end - i)
            before, after = load_where(simd, grad, i, there, zeros(simd)), load_where(simd, y, i, there, zeros(simd))
            if relu:
                store_where(simd, target, i, there, _through_relu(simd, before, after))
            else:
                store_where(simd, target, i, there, _through_tanh(simd, before, after))

    return gradient_chunk


_GRADIENT = {"relu": _gradient_task(True), "tanh": _gradient_task(False)}


def _tasks(count: int) -> int:
    return -(-count // _CHUNK)


def _run(task: int, operands: tuple[int, ...], arrays: tuple[np.ndarray, ...]) -> None:
    count = arrays[0].size
    threads = min(get_num_threads(), _tasks(count))
    memory = buffers.scratch(ARGUMENTS_BYTES)
    parts, offsets = _PARTS, (ARGUMENTS_BYTES, ARGUMENTS_BYTES)
    execute(_new(count=count), memory, operands, arrays, parts, offsets, (task, _tasks(count)), (0, 0), threads)
    buffers.give_back(memory)


def tanh(simd: Simd, y: np.ndarray) -> None:
    """Replace the numbers of a C-contiguous array by their tanh."""
    if y.size:
        _run(_tanh_chunk(simd), (_TARGET,), (y,))


def record_tanh(program: ProgramBuilder, simd: Simd, y: Place, count: int) -> None:
    """Add a job to a program that does the same to ``count`` numbers at ``y``."""
    program.add(_new(count=count), [(_TARGET, y)], [Step(_tanh_chunk(simd), _tasks(count), get_num_threads())])


def gradient(simd: Simd, activation: str, grad: np.ndarray, y: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Write the gradient of an activation's inputs to ``target``, and return it.

    Args:
        simd: the vectors to compute with.
        activation: "relu" or "tanh".
        grad: the gradient of the activation's results, C-contiguous as all three arrays.
        y: the activation's results.
        target: the array to write to, which may be ``grad`` itself.
    """
    if y.size:
        _run(_GRADIENT[activation](simd), _OPERANDS, (grad, y, target))
    return target


def record_gradient(
    program: ProgramBuilder, simd: Simd, activation: str, grad: Place, y: Place, target: Place, count: int
) -> None:
    """Add a job to a program that does the same to ``count`` numbers."""
    step = Step(_GRADIENT[activation](simd), _tasks(count), get_num_threads())
    program.add(_new(count=count), zip(_OPERANDS, (grad, y, target), strict=True), [step])
