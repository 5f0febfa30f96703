"""What each primitive comes to: from a geometry to jobs, which are convolutions and their adjoints for the weight.

    forward          target = y, source = x, the taps in order
    adjoint for x    target = x, source = grad: a convolution again, with the weight's two channel axes exchanged.
                     A pixel h of x gets something from the taps r with h + pad - r * dilation divisible by the stride,
                     so with strides x falls into stride_h * stride_w lattices, each with taps of its own; nothing
                     is multiplied by zeros that a stride would put between the pixels of grad
    adjoint for w    a product along the pixels, which lie side by side in both operands

Where the kernel covers the whole image, so that there is one output pixel, all three are products of x, w and grad as
matrices (N, CHW), (K, CHW) and (N, K). Each is one of the same jobs with its operands in other parts: the forward
product runs along two matrices' rows, as the adjoint for w does; the other two are convolutions of a single image whose
channels are the rows of a matrix. Taken as a convolution, the adjoint for x would read one pixel and HW - 1 zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastconv.backends.numba_cpu.problem import Problem
from fastconv.geometry import ConvGeometry, Pair

Shape = tuple[int, ...]

_ONE_TAP = ((0, 0, 0),)


@dataclass(frozen=True)
class Job:
    """A convolution, or an adjoint for the weight: the problem, where its operands are, how it reads the weight."""

    problem: Problem
    source: Shape
    target: Shape
    weight: tuple[int, int, int] = (0, 0, 0)
    """Elements between target channels, source channels and groups."""
    in_order: bool = False
    """Whether the weight's taps are those of the problem, in order."""
    along_rows: bool = False
    """Whether it is an adjoint for the weight: ``target`` is that of the convolution it belongs to."""
    first: Pair = (0, 0)
    """The lattice's first pixel in the target."""
    floor: float = -math.inf
    """No result falls below it: 0 makes a ReLU."""
    exchanged: bool = False
    """Whether the primitive's two operands stand in each other's place."""


def is_dense(g: ConvGeometry) -> bool:
    """Whether the kernel covers the whole image, so that there is a single output pixel."""
    return (g.R, g.S) == (g.H, g.W) and g.groups == 1 and not any(g.padding) and g.dilation == (1, 1)


def _is_pointwise(g: ConvGeometry) -> bool:
    """Whether every output pixel comes from the input pixel at its own place."""
    return g.R == g.S == 1 and g.stride == (1, 1) and not any(g.padding)


def jobs(operation: str, g: ConvGeometry) -> tuple[list[Job], bool]:
    """The jobs of "conv2d", "conv2d_input" or "conv2d_weight", and whether they write all of the result."""
    if operation == "conv2d_input":
        return ([_dense_input_adjoint(g)], True) if is_dense(g) else _input_adjoint(g)
    if operation == "conv2d":
        return [_dense_forward(g) if is_dense(g) else _forward(g)], True
    return [_dense_weight_adjoint(g) if is_dense(g) else _weight_adjoint(g)], True


def _forward(g: ConvGeometry) -> Job:
    depth, rows, kernel = g.C // g.groups, g.K // g.groups, g.R * g.S
    problem, source, target = _correlation(g)
    return Job(problem, source, target, (depth * kernel, kernel, rows * depth * kernel), in_order=True)


def _weight_adjoint(g: ConvGeometry) -> Job:
    problem, source, target = _correlation(g)
    return Job(problem, source, target, along_rows=True)


def _correlation(g: ConvGeometry) -> tuple[Problem, Shape, Shape]:
    """The convolution as a problem, with the shapes of input and output."""
    top, _, left, _ = g.padding
    source, target, lattice = g.input_shape, g.output_shape, (g.P, g.Q)
    if _is_pointwise(g):
        # Without taps at a distance rows don't matter: the plane may be one row, and every vector one run.
        source, target, lattice = (g.N, g.C, 1, g.H * g.W), (g.N, g.K, 1, g.P * g.Q), (1, g.P * g.Q)
    taps = tuple(
        (r * g.dilation[0] - top, s * g.dilation[1] - left, r * g.S + s) for r in range(g.R) for s in range(g.S)
    )
    return Problem(g.N, g.groups, g.K // g.groups, g.C // g.groups, source[2:], lattice, g.stride, taps), source, target


def _input_adjoint(g: ConvGeometry) -> tuple[list[Job], bool]:
    """A job for each lattice that gets anything, and whether all do."""
    depth, rows, kernel = g.C // g.groups, g.K // g.groups, g.R * g.S
    weight = (kernel, depth * kernel, rows * depth * kernel)
    source, target, size = g.output_shape, g.input_shape, (g.H, g.W)
    if _is_pointwise(g):
        source, target, size = (g.N, g.K, 1, g.P * g.Q), (g.N, g.C, 1, g.H * g.W), (1, g.H * g.W)
    found = []
    complete = True
    for down, right in np.ndindex(*g.stride):
        lattice = -(-(size[0] - down) // g.stride[0]), -(-(size[1] - right) // g.stride[1])
        if min(lattice) <= 0:
            continue
        rows_of_taps = _adjoint_taps(down + g.padding[0], g.R, g.stride[0], g.dilation[0])
        columns = _adjoint_taps(right + g.padding[2], g.S, g.stride[1], g.dilation[1])
        taps = tuple((dy, dx, r * g.S + s) for dy, r in rows_of_taps for dx, s in columns)
        if taps:
            problem = Problem(g.N, g.groups, depth, rows, source[2:], lattice, (1, 1), taps, g.stride)
            found.append(Job(problem, source, target, weight, first=(down, right)))
        else:
            complete = False
    return found, complete


def _adjoint_taps(shifted: int, kernel: int, stride: int, dilation: int) -> list[tuple[int, int]]:
    """(offset into grad, tap) along one axis, for the pixels at ``shifted`` - padding modulo the stride."""
    reached = [(shifted - tap * dilation, tap) for tap in range(kernel)]
    return [(distance // stride, tap) for distance, tap in reached if distance % stride == 0]


def _dense_forward(g: ConvGeometry) -> Job:
    """y[n, k]: along the rows n of x and k of w."""
    features = g.C * g.H * g.W
    problem = Problem(1, 1, g.N, g.K, (1, features), (1, features), (1, 1), _ONE_TAP)
    return Job(problem, (1, g.K, 1, features), (1, g.N, 1, features), along_rows=True, exchanged=True)


def _dense_input_adjoint(g: ConvGeometry) -> Job:
    """grad_x = grad w: w is one image of K channels, and grad the weight."""
    features = g.C * g.H * g.W
    problem = Problem(1, 1, g.N, g.K, (1, features), (1, features), (1, 1), _ONE_TAP)
    return Job(problem, (1, g.K, 1, features), (1, g.N, 1, features), (g.K, 1, 0), in_order=True, exchanged=True)


def _dense_weight_adjoint(g: ConvGeometry) -> Job:
    """grad_w = grad' x: x is one image of N channels, and grad' the weight."""
    features = g.C * g.H * g.W
    problem = Problem(1, 1, g.K, g.N, (1, features), (1, features), (1, 1), _ONE_TAP)
    return Job(problem, (1, g.N, 1, features), (1, g.K, 1, features), (1, g.K, 0))
