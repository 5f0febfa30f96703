"""This folder adds vectors to Numba: a type for a vector register, and the operations on it that kernels use.

Numba itself leaves vectors to LLVM's optimiser, which finds them in simple loops only, and decides by itself what stays
in registers and what becomes of remainders. It does use all 512 bits of AVX-512: of the plain loops of fastconv/ladder
it makes multiply-adds on zmm registers. Here vectors are written explicitly: ``load(simd, base, i)`` is one
instruction, and its result has a vector type. The first argument of every operation, a `Simd`, is a compile-time
constant that gives the type of an element and the number of lanes; it takes no register and no time.

instruction_set.py   the instruction sets: vector size and number of registers
types.py             the constant that describes vectors
kinds.py              what intrinsics call the types of vectors and masks
numba_types.py       what Numba has to know of it, of vectors and of arguments
memory.py            loads, stores, prefetches, transposes
strided.py           loads of elements that are two or four apart
ops.py               arithmetic, masks, calls by address
emit.py              the same operations as LLVM instructions, for kernels that define intrinsics
arguments.py         the arguments of a compiled task, as named integers in memory
task.py              functions that are compiled as tasks
"""

from fastconv.backends.compiler.entry import load_integer, store_integer
from fastconv.backends.numba_cpu.simd.emit import (
    broadcast_value,
    clamped,
    element,
    load_vector,
    mask_between,
    mask_of_bits,
    masked_load,
    masked_store,
    multiply_add,
    prefetch_line,
    shuffled,
    store_vector,
    transposed,
    vector_at,
)
from fastconv.backends.numba_cpu.simd.instruction_set import InstructionSet
from fastconv.backends.numba_cpu.simd.kinds import mask_of, vector_of, vector_type
from fastconv.backends.numba_cpu.simd.memory import (
    load,
    load_most,
    load_scalar,
    load_where,
    prefetch,
    stack_integers,
    stack_square,
    store,
    store_most,
    store_scalar,
    store_where,
    transpose,
)
from fastconv.backends.numba_cpu.simd.ops import (
    add,
    bits_between,
    broadcast,
    call,
    clamp,
    evens,
    fused,
    is_zero,
    lanes_between,
    mask_from,
    spread_high,
    spread_low,
    zero,
    zeros,
)
from fastconv.backends.numba_cpu.simd.types import Simd

__all__ = [
    "InstructionSet",
    "Simd",
    "add",
    "bits_between",
    "broadcast",
    "broadcast_value",
    "call",
    "clamp",
    "clamped",
    "element",
    "evens",
    "fused",
    "is_zero",
    "lanes_between",
    "load",
    "load_integer",
    "load_most",
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
    "prefetch",
    "prefetch_line",
    "shuffled",
    "spread_high",
    "spread_low",
    "stack_integers",
    "stack_square",
    "store",
    "store_integer",
    "store_most",
    "store_scalar",
    "store_vector",
    "store_where",
    "transpose",
    "transposed",
    "vector_at",
    "vector_of",
    "vector_type",
    "zero",
    "zeros",
]
