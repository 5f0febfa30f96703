"""These functions answer known calls on torch tensors, by functions of torch's that are written in C and C++.

DLPack's exchange is a table of C functions that torch shows to others (DLPack 1.3); one of them fills a ``DLTensor``
without taking a reference. It is of six words: address, device, rank and data type, addresses of sizes and strides,
offset. Others (`fastconv.known.TensorInterface`) tell what a description leaves out: whether a gradient is wanted,
whether the numbers are stored negated, and how large the storage is, since a storage that something shrank would be
read beyond its end. Python code in front has seen that nothing but plain computing goes on.
"""

from __future__ import annotations

from fastconv.backends.compiler import Kernel, compiled, inner
from fastconv.backends.numba_cpu.calls import entry
from fastconv.backends.numba_cpu.calls.c_calls import c_call
from fastconv.backends.numba_cpu.calls.objects import DATA, LOW, TYPE
from fastconv.backends.numba_cpu.calls.record import (
    DIMS,
    INDEX_DTYPE,
    ITEM_BYTES,
    KEY,
    KEY_WORDS,
    SHAPE,
    STATE,
    compute,
)
from fastconv.backends.numba_cpu.simd import load_integer, stack_integers, store_integer
from fastconv.known import TensorInterface

TENSOR_TAG = 3
"""First word of a tensor in a key."""

_ADDRESS, _DEVICE, _KIND, _SIZES, _STRIDES, _OFFSET = range(6)
_BYTES = 48
"""Size of a ``DLTensor``, in bytes."""

# The words of a state that torch's interface is in.
_PLACE = {name: entry.INTERFACE + number for number, name in enumerate(TensorInterface._fields)}
_TENSOR, _PARAMETER, _HANDLE = (_PLACE[name] for name in ("tensor", "parameter", "handle"))
_FLOAT32, _FLOAT64, _INT64, _DESCRIBE = (_PLACE[name] for name in ("float32", "float64", "int64", "describe"))
_NEGATED, _WANTS, _RECORDS = (_PLACE[name] for name in ("is_negated", "wants_gradient", "records_gradients"))
_STORED, _BEFORE, _DATA = (_PLACE[name] for name in ("storage_bytes", "storage_offset", "data"))
_CASTS, _EMPTY, _WRAPPED, _FORGET = (_PLACE[name] for name in ("casts", "empty", "wrapped", "forget"))

_TRUE = 0xFF
"""The byte of a result in which C++ returns a truth value."""


@inner
def _is_held(state, handle, tensor, dims):
    """Return True if a storage has all elements of a contiguous tensor of ``dims`` dimensions.

    A tensor of zeros that torch has not written tells the size that its storage would have, and has no address.
    """
    if load_integer(tensor, _ADDRESS) == 0:
        return False
    elements, sizes, found = 1, load_integer(tensor, _SIZES), stack_integers()
    for dim in range(dims):
        elements *= load_integer(sizes, dim)
    failed = c_call(load_integer(state, _STORED), (handle, found)) & LOW
    failed |= c_call(load_integer(state, _BEFORE), (handle, found + 8)) & LOW
    item = (load_integer(tensor, _KIND) >> 40 & 0xFF) // 8
    return failed == 0 and (load_integer(found, 1) + elements) * item <= load_integer(found, 0)


@inner
def _is_plain(state, object_, handle):
    """Return True for a tensor that records no gradient, and whose numbers are stored as they are."""
    kind = load_integer(object_, TYPE)
    if kind != load_integer(state, _TENSOR) and kind != load_integer(state, _PARAMETER):
        return False
    if c_call(load_integer(state, _NEGATED), (handle,)) & _TRUE != 0:
        return False
    if c_call(load_integer(state, _WANTS), (load_integer(handle, 0),)) & _TRUE == 0:
        return True
    return c_call(load_integer(state, _RECORDS), (0,)) & _TRUE == 0


@inner
def _write_tensor(state, object_, tensor, key):
    """Describe a tensor, and write its words to a key; return their number, 0 if Python code must look at it."""
    handle = object_ + load_integer(state, _HANDLE)
    if not _is_plain(state, object_, handle):
        return 0
    if c_call(load_integer(state, _DESCRIBE), (object_, tensor)) & LOW != 0:
        c_call(load_integer(state, entry.CLEAR), (0,))
        return 0
    dims = load_integer(tensor, _KIND) & LOW
    if dims > entry.MOST_ITEMS or load_integer(tensor, _OFFSET) != 0 or not _is_held(state, handle, tensor, dims):
        return 0
    store_integer(key, 0, TENSOR_TAG)
    store_integer(key, 1, load_integer(object_, TYPE))
    store_integer(key, 2, load_integer(tensor, _DEVICE))
    store_integer(key, 3, load_integer(tensor, _KIND))
    entry.write_items(key + 32, load_integer(tensor, _SIZES), dims)
    entry.write_items(key + 32 + 8 * dims, load_integer(tensor, _STRIDES), dims)
    return 4 + 2 * dims


