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
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastconv.backends.short import Short

Call = Callable[..., Any]
Words = Callable[[Any], list[int]]

_FIRST_CALLS = 64
"""Number of a process's calls that take the usual way: a fifth of a millisecond."""

BACKEND = {
    "conv2d": 7,
    "conv2d_input": 7,
    "conv2d_weight": 7,
    "max_pool2d": 7,
    "avg_pool2d": 7,
    "avg_pool2d_backward": 8,
}
"""The operations whose calls may be known, and the number of their argument ``backend``, which is the last.

A table gets the arrays first: ``conv2d_input`` has grad_output, weight, input_size, and ``conv2d_weight`` has input,
grad_output, weight_size."""

OF_TENSORS = {**BACKEND, "max_pool2d_gradient": 8}
"""The same on tensors. ``max_pool2d_gradient`` has grad_output, indices, input_size: autograd asks for it with indices
that a pooling gave, which need no check."""


class TensorInterface(NamedTuple):
    """What compiled code needs to know of torch: two classes, a place, numbers of data types, addresses of functions.

    A *handle* is the address of torch's reference to a tensor, which stands in the tensor's Python object.
    """

    tensor: int
    """Address of the class of tensors."""
    parameter: int
    """Address of the class of parameters."""
    handle: int
    """Bytes of a tensor's object before its handle."""
    float32: int
    float64: int
    int64: int
    describe: int
    """Fills the ``DLTensor`` of an object: the function of DLPack's exchange."""
    is_negated: int
    """Tells by a handle whether a tensor's numbers are stored negated."""
    wants_gradient: int
    """Tells by the address that a handle holds whether a gradient is to be recorded."""
    records_gradients: int
    """Tells whether gradients are recorded at all."""
    casts: int
    """Tells by torch's number of a device, 0 for the CPU, whether autocast changes data types there."""
    storage_bytes: int
    """Writes the size of a tensor's storage in bytes."""
    storage_offset: int
    """Writes the number of elements of the storage before the tensor's first."""
    data: int
    """Writes the address of a tensor's first element."""
    version: int
    """Returns how often a tensor was changed in place."""
    empty: int
    """Makes a tensor without content, and writes its handle."""
    wrapped: int
    """Returns a new Python object for a handle."""
    forget: int
    """Deletes a handle that `empty` has written."""


class Table(Protocol):
    """Knows calls again."""

    def call(self, operation: str, backend: int) -> Call:
        """Returns the function that computes known calls; its argument ``backend``, a number, may be None."""

    def tensor_call(self, operation: str, backend: int, tensors: TensorInterface, words: Words) -> Call:
        """Returns the same for tensors; ``words`` returns what a key has of a tensor."""

    def learn(
        self, operation: str, arguments: Sequence[Any], short: Short, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        """Know a call from now on; its result has this ``shape`` and data type, and indices have the same shape."""

    def forget(self) -> None:
        """Forget all calls."""


class Tensors(Protocol):
    """Known calls on another kind of array than NumPy's; `fastconv.torch` has those on tensors."""

    kind: type
    """The class of a call's first argument."""

    def use(self, table: Table) -> None:
        """Take the functions that compute known calls from a table."""

    def described(self, tensor: Any) -> np.dtype[Any] | None:
        """Returns the data type of a tensor that a known call may have; None for what isn't one."""

    def conv2d(self, *arguments: Any) -> Any: ...

    def conv2d_input(self, *arguments: Any) -> Any: ...

    def conv2d_weight(self, *arguments: Any) -> Any: ...

    def max_pool2d(self, *arguments: Any) -> Any: ...

    def avg_pool2d(self, *arguments: Any) -> Any: ...

    def avg_pool2d_backward(self, *arguments: Any) -> Any: ...


tensors: Tensors | None = None
"""Known calls on tensors, or None."""

_starts: list[Callable[[], Table | None]] = []
_tables: list[Table] = []
_calls = 0


def unknown(*arguments: Any) -> Any:
    """Returns `NotImplemented`; makes the table when the process has made enough calls."""
    global _calls, conv2d, conv2d_input, conv2d_weight, max_pool2d, avg_pool2d, avg_pool2d_backward
    _calls += 1
    if _calls >= _FIRST_CALLS and _starts:
        table = _starts.pop()()
        if table is not None:
            made = {name: table.call(name, backend) for name, backend in BACKEND.items()}
            _tables.append(table)
            if tensors is not None:
                tensors.use(table)
            conv2d, conv2d_input, conv2d_weight, max_pool2d, avg_pool2d, avg_pool2d_backward = made.values()
    return NotImplemented


conv2d: Call = unknown
conv2d_input: Call = unknown
conv2d_weight: Call = unknown
max_pool2d: Call = unknown
avg_pool2d: Call = unknown
avg_pool2d_backward: Call = unknown


def offer(start: Callable[[], Table | None]) -> None:
    """Offer a table; ``start`` makes it, or returns None where it can't work."""
    _starts.append(start)


def add_tensors(calls: Tensors) -> None:
    """Let calls on tensors be known too."""
    global tensors
    tensors = calls
    for table in _tables:
        calls.use(table)


def learn(operation: str, arguments: Sequence[Any], short: Short, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Let the table know a call from now on, as `Table.learn`."""
    for table in _tables:
        table.learn(operation, arguments, short, shape, dtype)


def forget() -> None:
    """Forget all calls."""
    for table in _tables:
        table.forget()
