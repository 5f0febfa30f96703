"""This module turns a matrix of fractions into the additions that multiply vectors by it.

Sums that several rows have in common are computed once: the pair of terms that most rows share, up to a factor, becomes
a term of its own, until no pair is shared. B' of F(4 x 4, 3 x 3) takes 8 additions so, one by one 10. A factor
that all terms of a row have is a multiplication at its end. Those of 3 x 3 taps are powers of 2, which round nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

from llvmlite import ir

from fastconv.backends.numba_cpu.conv.winograd.forms.polynomials import Matrix
from fastconv.backends.numba_cpu.simd import multiply_add

Terms = tuple[tuple[int, Fraction], ...]
"""A sum of terms: the index of each and its factor, the first factor positive if any is."""


@dataclass(frozen=True)
class Additions:
    """These additions multiply ``inputs`` values by a matrix: ``shared`` sums become further values, then the rows."""

    inputs: int
    shared: tuple[Terms, ...]
    rows: tuple[Terms, ...]

    @property
    def count(self) -> int:
        """Return the number of additions and subtractions."""
        return sum(len(terms) - 1 for terms in (*self.shared, *self.rows))


@cache
def additions(matrix: Matrix) -> Additions:
    """Return few additions that multiply by a matrix."""
    rows = [{i: value for i, value in enumerate(row) if value} for row in matrix]
    shared: list[Terms] = []
    while (pair := _most_shared(rows)) is not None:
        i, j, ratio = pair
        index = len(matrix[0]) + len(shared)
        shared.append(((i, Fraction(1)), (j, ratio)))
        for row in rows:
            if i in row and j in row and row[j] / row[i] == ratio:
                row[index] = row.pop(i)
                del row[j]
    return Additions(len(matrix[0]), tuple(shared), tuple(_ordered(row) for row in rows))


def _most_shared(rows: list[dict[int, Fraction]]) -> tuple[int, int, Fraction] | None:
    """Return the pair of terms that most rows have, and the ratio of their factors; None if no two rows share one.

    Among equals it is one that is a row by itself, so that the row costs nothing; then the first.
    """
    counts: Counter[tuple[int, int, Fraction]] = Counter()
    alone = set()
    for row in rows:
        pairs = [(i, j, row[j] / row[i]) for i in sorted(row) for j in sorted(row) if i < j]
        counts.update(pairs)
        if len(pairs) == 1:
            alone.add(pairs[0])
    best = max(counts, key=lambda pair: (counts[pair], pair in alone, -pair[0], -pair[1]), default=None)
    return best if best is not None and counts[best] > 1 else None


def _ordered(row: dict[int, Fraction]) -> Terms:
    """Return the terms by index, after the first one with a positive factor."""
    terms = sorted(row.items())
    first = next((term for term in terms if term[1] > 0), terms[0])
    return (first, *(term for term in terms if term is not first))


def emit(builder: Any, program: Additions, values: Sequence[Any]) -> list[Any]:
    """Emit the additions for the vectors ``values``; return a vector for each row of the matrix."""
    known = list(values)
    for terms in program.shared:
        known.append(_sum(builder, terms, known))
    return [_sum(builder, terms, known) for terms in program.rows]


def _sum(builder: Any, terms: Terms, known: list[Any]) -> Any:
    """Emit a sum: from the first term to the last, then the factor that all of them have."""
    common = terms[0][1] if len({abs(factor) for _, factor in terms}) == 1 else Fraction(1)
    (first, factor), *others = [(known[i], factor / common) for i, factor in terms]
    total = first if factor == 1 else builder.fmul(first, _constant(first, factor))
    for value, factor in others:
        if factor == 1:
            total = builder.fadd(total, value)
        elif factor == -1:
            total = builder.fsub(total, value)
        else:
            total = multiply_add(builder, value, _constant(value, factor), total)
    return total if common == 1 else builder.fmul(total, _constant(total, common))


def _constant(vector: Any, factor: Fraction) -> Any:
    return ir.Constant(vector.type, [float(factor)] * vector.type.count)
