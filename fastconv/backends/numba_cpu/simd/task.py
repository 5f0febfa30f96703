"""Tasks: functions that a job runs many times, each time with another number, on any of some threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core.types import intp

from fastconv.backends.jit import address_of, inner, once
from fastconv.backends.numba_cpu.simd.arguments import Arguments

Task = Callable[[Any], int]
"""Returns the address of a task that is compiled, at the first call, for a `Simd` or the like."""


def task(arguments: type[Arguments]) -> Callable[[Callable[..., None]], Task]:
    """Make a `Task` of a function ``(simd, args, task, thread)``.

    ``simd`` is known when it is compiled, ``args`` are the job's ``arguments``, ``task`` is the number of the task, and
    ``thread`` that of the thread, below the job's number of threads: it says which workspace is free.
    """

    def decorate(body: Callable[..., None]) -> Task:
        compiled = inner(body)

        @once
        def address(simd: Any) -> int:
            def run(args, number, thread):
                compiled(simd, args, number, thread)

            run.__module__, run.__qualname__, run.__name__ = body.__module__, body.__qualname__, body.__name__
            return address_of(run, arguments.type, intp, intp)

        address.__doc__ = body.__doc__
        return address

    return decorate
