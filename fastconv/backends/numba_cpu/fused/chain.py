"""This file makes the programs of several blocks in a row, one for the forward pass and one for the backward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from fastconv.backends.block import Block
from fastconv.backends.chain import Chain, Gradients, Operands
from fastconv.backends.compiler import ahead
from fastconv.backends.kept import Kept
from fastconv.backends.numba_cpu.fused.convolving import Planner
from fastconv.backends.numba_cpu.fused.lowering import Backward, Forward, Lowering
from fastconv.backends.numba_cpu.fused.saved import Saved
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime.addresses import addresses_of
from fastconv.backends.numba_cpu.runtime.program import Place, Program, ProgramBuilder, run_jobs
from fastconv.backends.numba_cpu.runtime.thread_pool import help_along
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.threads import get_num_threads, set_num_threads

_LINE = 64


class NumbaChain(Chain):
    """Runs blocks as programs; each number of threads and each choice of gradients has a program of its own."""

    def __init__(self, planner: Planner, simd: Simd, blocks: tuple[Block, ...]) -> None:
        """Compute the layout of what is saved: for each block what it saves, and all results but the last."""
        self.blocks = blocks
        self._planner, self._simd = planner, simd
        self._results: list[int] = []
        self._saved: list[int] = []
        end = 0
        for number, block in enumerate(blocks):
            self._saved.append(end)
            end += -(-Saved.of(block).nbytes(block, simd.itemsize) // _LINE) * _LINE
            self._results.append(end)
            if number < len(blocks) - 1:
                end += -(-math.prod(block.result_shape) * simd.itemsize // _LINE) * _LINE
        self.saved_bytes = end
        self.reads_result = blocks[-1].activation is not None and not Saved.of(blocks[-1]).numbers

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        return buffers.empty(shape, dtype)

    def forward(self, at: Operands) -> bool:
        program = _programs(self, get_num_threads(), at.saved is not None, None)
        return program.run_at(addresses_of(_in_order(at)))

    def backward(self, at: Operands, gradients: Gradients) -> bool:
        asked = gradients.x, *gradients.parameters, *gradients.residuals
        program = _programs(self, get_num_threads(), True, tuple([each is not None for each in asked]))
        return program.run_at(addresses_of((*_in_order(at), gradients.result, *asked)))

    def program(self, threads: int, keeps: bool, wanted: tuple[bool, ...] | None) -> Program:
        """Return the program of the forward pass, or of the backward pass where gradients are ``wanted``.

        ``threads`` must be the number that is set now: the steps are cut for it, and the program is kept under it.
        """
        with ahead.expected(partial(_plan, self._planner, self._simd, self.blocks, threads, keeps, wanted)):
            return self._program(keeps, wanted)

    def _program(self, keeps: bool, wanted: tuple[bool, ...] | None) -> Program:
        program = ProgramBuilder()
        lowering = Lowering(program, self._planner, self._simd)
        x = program.operand()
        parameters = [program.operand() for _ in range(2 * len(self.blocks))]
        residuals = iter([program.operand() for block in self.blocks if block.residual])
        result, saved = program.operand(), program.operand()
        places: list[Forward] = []
        for number, block in enumerate(self.blocks):
            if number == len(self.blocks) - 1:
                target = result
            elif keeps:
                target = saved + self._results[number]
            else:
                target = program.buffer(math.prod(block.result_shape) * self._simd.itemsize)
            w, b = parameters[2 * number : 2 * number + 2]
            residual = next(residuals) if block.residual else None
            places.append(Forward(x, w, b, residual, target, saved + self._saved[number] if keeps else None))
            x = target
        if wanted is None:
            for block, at in zip(self.blocks, places, strict=True):
                lowering.forward(block, at)
        else:
            self._record_backward(program, lowering, places, wanted)
        return program.finish()

    def _record_backward(
        self, program: ProgramBuilder, lowering: Lowering, places: list[Forward], wanted: tuple[bool, ...]
    ) -> None:
        grad = program.operand()
        targets: list[Place | None] = [program.operand() for _ in wanted]
        targets = [target if want else None for target, want in zip(targets, wanted, strict=True)]
        inputs, residuals = targets[: 1 + 2 * len(self.blocks)], targets[1 + 2 * len(self.blocks) :]
        for number in reversed(range(len(self.blocks))):
            block = self.blocks[number]
            residual = residuals.pop() if block.residual else None
            into = inputs[0] if number == 0 else None
            earlier = [*inputs[: 1 + 2 * number], *residuals]
            if number > 0 and any(target is not None for target in earlier):
                into = program.buffer(math.prod(block.geometry.input_shape) * self._simd.itemsize)
            w, b = inputs[1 + 2 * number : 3 + 2 * number]
            lowering.backward(block, Backward(grad, places[number], into, w, b, residual))
            if into is None:
                return
            grad = into


def _plan(
    planner: Planner,
    simd: Simd,
    blocks: tuple[Block, ...],
    threads: int,
    keeps: bool,
    wanted: tuple[bool, ...] | None,
) -> None:
    """Plan a program, as another process does, and after a forward pass the backward pass that may follow it."""
    set_num_threads(threads)
    chain = NumbaChain(planner, simd, blocks)
    chain.program(threads, keeps, wanted)
    for each in (help_along, run_jobs):
        each.address()
    if keeps and wanted is None:
        residuals = sum(block.residual for block in blocks)
        chain.program(threads, True, (False, *[True] * (2 * len(blocks) + residuals)))


def _in_order(at: Operands) -> Sequence[Any]:
    """Return a chain's arrays in the order in which its programs number them."""
    return at.x, *at.parameters, *at.residuals, at.result, at.saved


PROGRAMS_BYTES = 256 << 20
"""Size limit of all programs of all chains, in bytes; each counts its plans, though chains share some."""

_programs = Kept(NumbaChain.program, lambda program: program.nbytes, PROGRAMS_BYTES)
