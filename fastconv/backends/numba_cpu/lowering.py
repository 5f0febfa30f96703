"""Lowering turns a geometry and a pass into jobs: each is a convolution or a weight gradient.

    forward          target = y, source = x, the taps in order
    input gradient   target = x, source = grad: a convolution again, with the weight's two channel axes exchanged.
                     Tap r contributes to pixel h of x if h + pad - r * dilation is divisible by the stride, so with
                     strides x falls into stride_h * stride_w lattices, each with taps of its own; no number is
                     multiplied by the zeros that a stride would put between the pixels of grad
    weight gradient  a product along the pixels, which lie side by side in both operands

Where the kernel covers the whole image, so that there is one output pixel, all three are products of x, w and grad as
matrices (N, CHW), (K, CHW) and (N, K). Each is one of the same jobs with the operands in other roles: the forward pass
is a product along the rows of two matrices, as a weight gradient is; the two gradients are convolutions of a single
image whose channels are the rows of a matrix. As an ordinary convolution, the input gradient would read one pixel and
HW - 1 zeros.

A kernel as high as the image meets each image row once. The job then takes rows as channels: H times as many channels
of one row each, at the same places in memory. Otherwise the input gradient would multiply each pixel by all R rows of
taps.

Taps that lie in the padding at every output pixel are left out of all three: of 3 x 3 taps around a single pixel one is
left, and so with dilation 24 on 24 pixels. But an infinite weight times padding is NaN: see infinities.py. Taps that
lie in the padding at most output pixels, as with dilation 24 on 28 pixels, can be left out at those pixels: `split`.
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
    """A job is a convolution or a weight gradient: the problem, the operands' shapes, and how it reads the weight."""

    problem: Problem
    source: Shape
    target: Shape
    weight: tuple[int, int, int] = (0, 0, 0)
    """Distances in the weight between target channels, source channels and groups, in elements."""
    in_order: bool = False
    """True if tap t of the problem is tap t of the weight, and the weight has no others."""
    along_rows: bool = False
    """True if the job is a weight gradient; ``target`` is then the shape of the forward pass's target."""
    first: Pair = (0, 0)
    """Row and column in the target of the lattice's first pixel."""
    limits: tuple[float, float] = (-math.inf, math.inf)
    """Lower and upper limit of the results: 0 and infinity make a ReLU."""
    exchanged: bool = False
    """True if the job takes the primitive's two operands in exchanged order."""
    left_out: bool = False
    """True if taps are left out where they meet no pixel; infinite weights are then not seen there."""
    columns: ConvGeometry | None = None
    """The forward convolution, if the job computes its input gradient by a column matrix (conv/column_matrix)."""
    parts: tuple[Job, ...] = ()
    """The parts of the job, a weight gradient, if it is done in parts, which share the result."""


def is_dense(g: ConvGeometry) -> bool:
    """Return True if the kernel covers the whole image, so that there is a single output pixel."""
    return (g.R, g.S) == (g.H, g.W) and g.groups == 1 and not any(g.padding) and g.dilation == (1, 1)


def live_taps(g: ConvGeometry) -> tuple[list[int], list[int]]:
    """Return the rows and the columns of the kernel that meet a pixel at any output pixel; at least one of each."""
    top, _, left, _ = g.padding
    return (
        _live_along_axis(g.R, g.dilation[0], top, g.stride[0], g.P, g.H),
        _live_along_axis(g.S, g.dilation[1], left, g.stride[1], g.Q, g.W),
    )


