"""This function answers known calls on torch tensors, whose addresses, sizes and strides DLPack's exchange gives.

The exchange is a table of C functions that torch shows to others (DLPack 1.3); one of them fills a ``DLTensor`` without
taking a reference. It is of six words: address, device, rank and data type, addresses of sizes and strides, offset.
Python code in front of it has seen that no gradient is recorded, that nothing but plain computing goes on, and that no
tensor's numbers are stored negated. It also says how large each storage is, and where in it the tensor begins: a
storage that something shrank would be read beyond its end.
"""

from __future__ import annotations

from fastconv.backends.compiler import Kernel, compiled, inner
from fastconv.backends.numba_cpu.calls import entry
from fastconv.backends.numba_cpu.calls.c_calls import c_call
from fastconv.backends.numba_cpu.calls.objects import DATA, LOW, TYPE
from fastconv.backends.numba_cpu.simd import load_integer, stack_integers, store_integer

TENSORS = 3
"""Most tensors of a call. Its first arguments are tensors or None; behind its own arguments come two integers for each
of them: bytes of the storage, and elements before the tensor's first."""

TENSOR_TAG = 3
"""First word of a tensor in a key."""

_ADDRESS, _DEVICE, _KIND, _SIZES, _STRIDES, _OFFSET = range(6)
_BYTES = 48
"""Size of a ``DLTensor``, in bytes."""


@inner
def _is_held(state, tensor, dims, storage, before):
    """Return True if a storage has all elements of a contiguous tensor of ``dims`` dimensions."""
    elements, sizes = 1, load_integer(tensor, _SIZES)
    for dim in range(dims):
        elements *= load_integer(sizes, dim)
    item = (load_integer(tensor, _KIND) >> 40 & 0xFF) // 8
    convert = load_integer(state, entry.AS_INTEGER)
    return (c_call(convert, (before,)) + elements) * item <= c_call(convert, (storage,))


@inner
def _write_tensor(state, object_, tensor, key):
    """Describe a tensor, and write its words to a key; return their number, 0 if there is no description."""
    if c_call(load_integer(state, entry.EXCHANGE), (object_, tensor)) & LOW != 0:
        c_call(load_integer(state, entry.CLEAR), (0,))
        return 0
    dims = load_integer(tensor, _KIND) & LOW
    if dims > entry.MOST_ITEMS or load_integer(tensor, _OFFSET) != 0:
        return 0
    store_integer(key, 0, TENSOR_TAG)
    store_integer(key, 1, load_integer(object_, TYPE))
    store_integer(key, 2, load_integer(tensor, _DEVICE))
    store_integer(key, 3, load_integer(tensor, _KIND))
    entry.write_items(key + 32, load_integer(tensor, _SIZES), dims)
    entry.write_items(key + 32 + 8 * dims, load_integer(tensor, _STRIDES), dims)
    return 4 + 2 * dims


def _known_call(owner, arguments, count):
    state, key = load_integer(owner, DATA), stack_integers()
    tensors, places = stack_integers(), stack_integers()
    missed, count = load_integer(state, entry.MISSED), count - 2 * TENSORS
    store_integer(key, 0, load_integer(state, entry.OPERATION))
    words, first = 1, TENSORS
    for number in range(TENSORS):
        each, tensor = load_integer(arguments, number), tensors + _BYTES * number
        # A program looks for an array's address in the word of its object that has it.
        store_integer(places, number, tensor - 8 * DATA)
        storage = load_integer(arguments, count + 2 * number)
        if storage == load_integer(state, entry.NONE):
            first = number
            break
        before = load_integer(arguments, count + 2 * number + 1)
        written = _write_tensor(state, each, tensor, key + 8 * words)
        if written == 0 or not _is_held(state, tensor, load_integer(tensor, _KIND) & LOW, storage, before):
            return entry.shared(state, missed)
        words += written
    words = entry.write_arguments(state, arguments, (first, count), key, words)
    return entry.shared(state, missed) if words == 0 else entry.looked_up(state, key, words, places)


@compiled
def known_call() -> Kernel:
    """Return the address of the function that computes known calls on tensors, whose state is its owner."""
    return Kernel(_known_call, (int, int, int), returns=True)
