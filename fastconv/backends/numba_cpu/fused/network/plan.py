"""This file makes the programs of a network for its parameters, and runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.backends.network import Network, Outline
from fastconv.backends.numba_cpu.fused.lowering import Lowering, Planner
from fastconv.backends.numba_cpu.fused.network.lowering import NetworkLowering
from fastconv.backends.numba_cpu.fused.network.panels import Panels
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime.addresses import addresses_of
from fastconv.backends.numba_cpu.runtime.program import Program, ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.threads import get_num_threads


class NumbaNetwork(Network):
    """Runs a network as one program; each number of threads has a program of its own."""

    def __init__(self, planner: Planner, simd: Simd, outline: Outline, parameters: Sequence[Any]) -> None:
        """Pack the weights, which takes as long as some runs."""
        self._planner, self._simd, self._outline, self._kept = planner, simd, outline, parameters
        self._exact = False
        self._programs: dict[int, Program] = {}
        self._bases = np.zeros(0, np.int64)
        self._prepare()

    def _prepare(self) -> None:
        """Make the program for the number of threads that is set now, and the packed weights."""
        program, packing, size = self._written()
        memory = buffers.empty((size,), np.uint8)
        outline = self._outline
        moving = [0] * (outline.given + len(outline.results))
        fixed = addresses_of(self._kept) if self._kept else []
        bases = np.array([*moving, *fixed, memory.ctypes.data], np.int64)
        if not packing.run_at(bases) and not self._exact:
            # A weight whose products would spread is left to algorithms without such products.
            self._exact = True
            self._prepare()
            return
        self._memory, self._bases = memory, bases
        self._programs[get_num_threads()] = program

    def _written(self) -> tuple[Program, Program, int]:
        """Return the program that runs the network, the one that packs the weights, and the bytes that these take."""
        outline, builders = self._outline, (ProgramBuilder(), ProgramBuilder())
        for builder in builders:
            images = [builder.operand() for _ in range(outline.given)]
            results = [builder.operand() for _ in outline.results]
            parameters = [builder.operand() for _ in range(outline.parameters)]
            memory = builder.operand()
        program, packing = builders
        panels = Panels(program, packing, memory, exact=self._exact)
        blocks = Lowering(program, self._planner, self._simd, panels)
        NetworkLowering(outline, program, blocks, self._simd).record(images, parameters, results)
        return program.finish(), packing.finish(), panels.size

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        return buffers.empty(shape, dtype)

    def run(self, images: Sequence[Any], results: Sequence[Any]) -> bool:
        program = self._programs.get(threads := get_num_threads())
        if program is None:
            # Packed weights don't depend on the number of threads.
            program = self._programs[threads] = self._written()[0]
        bases = self._bases.copy()
        bases[: len(images)] = addresses_of(images)
        bases[len(images) : len(images) + len(results)] = addresses_of(results)
        return program.run_at(bases)
