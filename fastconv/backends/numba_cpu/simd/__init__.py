"""Vectors for Numba: a type for a register full of numbers, and the operations that kernels need.

Numba leaves vectors to LLVM's optimiser, which finds them in easy loops and stays at 256 bits where the processor has
512. Here they are written out: ``load(simd, base, i)`` is one instruction, and its value has a type of its own. The
first argument of every operation, a `Simd`, says at compile time what the elements are and how many a vector holds; it
takes no register and no time.

instruction_set.py   what a processor's vectors are
types.py             Numba types: `Simd`, and a vector
memory.py            loads, stores, prefetches, transposes
ops.py               arithmetic, masks, calls by address
emit.py              the same as LLVM instructions, for intrinsics of the kernels' own
"""

from fastconv.backends.numba_cpu.simd.emit import (
    ask_for,
    broadcast_value,
    element,
    load_vector,
    mask_between,
    mask_of_bits,
    masked_load,
    masked_store,
    multiply_add,
    raise_to,
    shuffled,
    store_vector,
    transposed,
    vector_at,
)
from fastconv.backends.numba_cpu.simd.instruction_set import InstructionSet
from fastconv.backends.numba_cpu.simd.memory import (
    load,
    load_integer,
    load_scalar,
    load_where,
    prefetch,
    stack_integers,
    store,
    store_integer,
    store_scalar,
    store_where,
    transpose,
)
from fastconv.backends.numba_cpu.simd.ops import (
    add,
    bits_between,
    broadcast,
    call,
    evens,
    fused,
    is_zero,
    lanes_between,
    mask_from,
    not_below,
    spread_high,
    spread_low,
    zero,
    zeros,
)
from fastconv.backends.numba_cpu.simd.types import Simd, SimdType, VectorType, mask_of, vector_of

__all__ = [
    "InstructionSet",
    "Simd",
    "SimdType",
    "VectorType",
    "add",
    "ask_for",
    "bits_between",
    "broadcast",
    "broadcast_value",
    "call",
    "element",
    "evens",
    "fused",
    "is_zero",
    "lanes_between",
    "load",
    "load_integer",
    "load_scalar",
    "load_vector",
    "load_where",
    "mask_between",
    "mask_from",
    "mask_of",
    "mask_of_bits",
    "masked_load",
    "masked_store",
    "multiply_add",
    "not_below",
    "prefetch",
    "raise_to",
    "shuffled",
    "spread_high",
    "spread_low",
    "stack_integers",
    "store",
    "store_integer",
    "store_scalar",
    "store_vector",
    "store_where",
    "transpose",
    "transposed",
    "vector_at",
    "vector_of",
    "zero",
    "zeros",
]
