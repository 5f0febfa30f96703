"""The backend `numba` computes each primitive of the contract by a plan, which is made once and run many times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

import numpy as np

from fastconv import known
from fastconv.backends.base import Geometry
from fastconv.backends.batch_norm import BatchNorm
from fastconv.backends.block import Activation, Block
from fastconv.backends.chain import Chain
from fastconv.backends.compiler import kernels
from fastconv.backends.explanation import Explanation
from fastconv.backends.kept import Kept
from fastconv.backends.network import HeldTensors, Network, Normed, Outline
from fastconv.backends.numba_cpu import planner
from fastconv.backends.numba_cpu.algorithms import ALGORITHMS, NAMES
from fastconv.backends.numba_cpu.calls import short, table
from fastconv.backends.numba_cpu.calls.planned import PlannedConvolution
from fastconv.backends.numba_cpu.explaining import explain
from fastconv.backends.numba_cpu.fused.batch_norm.plan import NumbaBatchNorm
from fastconv.backends.numba_cpu.fused.bias_grad import bias_gradient
from fastconv.backends.numba_cpu.fused.chain import NumbaChain
from fastconv.backends.numba_cpu.fused.formulas.activations import ACTIVATIONS
from fastconv.backends.numba_cpu.fused.network.plan import NumbaNetwork, computes
from fastconv.backends.numba_cpu.fused.network.training.gradients import is_differentiable
from fastconv.backends.numba_cpu.fused.network.training.plan import NumbaTrainableNetwork
from fastconv.backends.numba_cpu.infinities import (
    add_padding,
    add_padding_to_weight,
    input_gradient_of_infinities,
    spread_taps,
)
from fastconv.backends.numba_cpu.lowering import Job, jobs
from fastconv.backends.numba_cpu.pooling.primitives import Poolings
from fastconv.backends.numba_cpu.pooling.windows.state import AVERAGES, PLACES, VALUES
from fastconv.backends.numba_cpu.routes import chosen_jobs
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.simd import Simd, instruction_set
from fastconv.backends.numba_cpu.simd.instruction_set import InstructionSet
from fastconv.backends.numba_cpu.warmup import warm
from fastconv.backends.planned import Planned
from fastconv.backends.short import Short
from fastconv.backends.trainable import TrainableNetwork
from fastconv.errors import UnknownBackendError
from fastconv.geometry import ConvGeometry, PoolGeometry
from fastconv.threads import get_num_threads

PLANS_BYTES = 256 << 20
"""Size limit of all plans that a backend keeps, in bytes. The plans of ResNet-50's training step take 4 MB for each
image size."""


def _contiguous(array: np.ndarray) -> np.ndarray:
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _bytes_of(made: tuple[list[Any], list[Job], bool]) -> int:
    return sum(each.nbytes for each in made[0])


class NumbaCpu(Poolings):
    """This backend runs vector kernels on all threads; ``instructions`` are by default the best of the processor."""

    summary: ClassVar[str] = "vector kernels on all cores, written in Python (Numba)"
    options: ClassVar[tuple[str, ...]] = tuple(NAMES)

    def __init__(
        self, name: str = "numba", instructions: InstructionSet | None = None, algorithm: str | None = None
    ) -> None:
        if algorithm is not None and algorithm not in NAMES:
            known = ", ".join(map(repr, NAMES))
            raise UnknownBackendError(f"backend {name!r}: its algorithms are {known}, and {algorithm!r} is none")
        self.name = name
        self.algorithm = algorithm
        self._instructions = instructions
        # The API keeps geometries, and to find the plans of one takes half a microsecond.
        self._plans = Kept(self._make_plans, _bytes_of, PLANS_BYTES)

    def __reduce__(self) -> tuple[Any, ...]:
        return NumbaCpu, (self.name, self._instructions, self.algorithm)

    @property
    def instructions(self) -> InstructionSet:
        """Return the instruction set that the kernels are compiled for."""
        if self._instructions is None:
            self._instructions = instruction_set.chosen()
        return self._instructions

    def unavailable(self) -> str | None:
        try:
            instruction_set.chosen()
        except ValueError as error:
            return str(error)
        return kernels.unavailable(__package__)

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
        found, _ = jobs(operation, geometry)
        if all(planner.choose(simd, job.problem, self.algorithm, weight=job.along_rows) for job in found):
            return None
        return f"the algorithm {self.algorithm!r} is for {ALGORITHMS[NAMES[self.algorithm][0]].limits}"

    def explain(self, operation: str, geometry: Geometry, dtype: Any) -> Explanation:
        if not isinstance(geometry, ConvGeometry):
            return super().explain(operation, geometry, dtype)
        return explain(self._simd(np.dtype(dtype)), operation, geometry, self.algorithm, get_num_threads())

    def _make_plans(
        self,
        operation: str,
        dtype: np.dtype,
        geometry: ConvGeometry,
        limits: tuple[float, float] | None = None,
        kept: bool = False,
    ) -> tuple[list[Any], list[Job], bool]:
        simd = self._simd(dtype)
        found, complete = chosen_jobs(simd, operation, geometry, self.algorithm)
        if limits is not None:
            found = [replace(job, limits=limits) for job in found]
        if kept:
            found = [replace(job, problem=replace(job.problem, kept=True)) for job in found]
        return [planner.plan(simd, job, self.algorithm) for job in found], found, complete

    def warmup(self) -> None:
        warm(self)

    def conv2d(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, geometry: ConvGeometry) -> np.ndarray:
        y = buffers.empty(geometry.output_shape, x.dtype)
        if not y.size:
            return y
        found, jobs_done, _ = self._plans("conv2d", x.dtype, geometry)
        x, w = _contiguous(x), _contiguous(w)
        if jobs_done[0].exchanged:
            found[0].run(w, x, y)
            if b is not None:
                with np.errstate(all="ignore"):
                    y += b[:, None, None]
            return y
        b = None if b is None else _contiguous(b)
        for each in found:
            each.run(x, w, b, y)
        if jobs_done[0].left_out:
            add_padding(self._simd(y.dtype), y, w, geometry)
        return y

    def plan_conv2d(self, w: np.ndarray, b: np.ndarray | None, geometry: ConvGeometry) -> Planned:
        if 0 in (*geometry.input_shape, *geometry.output_shape):
            return super().plan_conv2d(w, b, geometry)
        found, jobs_done, _ = self._plans("conv2d", w.dtype, geometry)
        apart = (jobs_done[0].exchanged and b is not None) or (jobs_done[0].left_out and not np.isfinite(w).all())
        return super().plan_conv2d(w, b, geometry) if apart else PlannedConvolution(self, w, b, geometry, found)

    def short(self, operation: str, geometry: Geometry, dtype: np.dtype[Any], arrays: int) -> Short | None:
        if isinstance(geometry, ConvGeometry):
            if 0 in (*geometry.input_shape, *geometry.output_shape):
                return None
            made = self._plans(operation, dtype, geometry)
            if operation == "conv2d_input":
                return short.input_gradient(made, geometry, dtype)
            if operation == "conv2d_weight":
                return short.weight_gradient(made[0], made[1], geometry, dtype)
            return short.convolution(made[0], made[1], geometry, dtype, biased=arrays == 3)
        if operation == "avg_pool2d_backward" and isinstance(geometry, PoolGeometry):
            return short.average_gradient(self._simd(dtype), geometry)
        if operation == "max_pool2d_gradient" and isinstance(geometry, PoolGeometry):
            return short.max_gradient(self._simd(dtype), geometry)
        kind = {"max_pool2d": PLACES, "max_pool2d_values": VALUES, "avg_pool2d": AVERAGES}.get(operation)
        if kind is not None and isinstance(geometry, PoolGeometry):
            return short.pooling(self._simd(dtype), geometry, kind)
        return None

    def plans(
        self,
        operation: str,
        simd: Simd,
        geometry: ConvGeometry,
        limits: tuple[float, float] | None = None,
        *,
        kept: bool = False,
    ) -> tuple[list[Any], list[Job], bool]:
        """Return the plans of an operation, as `fused.lowering.Planner` describes."""
        return self._plans(operation, np.dtype(simd.dtype), geometry, limits, kept)

    def chain(self, blocks: tuple[Block, ...], dtype: np.dtype[Any]) -> Chain | None:
        shapes = [shape for block in blocks for shape in (block.geometry.input_shape, block.result_shape)]
        if any(0 in shape for shape in shapes) or any(self._leaves_out(dtype, block.geometry) for block in blocks):
            return None
        if any(block.activation is not None and block.activation not in ACTIVATIONS for block in blocks):
            return None
        for block in blocks:
            if any(self.refuses(part, block.geometry, dtype) for part in ("conv2d", "conv2d_input", "conv2d_weight")):
                return None
        return NumbaChain(self, self._simd(dtype), blocks)

    def network(
        self,
        outline: Outline,
        dtype: np.dtype[Any],
        parameters: Sequence[Any],
        watched: Sequence[np.ndarray] = (),
        held: HeldTensors | None = None,
    ) -> Network | None:
        if any(isinstance(each, Normed) for each in outline.operations) or not computes(self, outline, dtype):
            return None
        return NumbaNetwork(self, self._simd(dtype), outline, parameters, watched, held)

    def trainable(self, outline: Outline, dtype: np.dtype[Any]) -> TrainableNetwork | None:
        simd = self._simd(dtype)
        if not computes(self, outline, dtype) or not is_differentiable(outline, simd):
            return None
        return NumbaTrainableNetwork(self, simd, outline)

    def batch_norm(
        self, shape: tuple[int, ...], activation: Activation | None, dtype: np.dtype[Any]
    ) -> BatchNorm | None:
        if 0 in shape or activation not in (None, *ACTIVATIONS):
            return None
        return NumbaBatchNorm(self._simd(dtype), (shape[0], shape[1], math.prod(shape[2:])), activation)

    def _leaves_out(self, dtype: np.dtype[Any], geometry: ConvGeometry) -> bool:
        """Return True if taps are left out, which the programs of blocks can't do."""
        simd, operations = self._simd(dtype), ("conv2d", "conv2d_weight")
        return any(chosen_jobs(simd, each, geometry, self.algorithm)[0][0].left_out for each in operations)

    def conv2d_input(self, grad: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        x = buffers.empty(geometry.input_shape, grad.dtype)
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
            x[...] = input_gradient_of_infinities(grad, w, geometry)
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
        N, K, P, Q = grad.shape
        sums = buffers.empty((K,), grad.dtype)
        bias_gradient(self._simd(grad.dtype), N, K, P * Q).execute(_contiguous(grad), sums)
        return sums


@cache
def _simd(instructions: InstructionSet, dtype: np.dtype) -> Simd:
    return Simd(instructions, dtype.name)


known.offer(table.start)
