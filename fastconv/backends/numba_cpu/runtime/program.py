"""Jobs that run one after another in a single call into compiled code.

Called from Python one by one, the jobs of a LeNet-5 step, 27 of them, take twice as long as they compute: a call costs
10 to 20 us, a helper that fell asleep in between 100 and more. A program is what a linker makes of their arguments.
They stand one behind another in one array, with a list of the places where an address belongs; a run copies them into
memory of its own, puts the addresses in, and launches the jobs. Helpers are still looking for work when the next comes.

What lies between jobs needs memory as long as somebody still reads it. Such a *room* is used again by later ones: all
are laid out when the program is complete, each at the lowest place that is free from its first use to its last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.atomics import RELEASE
from fastconv.backends.numba_cpu.runtime.launch import address
from fastconv.backends.numba_cpu.runtime.thread_pool import launch
from fastconv.backends.numba_cpu.simd import load_integer, store_integer

_PAGE, _LINE = 4096, 64

_OWN = 0
"""The base of a program's own memory; operands are counted from 1."""

_HEAD = 4
"""Integers at the beginning of a program: how many words of arguments, addresses, steps and flags follow."""


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


@dataclass(frozen=True)
class Place:
    """A place in memory that is known when a program runs: bytes from where an operand or a room begins."""

    base: int
    """The operand's number, or minus the room's."""
    offset: int = 0

    def __add__(self, offset: int) -> Place:
        return Place(self.base, self.offset + offset)


@dataclass(frozen=True)
class Step:
    """So many calls of a compiled task, on so many threads at most."""

    task: int
    count: int
    threads: int


@dataclass(frozen=True)
class Workspace:
    """Memory for a job alone: its size, and the places of the arguments that say where its parts begin."""

    size: int
    parts: tuple[tuple[int, int], ...]
    """Of each part the argument's place, and the bytes before it."""


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
    """Takes down what a program is to do; operands are numbered as they are asked for."""

    _entries: list[_Entry] = field(default_factory=list)
    _buffers: list[_Buffer] = field(default_factory=list)
    _kept: list[tuple[np.ndarray, Any]] = field(default_factory=list)
    _operands: int = 0

    def operand(self) -> Place:
        """The next of the addresses that `Program.run` gets."""
        self._operands += 1
        return Place(self._operands)

    def buffer(self, size: int) -> Place:
        """So many bytes, from the first job that uses them to the last."""
        self._buffers.append(_Buffer(_up(max(size, 1), _PAGE), -1, -1))
        return Place(-len(self._buffers))

    def add(
        self,
        args: np.ndarray,
        places: Iterable[tuple[int, Place | None]],
        steps: Iterable[Step],
        workspace: Workspace = Workspace(0, ()),
        flag: int | None = None,
        keep: Any = None,
    ) -> None:
        """A job.

        Args:
            args: its arguments, but for addresses.
            places: places of arguments, and what they are to point to; None for 0.
            steps: what to do, one after the other.
            workspace: the memory it needs.
            flag: the place of the argument by which the job says that `Program.run` should give False.
            keep: whatever must live as long as the program.
        """
        there = {number: place for number, place in places if place is not None}
        for place in there.values():
            if place.base < 0:
                buffer = self._buffers[-place.base - 1]
                buffer.first = len(self._entries) if buffer.first < 0 else buffer.first
                buffer.last = len(self._entries)
        self._entries.append(_Entry(args.view(np.int64), there, tuple(steps), workspace, flag))
        self._kept.append((args, keep))

    def finish(self) -> Program:
        """What was taken down."""
        words = 0
        for entry in self._entries:
            entry.at = words
            words += _up(len(entry.args), _LINE // 8)
        own = _up(8 * words, _PAGE)
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
    """Give each room its offset; the bytes that all take."""
    total = 0
    placed: list[_Buffer] = []
    for buffer in sorted(wanted, key=lambda buffer: -buffer.size):
        others = [other for other in placed if other.first <= buffer.last and buffer.first <= other.last]
        for other in sorted(others, key=lambda other: other.offset):
            if buffer.offset + buffer.size <= other.offset:
                break
            buffer.offset = max(buffer.offset, other.offset + other.size)
        placed.append(buffer)
        total = max(total, buffer.offset + buffer.size)
    return total


@jit
def _run(code, bases, memory, state, helpers, release_lock):
    words, addresses = load_integer(code, 0), load_integer(code, 1)
    steps, flags = load_integer(code, 2), load_integer(code, 3)
    at = _HEAD
    for word in range(words):
        store_integer(memory, word, load_integer(code, at + word))
    at += words
    for _ in range(addresses):
        number, offset = load_integer(code, at + 1), load_integer(code, at + 2)
        base = memory if number == _OWN else load_integer(bases, number - 1)
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


class Program:
    """Ready to run, by several threads at once if they like."""

    def __init__(self, code: np.ndarray, memory: int, helpers: int, kept: list[tuple[np.ndarray, Any]]) -> None:
        """From `ProgramBuilder.finish`: ``memory`` bytes and so many ``helpers`` at most are needed."""
        self._code, self._start = code, code.ctypes.data
        self._memory, self._helpers, self._kept = memory, helpers, kept

    @property
    def nbytes(self) -> int:
        """Bytes of the program and of all plans that it refers to; the memory of a run is `buffers`' own."""
        return self._code.nbytes + sum(args.nbytes + getattr(keep, "nbytes", 0) for args, keep in self._kept)

    def run(self, operands: Sequence[int]) -> bool:
        """Do all jobs with operands at these addresses, 0 for none; whether no job has raised its flag."""
        helpers = workers.pool.helpers(self._helpers + 1, self._helpers + 1) if self._helpers else 0
        memory = buffers.scratch(self._memory)
        bases = np.array(operands, np.int64)
        state = workers.pool.state
        fine = _run(self._start, address(bases), address(memory), state, helpers, RELEASE)
        buffers.give_back(memory)
        return bool(fine)
