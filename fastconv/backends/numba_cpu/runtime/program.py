"""This file runs jobs one after another in a single call into compiled code: a program.

A step of LeNet-5 has 27 jobs: a call from Python costs 5 us for each, and a helper that fell asleep in between 100.
A program is made as a linker makes one: the arguments of all jobs stand in one array, with a list of the places where
an address belongs. A run copies them into memory, writes the addresses, and launches the jobs.

A *buffer* holds numbers that one job writes and a later one reads. Other buffers use its memory before and after: when
the program is complete, each buffer gets the lowest place that is free from its first use to its last.

An *operation* (a convolution, a pooling, a sum) adds its jobs to a program. To run it at once is to run a program that
holds nothing else, so there is one way into compiled code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastconv.backends.compiler import inner
from fastconv.backends.compiler.entry import Entry
from fastconv.backends.numba_cpu.runtime import addresses, buffers
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.addresses import DIRECT, held, holder, holders
from fastconv.backends.numba_cpu.runtime.atomics import RELEASE
from fastconv.backends.numba_cpu.runtime.thread_pool import launch
from fastconv.backends.numba_cpu.simd import load_integer, stack_integers, store_integer
from fastconv.backends.numba_cpu.simd.arguments import ARGUMENTS_BYTES
from fastconv.threads import get_num_threads

_PAGE, _LINE = 4096, 64

_OWN = 0
"""Number that stands for the program's own memory as a base; operands are numbered from 1."""

HEAD = 4
"""Number of integers at a program's beginning: the counts of its words of arguments, addresses, steps and flags."""


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


@dataclass(frozen=True)
class Place:
    """Names a place in an operand or a buffer, in bytes from its beginning; a run of the program knows its address."""

    base: int
    """The operand's number, from 1 on, or the buffer's number, from -1 down."""
    offset: int = 0

    def __add__(self, offset: int) -> Place:
        return Place(self.base, self.offset + offset)


@dataclass(frozen=True)
class Step:
    """Describes a step of a job: ``count`` calls of a compiled task."""

    task: int
    """Address of the task."""
    count: int
    threads: int
    """The most threads that may take part."""


@dataclass(frozen=True)
class Workspace:
    """Describes the memory that only one job uses, and the arguments that get the addresses of its parts."""

    size: int
    """Size in bytes."""
    parts: tuple[tuple[int, int], ...]
    """The argument's place, and the bytes before the part, for each part."""


@dataclass
class _Buffer:
    size: int
    first: int
    last: int
    offset: int = 0


@dataclass
class _Entry:
    args: np.ndarray
    places: dict[int, Place]
    steps: tuple[Step, ...]
    workspace: Workspace
    flag: int | None
    at: int = 0


