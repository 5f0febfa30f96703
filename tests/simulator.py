"""Numba's CUDA simulator with coroutines for threads: a barrier then takes microseconds, not milliseconds.

The simulator gives each CUDA thread one of the system's and polls them; here the threads of a block are greenlets that
run one after another, each up to its next barrier. Two things are found besides: a thread that ends while others wait
at a barrier, which hangs a GPU or worse; and, since every other round runs the threads backwards, a barrier that is
missing, when what a thread reads depends on who came first.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import greenlet
import numpy as np
from numba.cuda.simulator import kernel, kernelapi


class _Thread(greenlet.greenlet):
    """One CUDA thread, with what the simulator asks of the thread that is running."""

    def __init__(self, body: Callable[[], None], block: _Block, place: tuple[int, ...], number: int) -> None:
        super().__init__(body)
        self.block = block
        self.blockIdx = block.place
        self.threadIdx = kernelapi.Dim3(*place)
        self.thread_id = number
        self.vote: Any = None
        self.gr_context = contextvars.copy_context()  # with what NumPy was told about errors

    def syncthreads(self) -> None:
        self.vote = None
        self.parent.switch()

    def syncthreads_or(self, value: Any) -> int:
        self.vote = value
        self.parent.switch()
        return int(self.block.anyone)

    def syncthreads_and(self, value: Any) -> int:
        return 1 - self.syncthreads_or(not value)


class _Block:
    """Stands in for the simulator's BlockManager."""

    def __init__(self, body: Callable[..., None], grid: Any, size: tuple[int, ...], debug: bool) -> None:
        self._body = body
        self._size = size
        self.place = kernelapi.Dim3(0, 0, 0)
        self.anyone = False

    def run(self, place: tuple[int, ...], *arguments: Any) -> None:
        self.place = kernelapi.Dim3(*place)
        kernel._get_kernel_context().shared.clear()
        points = list(np.ndindex(*self._size))
        threads = [_Thread(lambda: self._body(*arguments), self, point, n) for n, point in enumerate(points)]
        while threads:
            for thread in threads:
                thread.switch()
            waiting = [thread for thread in threads if not thread.dead]
            if waiting and len(waiting) != len(threads):
                raise RuntimeError(f"{len(threads) - len(waiting)} of {len(threads)} threads passed by a barrier")
            self.anyone = any(thread.vote for thread in waiting)
            threads = waiting[::-1]


class _Running:
    """Stands in for the simulator's module `threading`."""

    Lock = kernelapi.threading.Lock

    @staticmethod
    def current_thread() -> Any:
        return greenlet.getcurrent()


def install() -> None:
    """Change the simulator for this process."""
    kernel.BlockManager = _Block
    kernelapi.threading = _Running
