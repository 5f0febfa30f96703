"""The element types that tensors are stored in, and the type that their sums are computed in.

float16 and bfloat16 are two bytes in memory and float32 in registers: each is rounded once, when it is stored. No GPU
computes in bfloat16 with less than float32's exponent, so its bits are the upper half of a float32's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from fastconv.backends.numba_cuda.target import device, primitives, types


@dataclass(frozen=True)
class Storage:
    """An element type: the type in memory, and the type to compute in."""

    name: str
    itemsize: int
    memory: types.Type
    """The type of an element in memory."""
    computed: types.Type

    def __repr__(self) -> str:
        return self.name

    @property
    def vector(self) -> int:
        """Returns the number of computed elements in 16 bytes."""
        return 16 // (self.computed.bitwidth // 8)


FLOAT32 = Storage("float32", 4, types.float32, types.float32)
FLOAT64 = Storage("float64", 8, types.float64, types.float64)
FLOAT16 = Storage("float16", 2, types.uint16, types.float32)
BFLOAT16 = Storage("bfloat16", 2, types.uint16, types.float32)

STORAGES = {storage.name: storage for storage in (FLOAT32, FLOAT64, FLOAT16, BFLOAT16)}


def computed(storage: Storage) -> Storage:
    """Returns the storage of sums of such elements before they are rounded."""
    return FLOAT64 if storage is FLOAT64 else FLOAT32


@cache
def loader(storage: Storage) -> Callable[..., Any]:
    """Returns the function ``load(memory, at)``: the element as a number to compute with."""
    if storage is FLOAT16:
        from_float16 = primitives.from_float16

        @device
        def load(memory, at):
            return from_float16(memory[at])

    elif storage is BFLOAT16:
        float_from_bits = primitives.float_from_bits
        uint32 = types.uint32

        @device
        def load(memory, at):
            return float_from_bits(uint32(uint32(memory[at]) << 16))

    else:

        @device
        def load(memory, at):
            return memory[at]

    return load


@cache
def storer(storage: Storage) -> Callable[..., Any]:
    """Returns the function ``store(memory, at, value)``: the value rounded to the nearest element, ties to even; NaN
    stays NaN."""
    if storage is FLOAT16:
        to_float16 = primitives.to_float16

        @device
        def store(memory, at, value):
            memory[at] = to_float16(value)

    elif storage is BFLOAT16:
        bits_of_float = primitives.bits_of_float
        uint16 = types.uint16

        @device
        def store(memory, at, value):
            bits = bits_of_float(value)
            if value != value:
                memory[at] = uint16((bits >> 16) | 0x40)
            else:
                memory[at] = uint16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)

    else:

        @device
        def store(memory, at, value):
            memory[at] = value

    return store
