"""A task is a function that a job calls many times, each time with another task number, on any of its threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core.types import intp

from fastconv.backends.jit import address_of, inner, once
from fastconv.backends.numba_cpu.simd.arguments import Arguments

Task = Callable[[Any], int]
"""A `Task` returns the address of a compiled task; it compiles at the first call for a `Simd` or a similar constant."""


def task(arguments: type[Arguments]) -> Callable[[Callable[..., None]], Task]:
    """Return a decorator that makes a `Task` of a function ``(simd, args, task, thread)``.

    ``simd`` is a compile-time constant, ``args`` are the job's ``arguments``, ``task`` is the number of the task, and
    ``thread`` is the number of the thread, less than the job's number of threads; it selects the thread's workspace.
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