@dataclass
class ProgramBuilder:
    """Collects the jobs of a program; operands are numbered in the order in which they are asked for."""

    _entries: list[_Entry] = field(default_factory=list)
    _buffers: list[_Buffer] = field(default_factory=list)
    _kept: list[Any] = field(default_factory=list)
    _operands: int = 0

    def operand(self) -> Place:
        """Return the place of the next operand, whose address `Program.run` gets."""
        self._operands += 1
        return Place(self._operands)

    def buffer(self, size: int) -> Place:
        """Return the place of a new buffer of ``size`` bytes, which lasts from its first job to its last."""
        self._buffers.append(_Buffer(_up(max(size, 1), _PAGE), -1, -1))
        return Place(-len(self._buffers))

    def add(
        self,
        args: np.ndarray,
        places: Iterable[tuple[int, Place | None]],
        steps: Iterable[Step],
        workspace: Workspace = Workspace(0, ()),
        flag: int | None = None,
    ) -> None:
        """Add a job to the program: its arguments without the addresses, and its steps, in order.

        ``places`` are places of arguments with the places in memory that they point to; None means address 0. The job
        sets the argument at the place ``flag`` to 1 to make `Program.run` return False.
        """
        there = {number: place for number, place in places if place is not None}
        for place in there.values():
            if place.base < 0:
                buffer = self._buffers[-place.base - 1]
                buffer.first = len(self._entries) if buffer.first < 0 else buffer.first
                buffer.last = len(self._entries)
        self._entries.append(_Entry(args.view(np.int64), there, tuple(steps), workspace, flag))

    @property
    def used(self) -> set[int]:
        """Return the numbers of the operands that jobs read or write, counted from 0 in the order of `operand`."""
        return {place.base - 1 for entry in self._entries for place in entry.places.values() if place.base > 0}

    def keep(self, operation: Any) -> None:
        """Let an object live as long as the program, and count its ``nbytes`` as the program's."""
        self._kept.append(operation)

    def finish(self) -> Program:
        """Return the program of the jobs that were added."""
        words = 0
        for entry in self._entries:
            entry.at = words
            words += _up(len(entry.args), _LINE // 8)
        alone = len(self._entries) == 1 and self._entries[0].workspace.size == 0
        own = _up(8 * words, _LINE if alone else _PAGE)
        work = own + _lay_out([buffer for buffer in self._buffers if buffer.first >= 0])
        jobs = np.zeros(words, np.int64)
        addresses: list[tuple[int, int, int]] = []
        steps: list[tuple[int, int, int, int]] = []
        for entry in self._entries:
            jobs[entry.at : entry.at + len(entry.args)] = entry.args
            for number, place in entry.places.items():
                if place.base < 0:
                    inside = own + self._buffers[-place.base - 1].offset
                    addresses.append((entry.at + number, _OWN, inside + place.offset))
                else:
                    addresses.append((entry.at + number, place.base, place.offset))
            addresses += [(entry.at + number, _OWN, work + before) for number, before in entry.workspace.parts]
            steps += [(step.task, 8 * entry.at, step.count, step.threads - 1) for step in entry.steps if step.count]
        flags = [entry.at + entry.flag for entry in self._entries if entry.flag is not None]
        head = words, len(addresses), len(steps), len(flags)
        code = np.concatenate([np.array(part, np.int64).reshape(-1) for part in (head, jobs, addresses, steps, flags)])
        memory = work + max((entry.workspace.size for entry in self._entries), default=0)
        helpers = max((min(count - 1, threads) for _, _, count, threads in steps), default=0)
        return Program(code, memory, helpers, self._kept)


def _lay_out(wanted: Sequence[_Buffer]) -> int:
    """Set the offset of each buffer, and return the size of the memory that holds them all, in bytes."""
    total, placed = 0, list[_Buffer]()
    for buffer in sorted(wanted, key=lambda buffer: -buffer.size):
        others = [other for other in placed if other.first <= buffer.last and buffer.first <= other.last]
        for other in sorted(others, key=lambda other: other.offset):
            if buffer.offset + buffer.size <= other.offset:
                break
            buffer.offset = max(buffer.offset, other.offset + other.size)
        placed.append(buffer)
        total = max(total, buffer.offset + buffer.size)
    return total


@inner
def _run_steps(code, bases, word, memory, state, helpers, release_lock):
    words, addresses = load_integer(code, 0), load_integer(code, 1)
    steps, flags = load_integer(code, 2), load_integer(code, 3)
    for place in range(words):
        store_integer(memory, place, load_integer(code, HEAD + place))
    at = HEAD + words
    for _ in range(addresses):
        number, offset = load_integer(code, at + 1), load_integer(code, at + 2)
        base = memory if number == _OWN else held(load_integer(bases, number - 1), word)
        store_integer(memory, load_integer(code, at), base + offset if base != 0 else 0)
        at += 3
    for _ in range(steps):
        task, args, count = load_integer(code, at), memory + load_integer(code, at + 1), load_integer(code, at + 2)
        launch(state, task, args, count, min(helpers, load_integer(code, at + 3)), release_lock)
        at += 4
    found = 0
    for flag in range(flags):
        found |= load_integer(memory, load_integer(code, at + flag))
    return found == 0


@Entry
def run_jobs(arguments):
    """Run a program.

    Its arguments are: the address of its code; the `holder` of its memory, or 0 for some on the stack; the word that
    holders of memory and of operands have addresses in (`held`); the state of a pool, its helpers and `RELEASE`; the
    address of an array with the holder of each operand, or 0 where these follow.
    """
    code, memory, word = load_integer(arguments, 0), load_integer(arguments, 1), load_integer(arguments, 2)
    memory = stack_integers() if memory == 0 else (held(memory, word) + _LINE - 1) // _LINE * _LINE
    word, state, helpers = load_integer(arguments, 3), load_integer(arguments, 4), load_integer(arguments, 5)
    bases = load_integer(arguments, 7)
    bases = arguments + 8 * 8 if bases == 0 else bases
    return _run_steps(code, bases, word, memory, state, helpers, load_integer(arguments, 6))


class Program:
    """Runs jobs in their order; several threads may run the same program at the same time."""

    def __init__(self, code: np.ndarray, memory: int, helpers: int, kept: list[Any]) -> None:
        """Take what `ProgramBuilder.finish` made; a run needs ``memory`` bytes, and at most ``helpers`` helpers."""
        self.code, self._start = code, code.ctypes.data
        self.memory, self.helpers, self._kept = memory, helpers, kept

    @property
    def nbytes(self) -> int:
        """Return the size of the program and of all that it keeps, in bytes; the memory of a run isn't counted."""
        return self.code.nbytes + sum(kept.nbytes for kept in self._kept)

    def run(self, arrays: tuple[np.ndarray | None, ...]) -> bool:
        """Run all jobs on operands that begin where the arrays do; return True if no job has set its flag."""
        return self._launch(addresses.word, 0, holders(arrays))

    def run_at(self, places: Sequence[int] | np.ndarray) -> bool:
        """Run all jobs on operands at these addresses, as `run`; address 0 stands for an operand that isn't there.

        ``places`` may be an array of 64-bit integers.
        """
        if isinstance(places, np.ndarray):
            return self._launch(DIRECT, places.ctypes.data, ())
        return self._launch(DIRECT, 0, places)

    def _launch(self, word: int, bases: int, operands: Sequence[int]) -> bool:
        helpers = workers.pool.helpers(self.helpers + 1, self.helpers + 1) if self.helpers else 0
        pool = workers.pool.state, helpers, RELEASE
        if self.memory <= ARGUMENTS_BYTES:
            return bool(run_jobs.call(self._start, 0, DIRECT, word, *pool, bases, *operands))
        memory = buffers.scratch(self.memory)
        fine = run_jobs.call(self._start, holder(memory), addresses.word, word, *pool, bases, *operands)
        buffers.give_back(memory)
        return bool(fine)


class Operation:
    """An operation adds jobs to a program: a plan of a convolution, a pooling, a sum. A derived class says which."""

    def __init__(self) -> None:
        self._alone: dict[int, Program] = {}

    @property
    def nbytes(self) -> int:
        """Return the approximate size of what the operation holds, in bytes."""
        raise NotImplementedError

    def emit(self, program: ProgramBuilder, *places: Place | None, watch: bool = True) -> None:
        """Add the operation's jobs to a program, with operands and results at ``places``; None means there is none.

        The program's flag is set if numbers that aren't finite may have spread to results that don't depend on them;
        with ``watch`` it is set for all such numbers that a task finds in the data that it checks.
        """
        raise NotImplementedError

    def record(self, program: ProgramBuilder, *places: Place | None, watch: bool = False) -> None:
        """Add the operation's jobs to a program, which then keeps the operation."""
        self.emit(program, *places, watch=watch)
        program.keep(self)

    def execute(self, *arrays: np.ndarray | None) -> bool:
        """Run the operation on C-contiguous arrays, as a program of its own; return True if no task set a flag."""
        return self.program(len(arrays)).run(arrays)

    def program(self, operands: int) -> Program:
        """Return a program that holds nothing else, for the number of threads that is set now."""
        program = self._alone.get(threads := get_num_threads())
        if program is None:
            builder = ProgramBuilder()
            self.emit(builder, *[builder.operand() for _ in range(operands)])
            program = self._alone[threads] = builder.finish()
        return program
