"""The functions of `intrinsics` for Numba's simulator: the same values in Python, one thread at a time.

Sums are NumPy arrays here. The matrix units' product is the work of a whole warp, so each thread puts the whole
fragments together from shared memory by the layouts that the PTX manual gives, and keeps its own elements.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.backends.numba_cuda.cores import MatrixTile, RegisterTile


class Memory:
    """A pointer in the simulator: elements that are reached by an index; an index beyond them is an error."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array.reshape(-1)
        self._size = self._array.size

    def __getitem__(self, at: Any) -> Any:
        if not 0 <= at < self._size:
            raise IndexError(f"read at {at} of {self._size} elements")
        return self._array[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        if not 0 <= at < self._size:
            raise IndexError(f"write at {at} of {self._size} elements")
        self._array[at] = value

    def part(self, at: Any, count: int) -> np.ndarray:
        """Returns ``count`` elements from ``at`` on, whose place is a multiple of their number as 128-bit loads need
        it."""
        if at % count or not 0 <= at <= self._size - count:
            raise IndexError(f"vector of {count} at {at} of {self._size} elements")
        return self._array[at : at + count]


class Shared:
    """The simulator's shared memory, a piece for each line that asks for one; Numba's own takes no alignment."""

    def __init__(self, dynamic: int) -> None:
        self._pieces: dict[tuple[str, int], np.ndarray] = {}

    def array(self, shape: Any, dtype: Any, alignment: int | None = None) -> np.ndarray:
        frame = inspect.currentframe()
        assert frame is not None
        assert frame.f_back is not None
        place = frame.f_back.f_code.co_filename, frame.f_back.f_lineno
        if place not in self._pieces:
            self._pieces[place] = np.full(shape, np.nan if "float" in dtype.name else -1, dtype.name)
        return self._pieces[place]

    def clear(self) -> None:
        """Forget all pieces, so that the next block finds none of them."""
        self._pieces.clear()


def _part(memory: Any, at: Any, count: int) -> np.ndarray:
    return memory.part(at, count) if isinstance(memory, Memory) else Memory(memory).part(at, count)


def zeros(count: int, dtype: Any) -> Any:
    return lambda: np.zeros(count, dtype.name)


def load_vectors(groups: int, count: int, dtype: Any) -> Any:
    def load(memory: Any, at: Any, step: Any) -> np.ndarray:
        return np.concatenate([_part(memory, at + group * step, count) for group in range(groups)])

    return load


def store_vectors(groups: int, count: int, dtype: Any) -> Any:
    def store(memory: Any, at: Any, step: Any, values: Any) -> None:
        for group in range(groups):
            _part(memory, at + group * step, count)[:] = values[group * count : (group + 1) * count]

    return store


def head(count: int, total: int, dtype: Any) -> Any:
    return _picked(range(count))


def rotate(count: int, total: int, dtype: Any) -> Any:
    return _picked([(i + count) % total for i in range(total)])


def fragment_rows(fragments: int, total: int, half: int) -> Any:
    return _picked([4 * i + 2 * half + j for i in range(fragments) for j in range(2)])


def _picked(order: Sequence[int]) -> Any:
    places = np.array(order)
    return lambda sums: np.asarray(sums)[places]


def outer(rows: int, columns: int, dtype: Any) -> Any:
    def multiply(sums: Any, a: Any, b: Any) -> np.ndarray:
        return sums + np.multiply.outer(np.asarray(a, dtype.name), np.asarray(b, dtype.name)).reshape(-1)

    return multiply


def gather(count: int, stored: Any) -> Any:
    def gathered(memory: Any, at: Any, step: Any, limit: Any) -> np.ndarray:
        places = [at + min(i, limit - 1) * step for i in range(count)]
        return np.array([_number(memory[place], stored) for place in places])

    return gathered


def gather_inside(count: int, stored: Any) -> Any:
    def gathered(memory: Any, row: Any, column: Any, step: Any, width: Any) -> np.ndarray:
        columns = [column + i * step for i in range(count)]
        values = [_number(memory[row + at], stored) if 0 <= at < width else 0 for at in columns]
        return np.array(values, stored.computed.name)

    return gathered


def _number(element: Any, stored: Any) -> Any:
    if stored.name == "float16":
        return from_float16(element)
    return float_from_bits(int(element) << 16) if stored.name == "bfloat16" else element


def multiply_tiles(tile: RegisterTile, dtype: Any) -> Any:
    pitch_a, pitch_b = tile.pitches
    vector = tile.vector
    rows = np.add.outer(np.arange(tile.row_groups) * tile.row_spacing, np.arange(vector)).reshape(-1)
    columns = np.add.outer(np.arange(tile.column_groups) * tile.column_spacing, np.arange(vector)).reshape(-1)

    def multiply(sums: Any, a: Any, b: Any, at_a: Any, at_b: Any) -> np.ndarray:
        if at_a % vector or at_b % vector:
            raise IndexError(f"vectors at {at_a} and {at_b}")
        kept = sums.reshape(rows.size, columns.size)
        for depth in range(tile.depth):
            row, column = a[at_a + depth * pitch_a + rows], b[at_b + depth * pitch_b + columns]
            kept = kept + np.multiply.outer(row, column)
        return kept.reshape(-1)

    return multiply


def multiply_matrices(tile: MatrixTile) -> Any:
    pitch_a, pitch_b = tile.pitches

    def multiply(sums: Any, a: Any, b: Any, at_a: Any, at_b: Any) -> np.ndarray:
        group, place = _lane(at_a, at_b, tile)
        kept = sums.reshape(tile.row_fragments, tile.column_fragments, 4).copy()
        base_a, base_b = at_a - place * pitch_a - group, at_b - place * pitch_b - group
        for depth in range(0, tile.depth, 8):
            ks = np.arange(depth, depth + 8)
            for i in range(tile.row_fragments):
                rows = a[np.add.outer(16 * i + np.array([group, group + 8]), ks * pitch_a) + base_a]
                for j in range(tile.column_fragments):
                    pair = 8 * j + np.array([2 * place, 2 * place + 1])
                    columns = b[np.add.outer(ks * pitch_b, pair) + base_b]
                    kept[i, j] += (_checked_tf32(rows) @ _checked_tf32(columns)).reshape(-1)
        return kept.reshape(-1)

    return multiply


def _lane(at_a: int, at_b: int, tile: MatrixTile) -> tuple[int, int]:
    """Returns the lane's group and its place in it, from where its elements of A and B begin."""
    group, place = at_a % 8, at_a // tile.pitches[0] % tile.depth
    if at_b % 8 != group or place > 3:
        raise IndexError(f"A at {at_a} and B at {at_b} belong to no lane")
    return group, place


def _checked_tf32(values: np.ndarray) -> np.ndarray:
    """Returns the values; raises an error if matrix units would round them."""
    lost = np.ascontiguousarray(values, np.float32).view(np.uint32) & 0x1FFF
    if (lost[np.isfinite(values)] != 0).any():
        raise ValueError("a value was not rounded to TF32")
    return values


def to_tf32(value: Any) -> Any:
    if not np.isfinite(value):
        return np.float32(value)
    bits = np.float32(value).view(np.uint32)
    return np.uint32((int(bits) + 0x1000) & 0xFFFFE000).view(np.float32)


def from_float16(bits: Any) -> Any:
    return np.float32(np.uint16(bits).view(np.float16))


def to_float16(value: Any) -> Any:
    return np.float16(value).view(np.uint16)


def float_from_bits(bits: Any) -> Any:
    return np.uint32(bits).view(np.float32)


def bits_of_float(value: Any) -> Any:
    return int(np.float32(value).view(np.uint32))


def atomic_min(memory: Any, at: Any, value: Any) -> None:
    memory[at] = min(memory[at], value)
