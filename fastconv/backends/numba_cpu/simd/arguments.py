"""Arguments of compiled tasks: named 64-bit integers, side by side in memory, that a kernel reads as attributes.

A family of kernels declares its arguments as a class with annotated fields, in a file of its own::

    class FoldArguments(Arguments):
        source: int
        "Address of the column matrix."
        R: int
        "Rows of the kernel."

In Python, ``FoldArguments.new(R=3)`` is a NumPy record of them, and ``record["source"]`` one of its fields. In a task,
``args.R`` loads one and ``args.flag = 1`` stores one: each a single instruction, as it is in C. A class that derives
from another has its fields first, so that a task for the one can be given the arguments of the other.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

from fastconv.backends.numba_cpu.simd.compile_time import register_fields

MOST_WORDS = 64
"""Fields that arguments may have: memory of a job begins with that many words for them."""


class ArgumentsType(types.Type):
    """Numba's type of the address of some arguments."""

    def __init__(self, name: str, words: dict[str, int]) -> None:
        self.words = words
        super().__init__(name)


class Arguments:
    """The arguments of a family of kernels, none yet; a derived class annotates its fields, each a 64-bit integer."""

    words: ClassVar[dict[str, int]] = {}
    """The place of each field, in words."""
    dtype: ClassVar[np.dtype]
    """A record of the fields, and of nothing up to `MOST_WORDS`."""
    type: ClassVar[ArgumentsType]
    """The address of them, as compiled code sees it."""

    def __init_subclass__(cls) -> None:
        own = [name for name, kind in cls.__annotations__.items() if kind == "int"]
        cls.words = cls.words | {name: len(cls.words) + i for i, name in enumerate(own)}
        assert len(cls.words) <= MOST_WORDS, f"{cls.__name__} has {len(cls.words)} fields"
        fields: Any = {"names": [*cls.words], "formats": [np.int64] * len(cls.words), "itemsize": 8 * MOST_WORDS}
        cls.dtype = np.dtype(fields)
        cls.type = ArgumentsType(f"{cls.__module__}.{cls.__qualname__}", cls.words)

    @classmethod
    def new(cls, **values: int) -> np.ndarray:
        """Return a record (1,) of the fields, 0 but for ``values``."""
        record = np.zeros(1, cls.dtype)
        for name, value in values.items():
            record[name] = value
        return record

    @classmethod
    def positions(cls, *names: str) -> tuple[int, ...]:
        """Return the places of some fields, in words."""
        return tuple(cls.words[name] for name in names)


register_fields(ArgumentsType)


@intrinsic
def address_of_arguments(typing, args):
    """Return the address of arguments, as an integer that other kernels can be given."""

    def generate(context, builder, signature, values):
        return values[0]

    return intp(args), generate


@intrinsic
def arguments_at(typing, args, address):
    """Return arguments of the same kind as ``args`` that lie at another address."""

    def generate(context, builder, signature, values):
        return values[1]

    return args(args, intp), generate
