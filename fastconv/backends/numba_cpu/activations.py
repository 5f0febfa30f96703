"""Activations after a convolution, in vectors: tanh, and the gradients of ReLU and tanh from their results.

    y = tanh(z) in place          z_grad = y_grad where y > 0          z_grad = y_grad (1 - y^2)

ReLU itself costs nothing: it is the floor of the micro-kernels' epilogue. These passes are bound by memory but for
tanh, some 25 instructions a vector:

    tanh a = t / (t + 2),      t = exp(2 a) - 1 = 2^n (exp r - 1) + (2^n - 1),      2 a = n log 2 + r, |r| <= log(2) / 2

with exp r - 1 by its Taylor series, 7 terms for float32 and 13 for float64. Nothing cancels in t, however small a is,
so the result is within 2.3 units in the last place. Beyond |a| = 20 it is +-1. NaN stays.

After W. Cody and W. Waite, "Software manual for the elementary functions" (1980), with expm1 in the place of exp.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.backends.jit import address_of, once
from fastconv.backends.numba_cpu import buffers
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.memory import FRAME_BYTES, execute
from fastconv.backends.numba_cpu.program import Place, Recorder, Step
from fastconv.backends.numba_cpu.simd import (
    Simd,
    SimdType,
    lanes_between,
    load_integer,
    load_where,
    multiply_add,
    store_where,
    vector_of,
    zeros,
)
from fastconv.threads import get_num_threads

_CHUNK = 1 << 14
"""Numbers in a task."""

_LOG2_HIGH = 0.693359375
"""log 2 to 10 bits, so that n times it is exact; the rest is subtracted after."""


@intrinsic
def _tanh(typing, simd, value):
    """tanh of each lane."""

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
    """grad (1 - y^2)."""

    def generate(context, builder, signature, arguments):
        _, grad, y = arguments
        one = ir.Constant(y.type, [1.0] * y.type.count)
        return builder.fmul(grad, multiply_add(builder, builder.fneg(y), y, one))

    return vector_of(simd)(simd, vector_of(simd), vector_of(simd)), generate


@intrinsic
def _through_relu(typing, simd, grad, y):
    """``grad`` but where y is 0 or less; where it is NaN, ``grad`` too, as in torch."""

    def generate(context, builder, signature, arguments):
        _, grad, y = arguments
        nothing = ir.Constant(y.type, None)
        return builder.select(builder.fcmp_ordered("<=", y, nothing), nothing, grad)

    return vector_of(simd)(simd, vector_of(simd), vector_of(simd)), generate


@once
def _tanh_task(simd: Simd) -> int:
    """The task that replaces a chunk of numbers by their tanh."""

    def tanh_chunk(frame, task, slot):
        end = min(load_integer(frame, F.J), (task + 1) * _CHUNK)
        target = load_integer(frame, F.TARGET)
        for i in range(task * _CHUNK, end, simd.lanes):
            there = lanes_between(simd, 0, end - i)
            store_where(simd, target, i, there, _tanh(simd, load_where(simd, target, i, there, zeros(simd))))

    return address_of(tanh_chunk, 3)


@once
def _gradient_task(simd: Simd, relu: bool) -> int:
    """The task that takes a chunk of gradients through ReLU's derivative, or through that of tanh."""

    def gradient_chunk(frame, task, slot):
        end = min(load_integer(frame, F.J), (task + 1) * _CHUNK)
        grad, y, target = load_integer(frame, F.SOURCE), load_integer(frame, F.WEIGHT), load_integer(frame, F.TARGET)
        for i in range(task * _CHUNK, end, simd.lanes):
            there = lanes_between(simd, 0, end - i)
            before, after = load_where(simd, grad, i, there, zeros(simd)), load_where(simd, y, i, there, zeros(simd))
            if relu:
                store_where(simd, target, i, there, _through_relu(simd, before, after))
            else:
                store_where(simd, target, i, there, _through_tanh(simd, before, after))

    return address_of(gradient_chunk, 3)


@lru_cache(maxsize=4096)
def _frame(count: int) -> np.ndarray:
    frame = np.zeros(F.COUNT, np.int64)
    frame[F.J] = count
    return frame


def _tasks(count: int) -> int:
    return -(-count // _CHUNK)


def _run(task: int, fields: tuple[int, ...], arrays: tuple[np.ndarray, ...]) -> None:
    count = arrays[0].size
    threads = min(get_num_threads(), _tasks(count))
    memory = buffers.scratch(FRAME_BYTES)
    parts, offsets = (F.PANELS, F.WORKSPACE), (FRAME_BYTES, FRAME_BYTES)
    execute(_frame(count), memory, fields, arrays, parts, offsets, (task, _tasks(count)), (0, 0), threads)
    buffers.give_back(memory)


def tanh(simd: Simd, y: np.ndarray) -> None:
    """In place, of a C-contiguous array."""
    if y.size:
        _run(_tanh_task(simd), (F.TARGET,), (y,))


def record_tanh(program: Recorder, simd: Simd, y: Place, count: int) -> None:
    """Let a program do the same to so many numbers."""
    program.add(_frame(count), [(F.TARGET, y)], [Step(_tanh_task(simd), _tasks(count), get_num_threads())])


def gradient(simd: Simd, activation: str, grad: np.ndarray, y: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The gradient before an activation, "relu" or "tanh", from those after it; all arrays C-contiguous.

    It is written to ``target``, which may be ``grad``.
    """
    if y.size:
        _run(_gradient_task(simd, activation == "relu"), (F.SOURCE, F.WEIGHT, F.TARGET), (grad, y, target))
    return target


def record_gradient(
    program: Recorder, simd: Simd, activation: str, grad: Place, y: Place, target: Place, count: int
) -> None:
    """Let a program do the same to so many numbers."""
    step = Step(_gradient_task(simd, activation == "relu"), _tasks(count), get_num_threads())
    program.add(_frame(count), [(F.SOURCE, grad), (F.WEIGHT, y), (F.TARGET, target)], [step])
