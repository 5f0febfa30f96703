"""The arguments of compiled tasks are named 64-bit integers, contiguous in memory, that a kernel reads as attributes.

A family of kernels declares its arguments as a class with annotated fields, in a file of its own::

    class FoldArguments(Arguments):
        source: int
        "Address of the column matrix."
        R: int
        "Rows of the kernel."

In Python, ``FoldArguments.new(R=3)`` is a NumPy record of these fields, and ``record["source"]`` is one of them. In a
task, ``args.R`` loads a field and ``args.flag = 1`` stores one: each is a single instruction, as in C. A derived class
starts with the fields of its base class, so a task for the base class also accepts the derived class's arguments.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastconv.backends.compiler import intrinsic, types
from fastconv.backends.numba_cpu.simd.kinds import argument_type

MOST_WORDS = 72
"""The largest number of fields. The memory of every job begins with this many 64-bit words for its arguments."""


ARGUMENTS_BYTES = 8 * MOST_WORDS
"""Size of the memory that a record of arguments takes, in bytes."""


class Arguments:
    """This is the base class of arguments. A derived class annotates its fields; each is a 64-bit integer."""

    words: ClassVar[dict[str, int]] = {}
    """The offset of each field, in 64-bit words."""
    dtype: ClassVar[np.dtype]
    """The NumPy type of a record of the fields, padded to `MOST_WORDS` words."""

    def __init_subclass__(cls) -> None:
        own = [name for name, kind in cls.__annotations__.items() if kind == "int"]
        cls.words = cls.words | {name: len(cls.words) + i for i, name in enumerate(own)}
        assert len(cls.words) <= MOST_WORDS, f"{cls.__name__} has {len(cls.words)} fields"
        fields: Any = {"names": [*cls.words], "formats": [np.int64] * len(cls.words), "itemsize": 8 * MOST_WORDS}
        cls.dtype = np.dtype(fields)

    @classmethod
    def numba_type(cls) -> Any:
        """Return the type that the address of such a record has in compiled code."""
        return argument_type(f"{cls.__module__}.{cls.__qualname__}", cls.words)

    @classmethod
    def new(cls, **values: int) -> np.ndarray:
        """Return an array of one record, of shape (1,); fields that are not in ``values`` are 0."""
        record = np.zeros(1, cls.dtype)
        for name, value in values.items():
            record[name] = value
        return record

    @classmethod
    def positions(cls, *names: str) -> tuple[int, ...]:
        """Return the offsets of the named fields, in 64-bit words."""
        return tuple(cls.words[name] for name in names)


@intrinsic
def address_of_arguments(typing, args):
    """Return the address of ``args`` as an integer, which can be passed to other kernels."""

    def generate(context, builder, signature, values):
        return values[0]

    return types.intp(args), generate


@intrinsic
def arguments_at(typing, args, address):
    """Return the arguments at ``address``, with the same type as ``args``."""

    def generate(context, builder, signature, values):
        return values[1]

    return args(args, types.intp), generate
