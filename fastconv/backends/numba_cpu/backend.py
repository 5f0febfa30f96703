"""The backend `numba`: the contract's primitives, each as a plan made once and run many times."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any, ClassVar

import numpy as np

from fastconv.backends.base import Backend, Geometry
from fastconv.backends.block import Activation, Block, Pooling, activate
from fastconv.backends.chain import Chain, Gradients, Operands
from fastconv.backends.columns import scatter
from fastconv.backends.explanation import Explanation
from fastconv.backends.kept import Kept
from fastconv.backends.numba_cpu import (
    activations,
    average_pooling,
    buffers,
    channel_sums,
    instruction_set,
    integer_pooling,
    max_pooling,
    planner,
)
from fastconv.backends.numba_cpu.chain import NumbaChain
from fastconv.backends.numba_cpu.instruction_set import InstructionSet
from fastconv.backends.numba_cpu.jobs import Job, is_dense, jobs
from fastconv.backends.numba_cpu.left_out import add_padding, add_padding_to_weight, spread_taps
from fastconv.backends.numba_cpu.memory import address
from fastconv.backends.numba_cpu.plans import plan
from fastconv.backends.numba_cpu.routes import chosen_jobs
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tap_parts import explain_parts
from fastconv.backends.quiet import QUIET
from fastconv.errors import UnknownBackendError
from fastconv.geometry import ConvGeometry, PoolGeometry
from fastconv.threads import get_num_threads

_LINE = 4096

PLANS_BYTES = 256 << 20
"""Size limit of all plans that a backend keeps, in bytes: those of ResNet-50's training step are 4 MB an image size."""

_WITH_RELU = "_relu"
"""Marks the plans of a convolution whose results are raised to 0."""

_PARTS = {
    "conv2d_activated": ("conv2d",),
    "conv2d_block": ("conv2d",),
    "conv2d_block_backward": ("conv2d_input", "conv2d_weight"),
}
"""The convolution and its adjoints in other operations."""

