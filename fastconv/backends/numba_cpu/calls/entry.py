"""These functions are called by Python directly: they know a call again by its arguments, and compute it at once.

The key of a call is a list of 64-bit words: for an array its data type, rank, flags and sizes, and for every other
argument the object's address, which stays the same object's as long as a record keeps that object. A table finds the
record of a key by a hash. A call that has no record returns `NotImplemented` or, where a record should be made, None;
then Python code computes it.
"""

from __future__ import annotations

from fastconv.backends.compiler import Kernel, compiled, inner
from fastconv.backends.numba_cpu.calls.c_calls import c_call
from fastconv.backends.numba_cpu.calls.objects import (
    DATA,
    DTYPE,
    FIRST_ITEM,
    FLAGS,
    LENGTH,
    LOW,
    PLAIN,
    RANK,
    SIZES,
    TYPE,
)
from fastconv.backends.numba_cpu.calls.record import DIMS, INDEX_DTYPE, KEY, KEY_WORDS, SHAPE, compute
from fastconv.backends.numba_cpu.calls.record import DTYPE as RESULT_DTYPE
from fastconv.backends.numba_cpu.simd import load_integer, stack_integers, store_integer
from fastconv.known import TensorInterface

MOST_ITEMS, MOST_WORDS = 4, 64
"""Most dimensions of an array and most items of a tuple in a key, and the most words of a key."""

ARRAY_TAG, TUPLE_TAG = 1, 2
"""First words of an array and of a tuple in a key: no object has these addresses."""

# The words of an operation's state.
NDARRAY, TUPLE, NONE, MISSED, INCREASE, DECREASE, NEW_ARRAY = range(7)
NEW_TUPLE, SET_ITEM, GET_CHOICE, CHOICE, BACKEND, OPERATION, TABLE, MISSES, CLEAR = range(7, 16)
TENSORS, INTERFACE = range(16, 18)
STATE = INTERFACE + len(TensorInterface._fields)

SLOTS, PROBES = 1024, 4
"""Number of records in the table, and of neighbouring places that may have a key's record."""

COUNTERS, PATIENCE, AGAIN = 4096, 8, 64
"""Number of counters of missed calls. A record is asked for at a key's 8th call, since to make one takes as long as
some ten calls, and again every 64th time: another record may have taken its place."""

FACTOR = -7046029254386353131
"""2 ** 64 divided by the golden ratio, as a signed integer: the factor of Fibonacci hashing."""

SHIFT = 32


@inner
def _choice(state):
    """Return the address of the object that says which backend is chosen here: that of a context variable."""
    found = stack_integers()
    store_integer(found, 0, 0)
    c_call(load_integer(state, GET_CHOICE), (load_integer(state, CHOICE), 0, found))
    value = load_integer(found, 0)
    if value != 0:
        c_call(load_integer(state, DECREASE), (value,))
    return value


@inner
def write_items(key, items, count):
    for number in range(count):
        store_integer(key, number, load_integer(items, number))


@inner
def write_array(array, key):
    """Write the words of an array to a key, and return their number; 0 if it has too many dimensions."""
    dims = load_integer(array, RANK) & LOW
    if dims > MOST_ITEMS:
        return 0
    store_integer(key, 0, ARRAY_TAG)
    store_integer(key, 1, load_integer(array, DTYPE))
    store_integer(key, 2, dims << 32 | load_integer(array, FLAGS) & PLAIN)
    write_items(key + 24, load_integer(array, SIZES), dims)
    return 3 + dims


@inner
def _write_tuple(items, key):
    """Write the words of a tuple to a key, as `write_array`."""
    count = load_integer(items, LENGTH)
    if count > MOST_ITEMS:
        return 0
    store_integer(key, 0, TUPLE_TAG)
    store_integer(key, 1, count)
    write_items(key + 16, items + 8 * FIRST_ITEM, count)
    return 2 + count


