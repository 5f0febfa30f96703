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

A kernel as high as the image meets each of its rows once. Rows are taken for channels then, H times as many of one row
each, which changes no place in memory: the adjoint for x would multiply each pixel by all R rows of taps but for that.

Taps that lie in the padding at every output pixel have no part in any of it: of 3 x 3 taps around a single pixel one is
left, of those with dilation 24 on 24 pixels too. An infinite weight times padding is NaN, though: see infinities.py.
Those that lie in the padding at most output pixels, as with dilation 24 on 28 pixels, can be left out there: `split`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

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
    left_out: bool = False
    """Whether taps of the kernel are left out where they meet no pixel: their infinite weights go unseen."""
    columns: ConvGeometry | None = None
    """The convolution whose input gradient it is, if that is made by way of a column matrix (conv/column_matrix)."""
    parts: tuple[Job, ...] = ()
    """What it is done as, if it is done in parts that have the packed weight, or the result, in common."""
    by_taps: int = 0
    """Taps of the packed weight, if that holds all channels of a tap before the next tap's (conv/tap_parts)."""


def is_dense(g: ConvGeometry) -> bool:
    """Whether the kernel covers the whole image, so that there is a single output pixel."""
    return (g.R, g.S) == (g.H, g.W) and g.groups == 1 and not any(g.padding) and g.dilation == (1, 1)


def live_taps(g: ConvGeometry) -> tuple[list[int], list[int]]:
    """The rows and the columns of the kernel that meet a pixel at any output pixel; at least one of each."""
    top, _, left, _ = g.padding
    return (
        _live_along_axis(g.R, g.dilation[0], top, g.stride[0], g.P, g.H),
        _live_along_axis(g.S, g.dilation[1], left, g.stride[1], g.Q, g.W),
    )