_COMMON_CONVOLUTIONS = [
    ConvGeometry(images, C, size, size, K, kernel, kernel, (stride, stride), (kernel // 2,) * 4, groups=groups)
    for images in (1, 32, 100)
    for C, K, size, groups in (
        *((1, 32, 28, 1), (3, 64, 224, 1), (6, 16, 14, 1), (32, 64, 14, 1), (64, 64, 56, 1), (128, 128, 28, 1)),
        *((256, 256, 14, 1), (512, 512, 7, 1), (64, 256, 56, 1), (96, 96, 28, 96)),
    )
    for kernel, stride in ((1, 1), (3, 1), (3, 2), (5, 1), (7, 2))
]
_COMMON_POOLINGS = [
    PoolGeometry(1, 8, size, size, kernel, kernel, (stride, stride), (padding, padding))
    for size, kernel, stride, padding in ((28, 2, 2, 0), (28, 3, 2, 1), (28, 3, 1, 1), (7, 7, 7, 0))
]
_COMMON_BLOCKS: list[tuple[Activation, Pooling]] = [("relu", "max"), ("tanh", "avg")]
"""What is compiled ahead of time: layers of the networks that people train first."""


def _contiguous(array: np.ndarray) -> np.ndarray:
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _bytes_of(made: tuple[list[Any], list[Job], bool]) -> int:
    return sum(each.nbytes for each in made[0])


def _address_of(array: np.ndarray | None) -> int:
    return 0 if array is None else address(array)


class NumbaCpu(Backend):
    """Vectors, tiles and threads; ``instructions`` are the processor's best by default."""

    summary: ClassVar[str] = "vector kernels on all cores, written in Python (Numba)"
    options: ClassVar[tuple[str, ...]] = planner.ALGORITHMS

    def __init__(
        self, name: str = "numba", instructions: InstructionSet | None = None, algorithm: str | None = None
    ) -> None:
        if algorithm is not None and algorithm not in planner.ALGORITHMS:
            known = ", ".join(map(repr, planner.ALGORITHMS))
            raise UnknownBackendError(f"backend {name!r}: its algorithms are {known}, and {algorithm!r} is none")
        self.name = name
        self.algorithm = algorithm
        self._instructions = instructions
        # A geometry's plans are found by the geometry, which the API keeps, in half a microsecond.
        self._plans = Kept(self._make_plans, _bytes_of, PLANS_BYTES)
        self._single = lru_cache(maxsize=4096)(self._make_single)

    @property
    def instructions(self) -> InstructionSet:
        """What the kernels are written for."""
        if self._instructions is None:
            self._instructions = instruction_set.chosen()
        return self._instructions

    def unavailable(self) -> str | None:
        try:
            instruction_set.chosen()
        except ValueError as error:
            return str(error)
        return None

    def _simd(self, dtype: np.dtype) -> Simd:
        return _simd(self.instructions, dtype)

    def variant(self, option: str) -> NumbaCpu:
        return NumbaCpu(f"{self.name}:{option}", self._instructions, algorithm=option)

    def refuses(self, operation: str, geometry: Geometry | None, dtype: Any) -> str | None:
        if self.algorithm is None or not isinstance(geometry, ConvGeometry) or not operation.startswith("conv2d"):
            return None
        if 0 in (*geometry.input_shape, *geometry.output_shape):
            return None
        simd = self._simd(np.dtype(str(dtype).removeprefix("torch.")))
        parts = _PARTS.get(operation, (operation,))
        found = [job for part in parts for job in jobs(part, geometry)[0]]
        if all(planner.choose(simd, job.problem, self.algorithm, weight=job.along_rows) for job in found):
            return None
        return f"the algorithm {self.algorithm!r} is for {planner.LIMITS[self.algorithm]}"

    def explain(self, operation: str, geometry: Geometry, dtype: Any) -> Explanation:
        if not isinstance(geometry, ConvGeometry):
            return super().explain(operation, geometry, dtype)
        return explain(self._simd(np.dtype(dtype)), operation, geometry, self.algorithm, get_num_threads())

    def _make_plans(self, operation: str, dtype: np.dtype, geometry: ConvGeometry) -> tuple[list[Any], list[Job], bool]:
        simd = self._simd(dtype)
        found, complete = chosen_jobs(simd, operation.removesuffix(_WITH_RELU), geometry, self.algorithm)
        if operation.endswith(_WITH_RELU):
            found = [replace(job, floor=0.0) for job in found]
        return [plan(simd, job, self.algorithm) for job in found], found, complete

    def warmup(self) -> None:
        for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
            # Making a plan compiles its micro-kernel; one that is run, what all of them share.
            for conv in _COMMON_CONVOLUTIONS:
                for operation in ("conv2d", "conv2d_input", "conv2d_weight"):
                    self._make_plans(operation, dtype, conv)
            conv = ConvGeometry(1, 1, 3, 3, 1, 2, 2)
            x, w = np.ones(conv.input_shape, dtype), np.ones(conv.weight_shape, dtype)
            self.conv2d_weight(x, self.conv2d(x, w, None, conv), conv)
            self.conv2d_input(w, w, conv)
            for pool in _COMMON_POOLINGS:
                x = np.ones(pool.input_shape, dtype)
                values, indices = self.max_pool2d(x, pool)
                self.max_pool2d_values(x, pool)
                self.max_pool2d_backward(values, indices, (pool.H, pool.W))
                self.avg_pool2d_backward(self.avg_pool2d(x, pool), pool)
            for activation, pooling in _COMMON_BLOCKS:
                block = ConvGeometry(1, 1, 5, 5, 1, 2, 2)
                x, w = np.ones(block.input_shape, dtype), np.ones(block.weight_shape, dtype)
                result, kept = self.conv2d_block(x, w, None, block, activation, pooling)
                wanted = True, True, True
                self.conv2d_block_backward(result, x, w, result, kept, block, activation, pooling, wanted)

    def conv2d(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, geometry: ConvGeometry) -> np.ndarray:
        return self.convolve(x, w, b, geometry, None, buffers.empty(geometry.output_shape, x.dtype))

    def conv2d_activated(
        self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, geometry: ConvGeometry, activation: Activation
    ) -> np.ndarray:
        return self.convolve(x, w, b, geometry, activation, buffers.empty(geometry.output_shape, x.dtype))

    def convolve(
        self,
        x: np.ndarray,
        w: np.ndarray,
        b: np.ndarray | None,
        geometry: ConvGeometry,
        activation: Activation | None,
        y: np.ndarray,
    ) -> np.ndarray:
        """`conv2d`, and an activation, into ``y``, C-contiguous."""
        if not y.size:
            return y
        relu = activation == "relu"
        found, jobs_done, _ = self._plans("conv2d" + _WITH_RELU if relu else "conv2d", x.dtype, geometry)
        x, w = _contiguous(x), _contiguous(w)
        if not jobs_done[0].exchanged:
            b = None if b is None else _contiguous(b)
            for each in found:
                each.run(x, w, b, y)
            if jobs_done[0].left_out:
                add_padding(self._simd(y.dtype), y, w, geometry)
        else:
            found[0].run(w, x, y)
            if b is not None:
                with np.errstate(all="ignore"):
                    y += b[:, None, None]
            if relu:
                activate(y, "relu")
        if activation == "tanh":
            activations.tanh(self._simd(y.dtype), y)
        return y

    def activation_backward(self, grad: np.ndarray, y: np.ndarray, activation: Activation) -> np.ndarray:
        target = buffers.empty(y.shape, y.dtype)
        return activations.gradient(self._simd(y.dtype), activation, _contiguous(grad), _contiguous(y), target)

    def plans(self, operation: str, simd: Simd, geometry: ConvGeometry) -> tuple[list[Any], list[Job], bool]:
        """As `blocks.Planner` has it."""
        return self._plans(operation, np.dtype(simd.dtype), geometry)

    def chain(self, blocks: tuple[Block, ...], dtype: np.dtype[Any]) -> Chain | None:
        shapes = [shape for block in blocks for shape in (block.geometry.input_shape, block.result_shape)]
        if any(0 in shape for shape in shapes) or any(self._leaves_out(dtype, block.geometry) for block in blocks):
            return None
        for block in blocks:
            if any(self.refuses(part, block.geometry, dtype) for part in ("conv2d_block", "conv2d_block_backward")):
                return None
        return NumbaChain(self, self._simd(dtype), blocks, self)

    def _leaves_out(self, dtype: np.dtype[Any], geometry: ConvGeometry) -> bool:
        """Whether taps are left out, which blocks' programs know nothing of."""
        simd, operations = self._simd(dtype), ("conv2d", "conv2d_weight")
        return any(chosen_jobs(simd, each, geometry, self.algorithm)[0][0].left_out for each in operations)

    def _make_single(
        self, dtype: np.dtype[Any], geometry: ConvGeometry, activation: Activation | None, pool: Pooling | None
    ) -> Chain | None:
        """None where the block is done by primitives, which see to taps that are left out."""
        if 0 not in geometry.output_shape and self._leaves_out(dtype, geometry):
            return None
        return NumbaChain(self, self._simd(dtype), (Block(geometry, activation, pool),), self)

    def conv2d_block(
        self,
        x: np.ndarray,
        w: np.ndarray,
        b: np.ndarray | None,
        geometry: ConvGeometry,
        activation: Activation | None,
        pool: Pooling | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        block = self._single(x.dtype, geometry, activation, pool)
        if block is None:
            return super().conv2d_block(x, w, b, geometry, activation, pool)
        (only,) = block.blocks
        result = buffers.empty(only.result_shape, x.dtype)
        kept = buffers.empty(*only.kept(x.dtype))
        if result.size:
            x, w, b = _contiguous(x), _contiguous(w), None if b is None else _contiguous(b)
            block.forward(Operands(address(x), (address(w), _address_of(b)), address(result), address(kept)))
        return result, kept

    def conv2d_block_backward(
        self,
        grad: np.ndarray,
        x: np.ndarray,
        w: np.ndarray,
        result: np.ndarray,
        kept: np.ndarray,
        geometry: ConvGeometry,
        activation: Activation | None,
        pool: Pooling | None,
        wanted: tuple[bool, bool, bool],
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        shapes = geometry.input_shape, geometry.weight_shape, (geometry.K,)
        if not grad.size or not x.size:
            # No pixel, so no sum has a term.
            zeros = [np.zeros(shape, x.dtype) if want else None for shape, want in zip(shapes, wanted, strict=True)]
            return zeros[0], zeros[1], zeros[2]
        block = self._single(x.dtype, geometry, activation, pool)
        if block is None:
            return super().conv2d_block_backward(grad, x, w, result, kept, geometry, activation, pool, wanted)
        grad, x, w, result, kept = [_contiguous(array) for array in (grad, x, w, result, kept)]
        for_x, for_w, for_b = [
            buffers.empty(shape, x.dtype) if want else None for shape, want in zip(shapes, wanted, strict=True)
        ]
        operands = Operands(address(x), (address(w), 0), address(result), address(kept))
        parameters = _address_of(for_w), _address_of(for_b)
        block.backward(operands, Gradients(address(grad), _address_of(for_x), parameters))
        return for_x, for_w, for_b

    def conv2d_input(self, grad: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        return self.adjoint_for_input(grad, w, geometry, buffers.empty(geometry.input_shape, grad.dtype))

    def adjoint_for_input(self, grad: np.ndarray, w: np.ndarray, geometry: ConvGeometry, x: np.ndarray) -> np.ndarray:
        """`conv2d_input` into ``x``, C-contiguous."""
        if not grad.size or not x.size:
            x.fill(0)
            return x
        found, jobs_done, complete = self._plans("conv2d_input", grad.dtype, geometry)
        if not complete:
            x.fill(0)
        grad, w = _contiguous(grad), _contiguous(w)
        if jobs_done and jobs_done[0].exchanged:
            found[0].run(w, grad, None, x)
            return x
        finite = [each.run(grad, w, None, x) for each in found]
        if not all(finite):
            x[...] = _input_adjoint_of_infinities(grad, w, geometry)
        return x

    def conv2d_weight(self, x: np.ndarray, grad: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        w = buffers.empty(geometry.weight_shape, x.dtype)
        if not x.size:
            w.fill(0)
        elif w.size:
            (only,), (job,), _ = self._plans("conv2d_weight", x.dtype, geometry)
            x, grad = _contiguous(x), _contiguous(grad)
            if job.parts:
                only.run(x, grad, w)
            elif job.left_out:
                taps = buffers.empty((*w.shape[:2], only.numbers // math.prod(w.shape[:2])), x.dtype)
                only.run(x, grad, taps)
                spread_taps(taps, w, geometry)
            elif job.along_rows:
                only.run(x, grad, w)
            else:
                only.run(x, grad, None, w)
            if job.left_out:
                add_padding_to_weight(self._simd(x.dtype), w, grad, geometry)
        return w

    def channel_sum(self, grad: np.ndarray) -> np.ndarray:
        if grad.shape[2] * grad.shape[3] < channel_sums.SHORT:
            return super().channel_sum(grad)
        return channel_sums.channel_sum(self._simd(grad.dtype), _contiguous(grad))

    def max_pool2d(self, x: np.ndarray, geometry: PoolGeometry) -> tuple[np.ndarray, np.ndarray]:
        if x.dtype.kind != "f":
            return integer_pooling.max_pool2d(x, geometry)
        return max_pooling.max_pool2d(self._simd(x.dtype), x, geometry, get_num_threads())

    def max_pool2d_values(self, x: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        if x.dtype.kind != "f":
            return integer_pooling.max_pool2d(x, geometry)[0]
        return max_pooling.max_pool2d_values(self._simd(x.dtype), x, geometry, get_num_threads())

    def max_pool2d_backward(self, grad: np.ndarray, indices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        simd = self._simd(grad.dtype)
        return max_pooling.max_pool2d_backward(simd, grad, indices, size, get_num_threads())

    def avg_pool2d(self, x: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        return average_pooling.avg_pool2d(self._simd(x.dtype), x, geometry, get_num_threads())

    def avg_pool2d_backward(self, grad: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        simd = self._simd(grad.dtype)
        return average_pooling.avg_pool2d_backward(simd, grad, geometry, get_num_threads())


@cache
def _simd(instructions: InstructionSet, dtype: np.dtype) -> Simd:
    return Simd(instructions, dtype.name)


def explain(simd: Simd, operation: str, g: ConvGeometry, algorithm: str | None, threads: int) -> Explanation:
    """What a convolution or an adjoint comes to, and what each candidate would cost."""
    lines = []
    chosen, total = [], 0.0
    found, _ = chosen_jobs(simd, operation, g, algorithm)
    for number, job in enumerate(found, 1):
        problem, weight = job.problem, job.along_rows
        if len(found) > 1:
            rows, columns = problem.lattice
            lines.append(f"  lattice {number} of {len(found)}: {rows} x {columns} pixels, {len(problem.taps)} taps")
        if job.exchanged or is_dense(g):
            lines.append("  one output pixel: a product of matrices")
        if job.columns is not None:
            lines.append("  a product that makes the column matrix, which is then added up")
        if job.parts:
            time, described = explain_parts(simd, job, threads)
            lines += described
            chosen.append("gemm")
            total += time
            continue
        best = planner.choose(simd, problem, algorithm, weight=weight)
        for candidate in planner.candidates(simd, problem, weight=weight):
            time = planner.seconds(simd, candidate, threads)
            mark = "*" if candidate == best else " "
            lines.append(f"  {mark} {candidate.algorithm:7} {1e3 * time:8.3f} ms  {planner.describe(candidate)}")
            if candidate == best:
                chosen.append(candidate.algorithm)
                total += time
    names = " and ".join(dict.fromkeys(chosen)) or "nothing to compute"
    peak = 2 * simd.lanes * planner.vectors_a_second(simd)
    itemsize = simd.itemsize
    head = (
        f"{operation}, {simd.dtype}, {simd.instructions.name}: {names}, {1e3 * total:.3f} ms predicted "
        f"on {threads} threads",
        f"  {g.flops / 1e9:.3g} GFLOP, {1e3 * g.flops / peak / threads:.3f} ms at the micro-kernel's "
        f"{peak / 1e9:.0f} GFLOP/s a thread; {g.bytes(itemsize) / 1e6:.3g} MB to move at least",
    )
    return Explanation(names, total, "\n".join([*head, *lines]))


@QUIET
def _input_adjoint_of_infinities(grad: np.ndarray, w: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """The adjoint for the input, tap by tap: as a convolution, an infinite weight would meet zeros beyond grad's edges.

    So few pixels at a time that the columns stay within some megabytes.
    """
    x = np.zeros(g.input_shape, grad.dtype)
    turned = w.reshape(g.groups, g.K // g.groups, -1).transpose(0, 2, 1)
    for n in range(g.N):
        for p in range(g.P):
            for q in range(0, g.Q, _LINE):
                pixels = grad[n, :, p : p + 1, q : q + _LINE]
                columns = turned @ pixels.reshape(g.groups, g.K // g.groups, -1)
                scatter(x[n], columns.reshape(g.C, g.R, g.S, *pixels.shape[1:]), g, (p, q))
    return x
