"""This file makes the programs of a network that is trained: one for the forward pass, and one for the gradients."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np

from fastconv.backends.compiler import ahead
from fastconv.backends.network import Normed, Outline
from fastconv.backends.numba_cpu.fused import post_op
from fastconv.backends.numba_cpu.fused.convolving import Planner
from fastconv.backends.numba_cpu.fused.lowering import Lowering
from fastconv.backends.numba_cpu.fused.network.lowering import NetworkLowering, SavedMemory
from fastconv.backends.numba_cpu.fused.network.training.gradients import GradientLowering
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime.addresses import addresses_of
from fastconv.backends.numba_cpu.runtime.program import Program, ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.trainable import NetworkGradients, NetworkOperands, Reads, TrainableNetwork
from fastconv.threads import get_num_threads, set_num_threads

_Mask = tuple[bool, ...]


class NumbaTrainableNetwork(TrainableNetwork):
    """Runs a network's passes as programs; each number of threads and each choice of gradients has its own."""

    def __init__(self, planner: Planner, simd: Simd, outline: Outline) -> None:
        """Lay out what is saved; programs are made when they first run."""
        self._planner, self._simd, self._outline = planner, simd, outline
        self._forward: dict[int, Program] = {}
        self._backward: dict[tuple[int, _Mask, _Mask, _Mask], tuple[Program, set[int]]] = {}
        self._undo: Program | None = None
        with ahead.expected(partial(_plan, planner, simd, outline, get_num_threads())):
            self._forward[get_num_threads()], self.saved_bytes = write_forward(planner, simd, outline)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        return buffers.empty(shape, dtype)

    def reads(self, results: _Mask, images: _Mask, parameters: _Mask) -> Reads:
        _, used = self._gradients(results, images, parameters)
        first, second = self._outline.given, self._outline.given + self._outline.parameters
        there = [number in used for number in range(second + len(self._outline.results))]
        return Reads(tuple(there[:first]), tuple(there[first:second]), tuple(there[second:]))

    def forward(self, at: NetworkOperands) -> bool:
        program = self._forward.get(threads := get_num_threads())
        if program is None:
            program, _ = write_forward(self._planner, self._simd, self._outline)
            self._forward[threads] = program
        operands = addresses_of((*at.images, *at.parameters, *at.results, at.saved))
        if program.run_at(operands):
            return True
        if self._undo is None:
            self._undo = write_forward(self._planner, self._simd, self._outline, undoes=True)[0]
        self._undo.run_at(operands)
        return False

    def backward(self, at: NetworkOperands, gradients: NetworkGradients) -> bool:
        results, images, parameters = [tuple([each is not None for each in part]) for part in gradients]
        program, _ = self._gradients(results, images, parameters)
        # Any of these may be None, but for the saved memory, which tells `addresses_of` what kind of arrays they are.
        arrays = *at.images, *at.parameters, *at.results, at.saved, *itertools.chain(*gradients)
        return program.run_at(addresses_of((at.saved, *arrays))[1:])

    def _gradients(self, results: _Mask, images: _Mask, parameters: _Mask) -> tuple[Program, set[int]]:
        """Return the program of the gradients for these choices, and the operands that it uses."""
        key = get_num_threads(), results, images, parameters
        found = self._backward.get(key)
        if found is None:
            written = partial(write_backward, self._planner, self._simd, self._outline, results, images, parameters)
            with ahead.expected(partial(_planned, get_num_threads(), written)):
                found = self._backward[key] = written()
        return found


def write_forward(planner: Planner, simd: Simd, outline: Outline, *, undoes: bool = False) -> tuple[Program, int]:
    """Return the program of the forward pass, and the bytes that it saves.

    With ``undoes`` the program is the one that gives the running statistics the values that they had before.
    """
    program = ProgramBuilder()
    images = [program.operand() for _ in range(outline.given)]
    parameters = [program.operand() for _ in range(outline.parameters)]
    results = [program.operand() for _ in outline.results]
    saved = SavedMemory(program.operand())
    written = ProgramBuilder() if undoes else program
    lowering = NetworkLowering(outline, written, Lowering(written, planner, simd), simd, saved)
    lowering.record(images, parameters, results)
    # The last first: several normalisations may share their statistics.
    for number in reversed(range(outline.given, len(outline.shapes))) if undoes else ():
        operation = outline.operations[number - outline.given]
        if isinstance(operation, Normed) and operation.running is not None:
            channels = outline.shapes[number][1]
            before = lowering.further[number] + 2 * channels * simd.itemsize
            for at, parameter in enumerate(operation.running):
                source = before + at * channels * simd.itemsize
                post_op.record_forward(program, simd, None, source, parameters[parameter], channels)
    return program.finish(), saved.size


def write_backward(
    planner: Planner, simd: Simd, outline: Outline, results: _Mask, images: _Mask, parameters: _Mask
) -> tuple[Program, set[int]]:
    """Return the program of the gradients, and the numbers of the operands that it reads or writes.

    Args:
        planner: makes the plans of convolutions.
        simd: the vectors.
        outline: the network.
        results: which results have a gradient.
        images, parameters: which gradients are wanted.
    """
    program = ProgramBuilder()
    given = [program.operand() for _ in range(outline.given)]
    held = [program.operand() for _ in range(outline.parameters)]
    made = [program.operand() for _ in outline.results]
    saved = SavedMemory(program.operand())
    forward = ProgramBuilder()
    lowering = NetworkLowering(outline, forward, Lowering(forward, planner, simd), simd, saved)
    lowering.record(given, held, made)
    masks = results, images, parameters
    places = [
        [place if want else None for place, want in zip(_operands(program, mask), mask, strict=True)] for mask in masks
    ]
    gradients = GradientLowering(outline, lowering, program, Lowering(program, planner, simd), simd)
    gradients.record(held, *places)
    return program.finish(), program.used


def _operands(program: ProgramBuilder, mask: _Mask) -> list[Any]:
    return [program.operand() for _ in mask]


def _plan(planner: Planner, simd: Simd, outline: Outline, threads: int) -> None:
    """Plan both passes, as another process does."""
    set_num_threads(threads)
    write_forward(planner, simd, outline)
    running = {number for each in outline.operations if isinstance(each, Normed) for number in each.running or ()}
    wanted = tuple([number not in running for number in range(outline.parameters)])
    write_backward(planner, simd, outline, (True,) * len(outline.results), (False,) * outline.given, wanted)


def _planned(threads: int, written: Any) -> None:
    """Plan a program, as another process does."""
    set_num_threads(threads)
    written()
