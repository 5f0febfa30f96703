"""Calls that a backend's compiled code knows again, and computes before any Python code looks at them.

A small convolution takes half a microsecond, and the way to it through Python code takes four: the arguments are
checked, the geometry, the backend and the plan are looked up. A call with arguments of the same types, shapes and
values finds the same ones each time. So a function of the API asks here first. Its answer is the result;
`NotImplemented`, and the function goes its usual way; or None, and the function also tells what it has found
(`fastconv.remembering`). All calls take the usual way until a backend has offered a table, and the first calls of a
process do in any case: a program that makes a few doesn't wait for the table to be compiled.

What a table knows depends on the choice of a backend and on the backends that there are: `forget` must be called when
these change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fastconv.backends.short import Short

Call = Callable[..., Any]

_FIRST_CALLS = 64
"""Number of a process's calls that take the usual way: a fifth of a millisecond."""

BACKEND = {"conv2d": 7, "max_pool2d": 7, "avg_pool2d": 7}
"""The operations whose calls may be known, and the number of their argument ``backend``, which is the last."""


class Table(Protocol):
    """Knows calls again."""

    def call(self, operation: str, backend: int) -> Call:
        """Returns the function that computes known calls; its argument ``backend``, a number, may be None."""

    def learn(self, operation: str, arguments: Sequence[Any], short: Short, shape: tuple[int, ...]) -> None:
        """Know a call from now on; its result has this ``shape`` and the first argument's data type."""

    def forget(self) -> None:
        """Forget all calls."""


_starts: list[Callable[[], Table | None]] = []
_tables: list[Table] = []
_calls = 0


def _unknown(*arguments: Any) -> Any:
    global _calls, conv2d, max_pool2d, avg_pool2d
    _calls += 1
    if _calls >= _FIRST_CALLS and _starts:
        table = _starts.pop()()
        if table is not None:
            made = {name: table.call(name, backend) for name, backend in BACKEND.items()}
            _tables.append(table)
            conv2d, max_pool2d, avg_pool2d = made["conv2d"], made["max_pool2d"], made["avg_pool2d"]
    return NotImplemented


conv2d: Call = _unknown
max_pool2d: Call = _unknown
avg_pool2d: Call = _unknown


def offer(start: Callable[[], Table | None]) -> None:
    """Offer a table; ``start`` makes it, or returns None where it can't work."""
    _starts.append(start)


def learn(operation: str, arguments: Sequence[Any], short: Short, shape: tuple[int, ...]) -> None:
    """Let the table know a call from now on, as `Table.learn`."""
    for table in _tables:
        table.learn(operation, arguments, short, shape)


def forget() -> None:
    """Forget all calls."""
    for table in _tables:
        table.forget()
