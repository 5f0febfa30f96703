"""These functions emit what the transforms of a form do with vectors besides their additions along an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from fastconv.backends.numba_cpu.conv.winograd.forms.additions import additions, emit
from fastconv.backends.numba_cpu.conv.winograd.forms.blocks import Block
from fastconv.backends.numba_cpu.conv.winograd.forms.form import Form
from fastconv.backends.numba_cpu.conv.winograd.forms.polynomials import Matrix
from fastconv.backends.numba_cpu.simd import load_vector, shuffled, store_vector

_I64 = ir.IntType(64)


def emit_factors(
    builder: Any,
    simd: Any,
    numbers: Callable[[int], list[Any]],
    matrix: Callable[[Block], Matrix],
    target: Any,
    step: Any,
) -> None:
    """Write the factors of all products, from ``target`` on, from the rows of numbers that ``numbers`` emits.

    A row is emitted when it is needed: few vectors are alive at a time.
    """
    rows: dict[int, list[Any]] = {}
    for block in simd.simd.form.blocks:
        for a in block.rows:
            if a not in rows:
                rows[a] = numbers(a)
        values = emit(builder, additions(matrix(block)), [rows[i][j] for i, j in block.places])
        for k, value in enumerate(values):
            store_vector(builder, simd, value, target, builder.mul(step, ir.Constant(_I64, block.first + k)))


def emit_numbers(
    builder: Any, form: Form, matrix: Callable[[Block], Matrix], load: Callable[[int], Any]
) -> list[list[Any]]:
    """Emit the opposite of `emit_factors`: the matrix of vectors, from the products that ``load`` gives by index.

    It is returned by columns; these are emitted one after another, so that few vectors are needed at a time.
    """
    columns: list[list[Any]] = [[None] * form.down.size for _ in range(form.right.size)]
    for block in sorted(form.blocks, key=lambda block: block.columns):
        program = additions(matrix(block))
        values = emit(builder, program, [load(block.first + k) for k in range(program.inputs)])
        for (i, j), value in zip(block.places, values, strict=True):
            columns[j][i] = value
    return columns


def separated(builder: Any, vectors: list[Any]) -> list[Any]:
    """Return vectors of the elements 0, m, 2 m ..., then 1, m + 1 ... of ``vectors``, m of them side by side."""
    if len(vectors) == 1:
        return vectors
    halves = []
    for first in range(2):
        order = list(range(first, 2 * vectors[0].type.count, 2))
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        halves.append(separated(builder, [shuffled(builder, a, b, order) for a, b in pairs]))
    return [vector for pair in zip(*halves, strict=True) for vector in pair]


def interleaved(builder: Any, vectors: list[Any]) -> list[Any]:
    """Return the vectors of which `separated` makes these."""
    if len(vectors) == 1:
        return vectors
    lanes = vectors[0].type.count
    found = []
    for even, odd in zip(*(interleaved(builder, vectors[first::2]) for first in range(2)), strict=True):
        for half in range(0, lanes, lanes // 2):
            order = [lane + side for lane in range(half, half + lanes // 2) for side in (0, lanes)]
            found.append(shuffled(builder, even, odd, order))
    return found


def store_all(builder: Any, simd: Any, vectors: list[Any], target: Any, step: Any) -> None:
    """Write vectors from ``target`` on, ``step`` elements apart."""
    for i, value in enumerate(vectors):
        store_vector(builder, simd, value, target, builder.mul(step, ir.Constant(_I64, i)))


def load_at(builder: Any, simd: Any, source: Any, step: Any, index: int) -> Any:
    """Return vector number ``index`` of those that lie ``step`` elements apart from ``source`` on."""
    return load_vector(builder, simd, source, builder.mul(step, ir.Constant(_I64, index)))
