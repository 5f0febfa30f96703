"""This file makes the programs of a network for its parameters, and runs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastconv.backends.base import Backend
from fastconv.backends.compiler import ahead
from fastconv.backends.network import Convolved, HeldTensors, Mapped, Network, Normed, Outline, Pooled
from fastconv.backends.numba_cpu.fused.convolving import Planner
from fastconv.backends.numba_cpu.fused.formulas.activations import ACTIVATIONS
from fastconv.backends.numba_cpu.fused.lowering import Lowering
from fastconv.backends.numba_cpu.fused.network.look import Look
from fastconv.backends.numba_cpu.fused.network.lowering import NetworkLowering
from fastconv.backends.numba_cpu.fused.network.panels import Panels
from fastconv.backends.numba_cpu.fused.network.slabs import sections
from fastconv.backends.numba_cpu.fused.network.tensor_look import TensorLook
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime.addresses import addresses_of
from fastconv.backends.numba_cpu.runtime.program import Place, Program, ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.threads import get_num_threads


class NumbaNetwork(Network):
    """Runs a network as one program; each number of threads has a program of its own."""

    def __init__(
        self,
        planner: Planner,
        simd: Simd,
        outline: Outline,
        parameters: Sequence[Any],
        watched: Sequence[np.ndarray] = (),
        held: HeldTensors | None = None,
    ) -> None:
        """Pack the weights, which takes as long as some runs.

        Each run looks at the arrays ``watched`` and the tensors ``held``.
        """
        self._planner, self._simd, self._outline = planner, simd, outline
        self._kept: Sequence[Any] = parameters
        self._look, self._tensors = Look(watched), None if held is None else TensorLook(held)
        self._exact = False
        self._programs: dict[int, Program] = {}
        self._bases = np.zeros(0, np.int64)
        self._prepare()

    def _prepare(self) -> None:
        """Make the program for the number of threads that is set now, and the packed weights.

        Parameters that nothing else reads are given up: folded weights, say, are copies of the model's.
        """
        program, packing, size, used = self._written()
        memory = buffers.empty((size,), np.uint8)
        outline = self._outline
        moving = [0] * (outline.given + len(outline.results) + 1)
        fixed = addresses_of(self._kept) if self._kept else []
        bases = np.array([*moving, *fixed, memory.ctypes.data], np.int64)
        if not packing.run_at(bases) and not self._exact:
            # A weight whose products would spread is left to algorithms without such products.
            self._exact = True
            self._prepare()
            return
        self._memory, self._bases = memory, bases
        self._kept = [each for number, each in enumerate(self._kept, len(moving)) if number in used]
        self._programs[get_num_threads()] = program

    def _written(self) -> tuple[Program, Program, int, set[int]]:
        """Return what `_write` makes, with a program that looks at arrays and tensors first."""
        written = partial(_write, self._planner, self._simd, self._outline, exact=self._exact)
        with ahead.expected(written):
            return written(self._watch)

    def _watch(self, program: ProgramBuilder, items: Place) -> None:
        self._look.record(program, self._simd)
        if self._tensors is not None:
            self._tensors.record(program, self._simd, items)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        return buffers.empty(shape, dtype)

    def run(self, images: Sequence[Any], results: Sequence[Any], operands: tuple[Any, ...] = ()) -> bool:
        program = self._programs.get(threads := get_num_threads())
        if program is None:
            # Packed weights don't depend on the number of threads, nor do the operands that are used.
            program = self._programs[threads] = self._written()[0]
        bases = self._bases.copy()
        bases[: len(images)] = addresses_of(images)
        bases[len(images) : len(images) + len(results)] = addresses_of(results)
        bases[len(images) + len(results)] = id(operands) + tuple.__basicsize__
        return program.run_at(bases)


def computes(backend: Backend, outline: Outline, dtype: np.dtype[Any]) -> bool:
    """Return True if a program can hold all operations of an outline; ``backend`` is asked about blocks."""
    if any(0 in shape for shape in outline.shapes):
        return False
    for operation in outline.operations:
        if isinstance(operation, Convolved) and backend.chain((operation.block,), dtype) is None:
            return False
        if isinstance(operation, Pooled) and operation.geometry.dilation != (1, 1):
            return False
        if isinstance(operation, Mapped | Normed) and operation.activation not in (None, *ACTIVATIONS):
            return False
    return True


def _write(
    planner: Planner,
    simd: Simd,
    outline: Outline,
    begin: Callable[[ProgramBuilder, Place], None] | None = None,
    *,
    exact: bool,
) -> tuple[Program, Program, int, set[int]]:
    """Return the program that runs a network, the one that packs its weights, and the bytes that these take.

    The last result is the numbers of the operands that the first program uses.

    ``begin`` writes the first program's first jobs, given the place of the operands' objects. With ``exact``, no
    algorithm is taken whose products would spread numbers that aren't finite.
    """
    builders = ProgramBuilder(), ProgramBuilder()
    for builder in builders:
        images = [builder.operand() for _ in range(outline.given)]
        results = [builder.operand() for _ in outline.results]
        items = builder.operand()
        parameters = [builder.operand() for _ in range(outline.parameters)]
        memory = builder.operand()
    program, packing = builders
    if begin is not None:
        begin(program, items)
    panels = Panels(program, packing, memory, exact=exact)
    places = {**dict(enumerate(images)), **dict(zip(outline.results, results, strict=True))}
    _record(program, Lowering(program, planner, simd, panels), simd, outline, places, parameters)
    return program.finish(), packing.finish(), panels.size, program.used


def _record(
    program: ProgramBuilder,
    blocks: Lowering,
    simd: Simd,
    outline: Outline,
    places: dict[int, Place],
    parameters: Sequence[Place],
) -> None:
    """Write all jobs; ``places`` has the places of the images and results, and gets those of other values."""
    size = simd.itemsize
    numbers = [math.prod(shape) for shape in outline.shapes]
    for section in sections(outline, size):
        for value in section.results:
            places.setdefault(value, program.buffer(numbers[value] * size))
        batch = outline.shapes[0][0]
        for first in range(0, batch, section.images):
            slab = [
                [places[value] + first * (numbers[value] // batch) * size for value in values]
                for values in (section.sources, section.results)
            ]
            NetworkLowering(section.outline, program, blocks, simd).record(slab[0], parameters, slab[1])