def _live_along_axis(kernel: int, dilation: int, before: int, stride: int, windows: int, size: int) -> list[int]:
    def meets(offset: int) -> bool:
        first = max(0, -(offset // stride))
        return first < windows and first * stride + offset < size

    # Where there are none, one stands for all: a problem without taps has nothing to say how its loops are cut.
    return [tap for tap in range(kernel) if meets(tap * dilation - before)] or [0]


def _with_rows_as_channels(g: ConvGeometry) -> ConvGeometry:
    """The same convolution, of single rows, where the kernel is as high as the image; other ones as they are."""
    whole = g.R == g.H > 1 and g.padding[:2] == (0, 0) and g.dilation[0] == g.groups == 1
    return replace(g, C=g.C * g.H, H=1, R=1, stride=(1, g.stride[1])) if whole else g


def jobs(operation: str, g: ConvGeometry) -> tuple[list[Job], bool]:
    """The jobs of "conv2d", "conv2d_input" or "conv2d_weight", and whether they write all of the result."""
    if is_dense(g):
        dense = {"conv2d": _dense_forward, "conv2d_input": _dense_input_adjoint, "conv2d_weight": _dense_weight_adjoint}
        return [dense[operation](g)], True
    g = _with_rows_as_channels(g)
    if operation == "conv2d_input":
        return _input_adjoint(g)
    return [_forward(g) if operation == "conv2d" else _weight_adjoint(g)], True


def _forward(g: ConvGeometry) -> Job:
    depth, rows, kernel = g.C // g.groups, g.K // g.groups, g.R * g.S
    problem, source, target = _correlation(g)
    weight = depth * kernel, kernel, rows * depth * kernel
    left_out = len(problem.taps) < kernel
    return Job(problem, source, target, weight, in_order=not left_out, left_out=left_out)


def _weight_adjoint(g: ConvGeometry) -> Job:
    problem, source, target = _correlation(g)
    return Job(problem, source, target, along_rows=True, left_out=len(problem.taps) < g.R * g.S)


def _correlation(g: ConvGeometry) -> tuple[Problem, Shape, Shape]:
    """The convolution as a problem, with the shapes of input and output."""
    top, _, left, _ = g.padding
    rows, columns = live_taps(g)
    taps = tuple((r * g.dilation[0] - top, s * g.dilation[1] - left, r * g.S + s) for r in rows for s in columns)
    source, target, lattice = g.input_shape, g.output_shape, (g.P, g.Q)
    # From the only output row, or column, it is no step to the next.
    step = g.stride[0] if g.P > 1 else 1, g.stride[1] if g.Q > 1 else 1
    if _is_pointwise(taps, g, step):
        # Without taps at a distance rows don't matter: the plane may be one row, and every vector one run.
        source, target, lattice = (g.N, g.C, 1, g.H * g.W), (g.N, g.K, 1, g.P * g.Q), (1, g.P * g.Q)
    return Problem(g.N, g.groups, g.K // g.groups, g.C // g.groups, source[2:], lattice, step, taps), source, target


def _is_pointwise(taps: Iterable[tuple[int, int, int]], g: ConvGeometry, step: Pair) -> bool:
    """Whether every output pixel comes from the input pixel at its own place."""
    return {tap[:2] for tap in taps} == {(0, 0)} and step == (1, 1) and (g.P, g.Q) == (g.H, g.W)


def _input_adjoint(g: ConvGeometry) -> tuple[list[Job], bool]:
    """A job for each lattice that gets anything, and whether all do."""
    depth, rows, kernel = g.C // g.groups, g.K // g.groups, g.R * g.S
    weight = (kernel, depth * kernel, rows * depth * kernel)
    down = _lattices(g.padding[0], g.R, g.stride[0], g.dilation[0], g.H, g.P)
    right = _lattices(g.padding[2], g.S, g.stride[1], g.dilation[1], g.W, g.Q)
    found = []
    for y, (height, rows_of_taps) in down.items():
        for x, (width, columns) in right.items():
            taps = tuple((dy, dx, r * g.S + s) for dy, r in rows_of_taps for dx, s in columns)
            source, target, lattice = g.output_shape, g.input_shape, (height, width)
            if _is_pointwise(taps, g, g.stride):
                source, target, lattice = (g.N, g.K, 1, g.P * g.Q), (g.N, g.C, 1, g.H * g.W), (1, g.H * g.W)
            problem = Problem(g.N, g.groups, depth, rows, source[2:], lattice, (1, 1), taps, g.stride)
            found.append(Job(problem, source, target, weight, first=(y, x)))
    return found, len(found) == min(g.stride[0], g.H) * min(g.stride[1], g.W)


def _lattices(
    before: int, kernel: int, stride: int, dilation: int, size: int, windows: int
) -> dict[int, tuple[int, list[tuple[int, int]]]]:
    """Along one axis, by its first pixel, each lattice that gets anything: its length, and (offset into grad, tap).

    A tap goes to the pixels of a single lattice, so there are no more than taps, however large the stride is.
    """
    found: dict[int, tuple[int, list[tuple[int, int]]]] = {}
    for tap in range(kernel):
        first = (tap * dilation - before) % stride
        length = -(-(size - first) // stride)
        offset = (first + before - tap * dilation) // stride
        if first < size and -length < offset < windows:
            found.setdefault(first, (length, []))[1].append((offset, tap))
    return dict(sorted(found.items()))


def split(job: Job) -> list[Job]:
    """The same job as several, one for each part of the lattice that the same taps meet."""
    p = job.problem
    parts = []
    for y, height, rows in _segments(p.grid[0], p.source_step[0], p.lattice[0], p.size[0]):
        for x, width, columns in _segments(p.grid[1], p.source_step[1], p.lattice[1], p.size[1]):
            down, right = y * p.source_step[0], x * p.source_step[1]
            taps = tuple((dy + down, dx + right, t) for dy, dx, t in p.taps if dy in rows and dx in columns)
            problem = replace(p, lattice=(height, width), taps=taps, part=True)
            first = job.first[0] + y * p.target_step[0], job.first[1] + x * p.target_step[1]
            parts.append(replace(job, problem=problem, first=first, in_order=False, left_out=True))
    return parts


def _segments(offsets: Iterable[int], step: int, points: int, size: int) -> list[tuple[int, int, set[int]]]:
    """Along one axis, the first point, the number of points and the offsets of each stretch that the same ones meet."""
    met = {offset: _stretch(offset, step, points, size) for offset in offsets}
    ends = sorted({0, points, *(end for both in met.values() for end in both if 0 < end < points)})
    found = []
    for first, end in itertools.pairwise(ends):
        here = {offset for offset, (low, high) in met.items() if low <= first < high}
        # A job without taps would have nothing to say how its loops are cut.
        found.append((first, end - first, here or {min(met)}))
    return found


def split_by_taps(job: Job) -> list[Job]:
    """An adjoint for the weight as several, one for each rectangle of output pixels at which the same taps meet any.

    Taps are numbered in each as they come in ``job``, those of other rectangles left out.
    """
    p = job.problem
    rectangles: dict[tuple[int, ...], list[tuple[int, int, int]]] = {}
    for dy, dx, place in p.taps:
        down = _stretch(dy, p.source_step[0], p.lattice[0], p.size[0])
        right = _stretch(dx, p.source_step[1], p.lattice[1], p.size[1])
        if down[0] < down[1] and right[0] < right[1]:
            rectangles.setdefault((*down, *right), []).append((dy, dx, place))
    parts = []
    for (y, bottom, x, end), found in rectangles.items():
        taps = tuple((dy + y * p.source_step[0], dx + x * p.source_step[1], place) for dy, dx, place in found)
        problem = replace(p, lattice=(bottom - y, end - x), taps=taps, part=True)
        parts.append(replace(job, problem=problem, first=(y, x), left_out=True))
    return parts


def _stretch(offset: int, step: int, points: int, size: int) -> tuple[int, int]:
    """Along one axis, the first point and the end of those at which a tap with this offset meets a pixel."""
    return max(0, -(offset // step)), min(points, -((offset - size) // step))


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
