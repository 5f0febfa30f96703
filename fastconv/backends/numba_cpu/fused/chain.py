"""This file makes the programs of several blocks in a row, one for the forward pass and one for the backward pass.

Where a program meets numbers that aren't finite, the blocks are done again, operation by operation
(separate_blocks.py).
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from fastconv.backends.base import Backend
from fastconv.backends.block import Block
from fastconv.backends.chain import Chain, Gradients, Operands
from fastconv.backends.kept import Kept
from fastconv.backends.numba_cpu.fused import separate_blocks
from fastconv.backends.numba_cpu.fused.lowering import Backward, Forward, Lowering, Planner
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime.program import Place, Program, ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.threads import get_num_threads

_LINE = 64


class NumbaChain(Chain):
    """Runs blocks as programs; each number of threads and each choice of gradients has a program of its own."""

    def __init__(self, planner: Planner, simd: Simd, blocks: tuple[Block, ...], separate: Backend) -> None:
        """Compute the layout of what is kept; ``separate`` is the backend for numbers that aren't finite.

        Its primitives keep infinities and NaN where the definition has them.
        """
        self.blocks = blocks
        self._planner, self._simd, self._separate = planner, simd, separate
        self._dtype = np.dtype(simd.dtype)
        self._inner: list[int] = []
        self._kept: list[int] = []
        end = 0
        for number, block in enumerate(blocks):
            shape, kind = block.kept(self._dtype)
            self._kept.append(end)
            end += -(-math.prod(shape) * kind.itemsize // _LINE) * _LINE
            self._inner.append(end)
            if number < len(blocks) - 1:
                end += -(-math.prod(block.result_shape) * simd.itemsize // _LINE) * _LINE
        self.kept_bytes = end

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        return buffers.empty(shape, dtype)

    def forward(self, at: Operands) -> None:
        program = _programs(self, get_num_threads(), at.kept != 0, None)
        if not program.run((at.x, *at.parameters, at.result, at.kept)):
            self._forward_separately(at)

    def backward(self, at: Operands, gradients: Gradients) -> None:
        wanted = tuple([each != 0 for each in (gradients.x, *gradients.parameters)])
        program = _programs(self, get_num_threads(), True, wanted)
        addresses = at.x, *at.parameters, at.result, at.kept, gradients.result, gradients.x, *gradients.parameters
        if not program.run(addresses):
            self._backward_separately(at, gradients)

    def program(self, threads: int, keeps: bool, wanted: tuple[bool, ...] | None) -> Program:
        """Return the program of the forward pass, or of the backward pass where gradients are ``wanted``.

        ``threads`` must be the number that is set now: the steps are cut for it, and the program is kept under it.
        """
        program = ProgramBuilder()
        lowering = Lowering(program, self._planner, self._simd)
        x = program.operand()
        parameters = [program.operand() for _ in range(2 * len(self.blocks))]
        result, kept = program.operand(), program.operand()
        places: list[Forward] = []
        for number, block in enumerate(self.blocks):
            if number == len(self.blocks) - 1:
                target = result
            elif keeps:
                target = kept + self._inner[number]
            else:
                target = program.buffer(math.prod(block.result_shape) * self._simd.itemsize)
            w, b = parameters[2 * number : 2 * number + 2]
            places.append(Forward(x, w, b, target, kept + self._kept[number] if keeps else None))
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
        least = next((number for number in range(len(wanted)) if wanted[number]), len(wanted))
        for number in reversed(range(len(self.blocks))):
            block = self.blocks[number]
            into = targets[0] if number == 0 else None
            if number > 0 and least < 1 + 2 * number:
                into = program.buffer(math.prod(block.geometry.input_shape) * self._simd.itemsize)
            w, b = targets[1 + 2 * number : 3 + 2 * number]
            lowering.backward(block, Backward(grad, places[number], into, w, b))
            if into is None:
                return
            grad = into

    def _arrays(self, operands: Operands) -> list[tuple[Any, ...]]:
        """Return the arrays x, w, b, result and kept of each block."""
        found: list[tuple[Any, ...]] = []
        x, parameters, result, kept = operands
        for number, block in enumerate(self.blocks):
            g = block.geometry
            last = number == len(self.blocks) - 1
            at = result if last else kept + self._inner[number] if kept else 0
            y = self._array(at, block.result_shape) if at else np.empty(block.result_shape, self._dtype)
            shape, kind = block.kept(self._dtype)
            more = self._array(kept + self._kept[number], shape, kind) if kept else np.empty(shape, kind)
            w, b = parameters[2 * number : 2 * number + 2]
            pair = self._array(w, g.weight_shape), self._array(b, (g.K,)) if b else None
            source = self._array(x, g.input_shape) if number == 0 else found[-1][3].reshape(g.input_shape)
            found.append((source, *pair, y, more))
        return found

    def _array(self, address: int, shape: tuple[int, ...], kind: Any = None) -> np.ndarray:
        dtype = np.dtype(kind or self._dtype)
        memory: Any = (ctypes.c_byte * (math.prod(shape) * dtype.itemsize)).from_address(address)
        return np.ndarray(shape, dtype, memory)

    def _forward_separately(self, at: Operands) -> None:
        for block, arrays in zip(self.blocks, self._arrays(at), strict=True):
            source, w, b, y, more = arrays
            y[...], more[...] = separate_blocks.block_forward(self._separate, source, w, b, block)

    def _backward_separately(self, at: Operands, gradients: Gradients) -> None:
        arrays = self._arrays(at)
        change: Any = self._array(gradients.result, self.blocks[-1].result_shape)
        for number in reversed(range(len(self.blocks))):
            block, pair = self.blocks[number], gradients.parameters[2 * number : 2 * number + 2]
            g, (source, w, _, y, more) = block.geometry, arrays[number]
            further = bool(gradients.x) or any(gradients.parameters[: 2 * number])
            wanted = further, bool(pair[0]), bool(pair[1])
            back, *found = separate_blocks.block_backward(self._separate, change, source, w, y, more, block, wanted)
            for target, shape, value in zip(pair, (g.weight_shape, (g.K,)), found, strict=True):
                if target:
                    self._array(target, shape)[...] = value
            if not further or back is None:
                return
            change = back.reshape(self.blocks[number - 1].result_shape) if number else back
        self._array(gradients.x, self.blocks[0].geometry.input_shape)[...] = change


PROGRAMS_BYTES = 256 << 20
"""Size limit of all programs of all chains, in bytes; each counts its plans, though chains share some."""

_programs = Kept(NumbaChain.program, lambda program: program.nbytes, PROGRAMS_BYTES)
