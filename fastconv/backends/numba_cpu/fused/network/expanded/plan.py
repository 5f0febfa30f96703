"""This plan is the job of an expanded depthwise convolution."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fastconv.backends.block import Block
from fastconv.backends.network import Convolved, Outline
from fastconv.backends.numba_cpu.conv.depthwise.plan import DepthwiseConvolution
from fastconv.backends.numba_cpu.conv.matmul import kernel
from fastconv.backends.numba_cpu.conv.matmul.plan import MatrixConvolution
from fastconv.backends.numba_cpu.conv.matmul.tiling import MatrixTiling
from fastconv.backends.numba_cpu.fused import post_op
from fastconv.backends.numba_cpu.fused.convolving import Planner, convolving
from fastconv.backends.numba_cpu.fused.formulas.activations import ACTIVATIONS
from fastconv.backends.numba_cpu.fused.network.expanded import tasks
from fastconv.backends.numba_cpu.fused.network.expanded.arguments import ExpandedArguments
from fastconv.backends.numba_cpu.fused.network.expanded.tiling import COST, strip_tiling
from fastconv.backends.numba_cpu.gemm.arguments import NO_LIMITS, limits_of
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.program import Operation, Place, ProgramBuilder, Step, Workspace
from fastconv.backends.numba_cpu.simd import Simd

_OPERANDS = ExpandedArguments.positions("images", "expansion", "expansion_bias", "weight", "bias", "target")
_WORKSPACE = ExpandedArguments.positions("workspace")[0]

_LINE = 64


class ExpandedConvolution(Operation):
    """This plan makes rows of an expanded image, and convolves their channels one by one.

    It is recorded with the places of the images (N, C, H, W), the expansion's weight (E, C, 1, 1) and bias (E,), the
    depthwise convolution's weight (E, 1, R, S) and bias (E,), and the result (N, E, P, Q); a bias may be None.
    """

    def __init__(
        self, simd: Simd, expansion: Block, depthwise: DepthwiseConvolution, block: Block, cut: MatrixTiling
    ) -> None:
        """Make the plan of two blocks, with the plan of the second one and the tile of the first one's product."""
        super().__init__()
        e, g, lanes, size = expansion.geometry, block.geometry, simd.lanes, simd.itemsize
        strips = strip_tiling(simd, g, e.C, cut.tile_rows)
        # An odd number of vectors, so that channels are in all of a cache's sets.
        pitch = (-(-strips.source_rows * g.W // lanes) | 1) * lanes
        before = -(-depthwise.thread_bytes // _LINE) * _LINE
        self._depthwise = depthwise
        self._flops = e.flops + g.flops
        self._kernels = _kernels(simd, cut, e.K)
        self._thread_bytes = before + cut.tile_rows * pitch * size
        limits, function = _activation(simd, expansion)
        self.args = ExpandedArguments.new(**{name: depthwise.args[name][0] for name in depthwise.arguments.words})
        values = strips.fields | {
            "image_channels": e.C,
            "tile_rows": cut.tile_rows,
            "tile_vectors": cut.tile_vectors,
            "expansion_limits": limits_of(simd, limits).ctypes.data + 2 * size,
            "expansion_activation": function(),
            "expanding": self._kernels.ctypes.data,
            "expanded": before,
            "pitch": pitch,
            "thread_bytes": self._thread_bytes,
        }
        for name, value in values.items():
            self.args[name] = value
        self._step = tasks.convolve(simd), g.N * strips.blocks * strips.panel_blocks

    @property
    def nbytes(self) -> int:
        return int(self.args.nbytes + self._kernels.nbytes + self._depthwise.nbytes)

    def emit(self, program: ProgramBuilder, *places: Place | None, watch: bool = True) -> None:
        threads = workers.threads_for(self._flops)
        workspace = Workspace(threads * self._thread_bytes, ((_WORKSPACE, 0),))
        operands = zip(_OPERANDS, places, strict=True)
        program.add(self.args, operands, [Step(*self._step, threads)], workspace)


def _expanded_convolution(planner: Planner, simd: Simd, expansion: Block, block: Block) -> ExpandedConvolution | None:
    """Return the plan of a depthwise convolution's ``block`` and the expansion that it reads, or None without one."""
    if planner.algorithm is not None:
        return None
    ready = convolving(planner, simd, block, None, kept=True, activates=True)
    if not isinstance(ready.plan, DepthwiseConvolution) or ready.follows:
        return None
    (_,), (job,), _ = planner.plans("conv2d", simd, expansion.geometry)
    cut = MatrixConvolution.tiling(simd, replace(job.problem, images=1))
    if cut is None or cut.piece != 0 or cut.steps < expansion.geometry.C:
        return None
    return ExpandedConvolution(simd, expansion, ready.plan, block, cut)


def expanded_convolutions(
    outline: Outline, planner: Planner, simd: Simd
) -> dict[int, tuple[ExpandedConvolution, Convolved]]:
    """Return the plans of the depthwise convolutions in an outline whose source is an expansion, with that expansion.

    Nothing else reads the expansion, and it is large: smaller ones stay in the cores' caches between two jobs.
    """
    given, found = outline.given, {}
    readers = Counter([source for operation in outline.operations for source in operation.sources])
    for number, operation in enumerate(outline.operations, given):
        if not isinstance(operation, Convolved) or operation.source < given or not _is_depthwise(operation):
            continue
        expansion = outline.operations[operation.source - given]
        alone = readers[operation.source] == 1 and operation.source not in outline.results
        large = math.prod(outline.shapes[operation.source][1:]) * simd.itemsize > COST.expanded_bytes
        if alone and large and isinstance(expansion, Convolved) and _expands(expansion):
            plan = _expanded_convolution(planner, simd, expansion.block, operation.block)
            if plan is not None:
                found[number] = plan, expansion
    return found


def _expands(operation: Convolved) -> bool:
    g, block = operation.block.geometry, operation.block
    plain = (g.R, g.S, g.groups, g.stride, g.padding) == (1, 1, 1, (1, 1), (0, 0, 0, 0))
    return plain and block.pool is None and operation.residual is None


def _is_depthwise(operation: Convolved) -> bool:
    g, block = operation.block.geometry, operation.block
    return g.groups == g.C == g.K > 1 and block.pool is None and operation.residual is None


def _activation(simd: Simd, block: Block) -> tuple[tuple[float, float], Callable[[], int]]:
    """Return the limits of a block's results, and what gives the address of its activation, 0 for limits alone."""
    name = block.activation
    if name is None:
        return NO_LIMITS, lambda: 0
    limits = ACTIVATIONS[name].limits
    return (NO_LIMITS, lambda: post_op.in_place(simd, name)) if limits is None else (limits, lambda: 0)


def _kernels(simd: Simd, cut: MatrixTiling, rows: int) -> np.ndarray:
    """Return the addresses that the argument ``expanding`` is for."""
    heights = cut.tile_rows, rows % cut.tile_rows or cut.tile_rows
    widths = (cut.tile_vectors, True), *[(vectors, False) for vectors in range(1, cut.tile_vectors + 1)]
    return np.array([kernel.kernel(simd, height, *width) for height in heights for width in widths], np.int64)