@inner
def _new_tensor(state, record, dtype):
    """Return the handle of a new tensor for a record's result, 0 if there is no memory for it.

    ``dtype`` is the place of torch's number for its data type in the state.
    """
    dims, shape, strides, made = load_integer(record, DIMS), load_integer(record, SHAPE), stack_integers(), 1
    for number in range(dims):
        store_integer(strides, dims - 1 - number, made)
        made *= load_integer(shape, dims - 1 - number)
    number, handle = load_integer(state, dtype), strides + 8 * dims
    failed = c_call(load_integer(state, _EMPTY), (dims, shape, strides, number, 0, 0, handle)) & LOW
    return 0 if failed != 0 else load_integer(handle, 0)


@inner
def _has_address(state, handle, found):
    """Write the address of a tensor's first element to ``found``; return False if there is none."""
    return handle != 0 and c_call(load_integer(state, _DATA), (handle, found)) & LOW == 0


@inner
def _taken(state, handle):
    """Return a Python object for a new tensor, or 0 with Python's error set, and delete the handle."""
    made = c_call(load_integer(state, _WRAPPED), (handle,))
    c_call(load_integer(state, _FORGET), (handle,))
    return made


@inner
def _forget(state, handle):
    """Delete a new tensor, if there is one."""
    if handle != 0:
        c_call(load_integer(state, _FORGET), (handle,))


@inner
def _answer(state, record, places):
    """Return the result of a record's program in a new tensor, two in a tuple with indices, or `NotImplemented`."""
    values = _new_tensor(state, record, _FLOAT32 if load_integer(record, ITEM_BYTES) == 4 else _FLOAT64)
    found, indices, indexed = stack_integers(), 0, load_integer(record, INDEX_DTYPE) != 0
    fine = _has_address(state, values, found)
    if fine and indexed:
        indices = _new_tensor(state, record, _INT64)
        fine = _has_address(state, indices, found + 8)
    # A program looks for an array's address in the word of its object that has it.
    if fine and compute(record, places, found - 8 * DATA, found + 8 - 8 * DATA):
        result = _taken(state, values)
        return entry.pair(state, result, _taken(state, indices)) if indexed else result
    _forget(state, values)
    _forget(state, indices)
    return entry.shared(state, load_integer(state, entry.MISSED))


def _known_call(owner, arguments, count):
    state, key = load_integer(owner, DATA), stack_integers()
    described, places = stack_integers(), stack_integers()
    missed, first = load_integer(state, entry.MISSED), load_integer(state, entry.TENSORS)
    if c_call(load_integer(state, _CASTS), (0,)) & _TRUE != 0:
        return entry.shared(state, missed)
    store_integer(key, 0, load_integer(state, entry.OPERATION))
    words = 1
    for number in range(first):
        each, tensor = load_integer(arguments, number), described + _BYTES * number
        if each == load_integer(state, entry.NONE):
            first = number
            break
        store_integer(places, number, tensor - 8 * DATA)
        written = _write_tensor(state, each, tensor, key + 8 * words)
        if written == 0:
            return entry.shared(state, missed)
        words += written
    words = entry.write_arguments(state, arguments, (first, count), key, words)
    if words == 0:
        return entry.shared(state, missed)
    record = entry.find(state, key, words)
    return entry.unknown(state, key, words) if record == 0 else _answer(state, record, places)


@compiled
def known_call() -> Kernel:
    """Return the address of the function that computes known calls on tensors, whose state is its owner."""
    return Kernel(_known_call, (int, int, int), returns=True)


def _planned_call(owner, arguments, count):
    record = load_integer(owner, DATA)
    state, tensor, key, places = load_integer(record, STATE), stack_integers(), stack_integers(), stack_integers()
    store_integer(places, 0, tensor - 8 * DATA)
    words = _write_tensor(state, load_integer(arguments, 0), tensor, key)
    # Parameters and other tensors are alike to a plan: the second word is a tensor's class.
    store_integer(key, 1, load_integer(load_integer(record, KEY), 1))
    if words != load_integer(record, KEY_WORDS) or not entry.is_same(key, load_integer(record, KEY), words):
        return entry.shared(state, load_integer(state, entry.MISSED))
    return _answer(state, record, places)


@compiled
def planned_call() -> Kernel:
    """Return the address of the function that computes a planned convolution on tensors, whose record is its owner."""
    return Kernel(_planned_call, (int, int, int), returns=True)
