"""The backend `numba`: the contract's primitives, each as a plan made once and run many times."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, ClassVar

import numpy as np

from fastconv.backends.base import Backend, Geometry
from fastconv.backends.columns import scatter
from fastconv.backends.explanation import Explanation
from fastconv.backends.numba_cpu import average_pooling, buffers, instruction_set, max_pooling, planner, plans
from fastconv.backends.numba_cpu.instruction_set import InstructionSet
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.quiet import QUIET
from fastconv.errors import UnknownBackendError
from fastconv.geometry import ConvGeometry, PoolGeometry
from fastconv.threads import get_num_threads

_LINE = 4096


def _contiguous(array: np.ndarray) -> np.ndarray:
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


class NumbaCpu(Backend):
    """Vectors, tiles and threads; ``instructions`` are the processor's best by default."""

    summary: ClassVar[str] = "vector kernels on all cores, written in Python (Numba)"

    def __init__(
        self, name: str = "numba", instructions: InstructionSet | None = None, algorithm: str | None = None
    ) -> None:
        if algorithm is not None and algorithm not in planner.ALGORITHMS:
            known = ", ".join(map(repr, planner.ALGORITHMS))
            raise UnknownBackendError(f"backend {name!r}: its algorithms are {known}, and {algorithm!r} is none")
        self.name = name
        self.algorithm = algorithm
        self._instructions = instructions
        # A geometry's plan is found by the geometry, which the API keeps, in half a microsecond.
        self._forward = lru_cache(maxsize=512)(self._plan_forward)
        self._input_adjoint = lru_cache(maxsize=512)(self._plan_input_adjoint)
        self._weight_adjoint = lru_cache(maxsize=512)(self._plan_weight_adjoint)

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
        simd, weight = self._simd(np.dtype(str(dtype).removeprefix("torch."))), operation == "conv2d_weight"
        problems = [job.problem for job in _jobs(operation, geometry)]
        if all(planner.choose(simd, problem, self.algorithm, weight=weight) for problem in problems):
            return None
        return f"one row of the image takes more memory than the algorithm {self.algorithm!r} may use"

    def explain(self, operation: str, geometry: Geometry, dtype: Any) -> Explanation:
        if not isinstance(geometry, ConvGeometry):
            return super().explain(operation, geometry, dtype)
        return explain(self._simd(np.dtype(dtype)), operation, geometry, self.algorithm, get_num_threads())

    def _plan_forward(self, dtype: np.dtype, geometry: ConvGeometry) -> plans.Convolution:
        return plans.forward(self._simd(dtype), geometry, self.algorithm)

    def _plan_input_adjoint(
        self, dtype: np.dtype, geometry: ConvGeometry
    ) -> tuple[tuple[plans.Convolution, ...], bool]:
        return plans.input_adjoint(self._simd(dtype), geometry, self.algorithm)

    def _plan_weight_adjoint(self, dtype: np.dtype, geometry: ConvGeometry) -> plans.WeightAdjoint:
        return plans.weight_adjoint(self._simd(dtype), geometry, self.algorithm)

    def conv2d(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        y = buffers.empty(g.output_shape, x.dtype)
        if y.size:
            bias = None if b is None else _contiguous(b)
            self._forward(x.dtype, g).run(_contiguous(x), _contiguous(w), bias, y)
        return y

    def conv2d_input(self, grad: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        x = buffers.empty(g.input_shape, grad.dtype)
        if not grad.size or not x.size:
            x.fill(0)
            return x
        products, complete = self._input_adjoint(grad.dtype, g)
        if not complete:
            x.fill(0)
        grad, w = _contiguous(grad), _contiguous(w)
        finite = [product.run(grad, w, None, x) for product in products]
        return x if all(finite) else _input_adjoint_of_infinities(grad, w, g)

    def conv2d_weight(self, x: np.ndarray, grad: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        w = buffers.empty(g.weight_shape, x.dtype)
        if not x.size:
            w.fill(0)
        elif w.size:
            self._weight_adjoint(x.dtype, g).run(_contiguous(x), _contiguous(grad), w)
        return w

    def max_pool2d(self, x: np.ndarray, geometry: PoolGeometry) -> tuple[np.ndarray, np.ndarray]:
        return max_pooling.max_pool2d(self._simd(x.dtype), x, geometry, get_num_threads())

    def max_pool2d_values(self, x: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
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


def _jobs(operation: str, g: ConvGeometry) -> list[plans.Job]:
    return plans.input_adjoint_jobs(g)[0] if operation == "conv2d_input" else [plans.forward_job(g)]


def explain(simd: Simd, operation: str, g: ConvGeometry, algorithm: str | None, threads: int) -> Explanation:
    """What a convolution or an adjoint comes to, and what each candidate would cost."""
    weight = operation == "conv2d_weight"
    lines = []
    chosen, total = [], 0.0
    jobs = _jobs(operation, g)
    for number, job in enumerate(jobs, 1):
        problem = job.problem
        if len(jobs) > 1:
            rows, columns = problem.lattice
            lines.append(f"  lattice {number} of {len(jobs)}: {rows} x {columns} pixels, {len(problem.taps)} taps")
        best = planner.choose(simd, problem, algorithm, weight=weight)
        for candidate in planner.candidates(simd, problem, weight=weight):
            time = planner.seconds(simd, candidate, threads)
            mark = "*" if candidate == best else " "
            lines.append(
                f"  {mark} {candidate.algorithm:7} {1e3 * time:8.3f} ms  {planner.describe(candidate, problem)}"
            )
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