@inner
def write_arguments(state, arguments, numbers, key, words):
    """Write the arguments with ``numbers``, first and end, to a key; return its new length, 0 if it has none."""
    first, end = numbers
    for number in range(first, end):
        each, here = load_integer(arguments, number), key + 8 * words
        if words + 3 + MOST_ITEMS > MOST_WORDS:
            return 0
        kind = load_integer(each, TYPE)
        if kind == load_integer(state, NDARRAY) or kind == load_integer(state, TUPLE):
            array = kind == load_integer(state, NDARRAY)
            written = write_array(each, here) if array else _write_tuple(each, here)
            if written == 0:
                return 0
            words += written
        else:
            if number == load_integer(state, BACKEND) and each == load_integer(state, NONE):
                each = _choice(state)
            store_integer(here, 0, each)
            words += 1
    return words


@inner
def _hash(key, words):
    value = 0
    for word in range(words):
        value = (value ^ load_integer(key, word)) * FACTOR
        value ^= value >> SHIFT
    return value


@inner
def is_same(key, other, words):
    """Return True if two keys are the same."""
    different = 0
    for word in range(words):
        different |= load_integer(key, word) ^ load_integer(other, word)
    return different == 0


@inner
def find(state, key, words):
    """Return the address of a key's record, or 0."""
    place = _hash(key, words) & (SLOTS - 1)
    for probe in range(PROBES):
        record = load_integer(load_integer(state, TABLE), place + probe)
        if record != 0 and load_integer(record, KEY_WORDS) == words and is_same(load_integer(record, KEY), key, words):
            return record
    return 0


@inner
def _is_wanted(state, value):
    """Count a call that has no record, and return True if one should be made; ``value`` is the hash of its key."""
    counter = load_integer(state, MISSES) + 8 * ((value >> 10) & (COUNTERS - 1))
    count = load_integer(counter, 0) + 1
    store_integer(counter, 0, count)
    return count % AGAIN == PATIENCE


@inner
def shared(state, item):
    """Return the object at an address, with one more reference to it."""
    c_call(load_integer(state, INCREASE), (item,))
    return item


@inner
def _new_array(state, record, dtype):
    """Return a new array for a record's result, or 0 with Python's error set."""
    sizes = load_integer(record, DIMS), load_integer(record, SHAPE), 0, 0, 0, 0
    return c_call(load_integer(state, NEW_ARRAY), (load_integer(state, NDARRAY), shared(state, dtype), *sizes))


@inner
def drop(state, item):
    """Take back a reference to the object at an address, if there is one."""
    c_call(load_integer(state, DECREASE), (item,))


@inner
def pair(state, first, second):
    """Return a tuple of two objects, which gets their references, or 0 with Python's error set.

    The address of an object that couldn't be made is 0.
    """
    made = c_call(load_integer(state, NEW_TUPLE), (2,))
    if made == 0 or first == 0 or second == 0:
        drop(state, made)
        drop(state, first)
        drop(state, second)
        return 0
    c_call(load_integer(state, SET_ITEM), (made, 0, first))
    c_call(load_integer(state, SET_ITEM), (made, 1, second))
    return made


@inner
def answer(state, record, arguments):
    """Return the result of a record's program in a new array, or `NotImplemented` if Python code must compute it.

    With indices it is a tuple of two arrays.
    """
    index_dtype, indices = load_integer(record, INDEX_DTYPE), 0
    result = _new_array(state, record, load_integer(record, RESULT_DTYPE))
    if result != 0 and index_dtype != 0:
        indices = _new_array(state, record, index_dtype)
    if result == 0 or (indices == 0 and index_dtype != 0):
        drop(state, result)
        return 0
    if compute(record, arguments, result, indices):
        return pair(state, result, indices) if indices != 0 else result
    drop(state, result)
    drop(state, indices)
    return shared(state, load_integer(state, MISSED))


@inner
def unknown(state, key, words):
    """Return what is answered to the call of a key without a record."""
    return shared(state, load_integer(state, NONE if _is_wanted(state, _hash(key, words)) else MISSED))


def _known_call(owner, arguments, count):
    state, key = load_integer(owner, DATA), stack_integers()
    store_integer(key, 0, load_integer(state, OPERATION))
    words = write_arguments(state, arguments, (0, count), key, 1)
    if words == 0:
        return shared(state, load_integer(state, MISSED))
    record = find(state, key, words)
    return unknown(state, key, words) if record == 0 else answer(state, record, arguments)


@compiled
def known_call() -> Kernel:
    """Return the address of the function that computes known calls of an operation, whose state is its owner."""
    return Kernel(_known_call, (int, int, int), returns=True)
