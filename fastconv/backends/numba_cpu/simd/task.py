"""A task is a function that a job calls many times, each time with another task number, on any of its threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv.backends.compiler import Kernel, compiled, named
from fastconv.backends.numba_cpu.simd.arguments import Arguments

Task = Callable[[Any], int]
"""A `Task` returns the address of a compiled task; it compiles at the first call for a `Simd` or a similar constant."""


def task(arguments: type[Arguments]) -> Callable[[Callable[..., None]], Task]:
    """Return a decorator that makes a `Task` of a function ``(simd, args, task, thread)``.

    ``simd`` is a compile-time constant, ``args`` are the job's ``arguments``, ``task`` is the number of the task, and
    ``thread`` is the number of the thread, less than the job's number of threads; it selects the thread's workspace.
    """

    def decorate(body: Callable[..., None]) -> Task:
        def make(simd: Any) -> Kernel:
            return Kernel(body, (simd, arguments, int, int))

        make.__module__ = body.__module__
        return compiled(named(make, body))

    return decorate