def _live_along_axis(kernel: int, dilation: int, before: int, stride: int, windows: int, size: int) -> list[int]:
    def meets(offset: int) -> bool:
        first = max(0, -(offset // stride))
        return first < windows and first * stride + offset < size

    # If none does, tap 0 is kept: the tiling can't cut the loops of a problem without taps.
    return [tap for tap in range(kernel) if meets(tap * dilation - before)] or [0]


def _with_rows_as_channels(g: ConvGeometry) -> ConvGeometry:
    """Return the same convolution with rows as channels, if the kernel is as high as the image, else ``g`` itself."""
    whole = g.R == g.H > 1 and g.padding[:2] == (0, 0) and g.dilation[0] == g.groups == 1
    return replace(g, C=g.C * g.H, H=1, R=1, stride=(1, g.stride[1])) if whole else g


def jobs(operation: str, g: ConvGeometry) -> tuple[list[Job], bool]:
    """Return the jobs of "conv2d", "conv2d_input" or "conv2d_weight", and True if they write all of the result."""
    if is_dense(g):
        dense = {
            "conv2d": _dense_forward,
            "conv2d_input": _dense_input_gradient,
            "conv2d_weight": _dense_weight_gradient,
        }
        return [dense[operation](g)], True
    g = _with_rows_as_channels(g)
    if operation == "conv2d_input":
        return _input_gradient(g)
    return [_forward(g) if operation == "conv2d" else _weight_gradient(g)], True


def _forward(g: ConvGeometry) -> Job:
    depth, rows, kernel = g.C // g.groups, g.K // g.groups, g.R * g.S
    problem, source, target = _correlation(g)
    weight = depth * kernel, kernel, rows * depth * kernel
    left_out = len(problem.taps) < kernel
    return Job(problem, source, target, weight, in_order=not left_out, left_out=left_out)


def _weight_gradient(g: ConvGeometry) -> Job:
    problem, source, target = _correlation(g)
    return Job(problem, source, target, along_rows=True, left_out=len(problem.taps) < g.R * g.S)


def _correlation(g: ConvGeometry) -> tuple[Problem, Shape, Shape]:
    """Return the convolution as a problem, and the shapes of its input and output."""
    top, _, left, _ = g.padding
    rows, columns = live_taps(g)
    taps = tuple((r * g.dilation[0] - top, s * g.dilation[1] - left, r * g.S + s) for r in rows for s in columns)
    source, target, lattice = g.input_shape, g.output_shape, (g.P, g.Q)
    # With a single output row, or column, the stride is never used.
    step = g.stride[0] if g.P > 1 else 1, g.stride[1] if g.Q > 1 else 1
    if _is_pointwise(taps, g, step):
        # Output pixels read only the pixel at their place, so the plane may be one row, and every vector one run.
        source, target, lattice = (g.N, g.C, 1, g.H * g.W), (g.N, g.K, 1, g.P * g.Q), (1, g.P * g.Q)
    return Problem(g.N, g.groups, g.K // g.groups, g.C // g.groups, source[2:], lattice, step, taps), source, target


def _is_pointwise(taps: Iterable[tuple[int, int, int]], g: ConvGeometry, step: Pair) -> bool:
    """Return True if every output pixel is computed from the input pixel at its own place alone."""
    return {tap[:2] for tap in taps} == {(0, 0)} and step == (1, 1) and (g.P, g.Q) == (g.H, g.W)


def _input_gradient(g: ConvGeometry) -> tuple[list[Job], bool]:
    """Return a job for each lattice that any tap contributes to, and True if these are all lattices."""
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
            problem = Problem(g.N, g.groups, depth, rows, source[2:], lattice, (1, 1), taps, g.stride, backward=True)
            found.append(Job(problem, source, target, weight, first=(y, x)))
    return found, len(found) == min(g.stride[0], g.H) * min(g.stride[1], g.W)


def _lattices(
    before: int, kernel: int, stride: int, dilation: int, size: int, windows: int
) -> dict[int, tuple[int, list[tuple[int, int]]]]:
    """Return the lattices along one axis that taps contribute to, by first pixel.

    A lattice is its length and a list of (offset into grad, tap). A tap contributes to the pixels of one lattice, so
    there are at most as many lattices as taps, at any stride.
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
    """Return the job as several jobs, one for each part of the lattice where the same taps meet the image."""
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
    """Return the stretches of points along one axis where the same offsets meet the image: first, length, offsets."""
    met = {offset: _stretch(offset, step, points, size) for offset in offsets}
    ends = sorted({0, points, *(end for both in met.values() for end in both if 0 < end < points)})
    found = []
    for first, end in itertools.pairwise(ends):
        here = {offset for offset, (low, high) in met.items() if low <= first < high}
        # The tiling can't cut the loops of a job without taps.
        found.append((first, end - first, here or {min(met)}))
    return found


def split_by_taps(job: Job) -> list[Job]:
    """Return a weight gradient as several jobs, one for each rectangle of output pixels that the same taps belong to.

    The rectangle of a tap holds the output pixels where the tap meets the image. Taps keep their numbers in ``job``.
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
    """Return the first point along one axis where a tap with this offset meets a pixel, and the one after the last."""
    return max(0, -(offset // step)), min(points, -((offset - size) // step))


def _dense_forward(g: ConvGeometry) -> Job:
    """Return the job of y[n, k] = x[n] * w[k], a product along the rows of x and w.

    A single image is a convolution of one pixel: dot products, for which nothing is transposed.
    """
    features = g.C * g.H * g.W
    if g.N == 1:
        return _forward(replace(g, C=features, H=1, W=1, R=1, S=1, stride=(1, 1)))
    problem = Problem(1, 1, g.N, g.K, (1, features), (1, features), (1, 1), _ONE_TAP)
    return Job(problem, (1, g.K, 1, features), (1, g.N, 1, features), along_rows=True, exchanged=True)


def _dense_input_gradient(g: ConvGeometry) -> Job:
    """Return the job of grad_x = grad w: w is one image of K channels, and grad the weight."""
    features = g.C * g.H * g.W
    problem = Problem(1, 1, g.N, g.K, (1, features), (1, features), (1, 1), _ONE_TAP)
    return Job(problem, (1, g.K, 1, features), (1, g.N, 1, features), (g.K, 1, 0), in_order=True, exchanged=True)


def _dense_weight_gradient(g: ConvGeometry) -> Job:
    """Return the job of grad_w = grad' x: x is one image of N channels, and grad' the weight."""
    features = g.C * g.H * g.W
    problem = Problem(1, 1, g.K, g.N, (1, features), (1, features), (1, 1), _ONE_TAP)
    return Job(problem, (1, g.N, 1, features), (1, g.K, 1, features), (1, g.K, 0))
