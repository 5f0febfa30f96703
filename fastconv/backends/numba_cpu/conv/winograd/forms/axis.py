"""Along one axis, a form multiplies polynomials modulo some factors; the transforms along it follow from these.

With m results, r taps and n = m + r - 1 pixels d, result i is the sum over k of d_k times the coefficient of x^k in x^i
g(x), where g has the taps as coefficients. That product is known by its remainders modulo factors p(x) that have no
root in common, and its highest coefficient, which counts as a factor "infinity". With M(x), the product of all factors,
remainders are put together by Lagrange's formula: the remainder t stands for t times the inverse of M / p, modulo p,
times M / p. So the matrices are

    image    B' has for a factor p the coefficients of M / p, and if p is quadratic then those of x M / p; for infinity
             those of M
    weight   G  has the coefficients of g times the inverse of M / p, modulo p
    result   A' has the coefficients of x^i modulo p, as columns

and a factor's part of result i is what the remainder of x^i G g says of the numbers B' d: t_0 + t_1 x stands for t_0
times the first plus t_1 times the second. For a linear factor, that of one point, it is one product. For a quadratic
one it is what blocks.py makes three products of.

The quadratic factors are those whose roots are roots of unity, x^2 + 1, x^2 + x + 1 and x^2 - x + 1: all powers of
their roots have parts of 0, 1 and -1, so that B' and A' are additions.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from fastconv.backends.numba_cpu.conv.winograd.forms.polynomials import (
    Matrix,
    Polynomial,
    inverse,
    modulo,
    polynomial,
    times,
    transposed,
)

INFINITY: Polynomial = ()

X, X_LESS_1, X_PLUS_1 = polynomial(0, 1), polynomial(-1, 1), polynomial(1, 1)
"""The factors of the points 0, 1 and -1."""

FOURTH, THIRD, SIXTH = polynomial(1, 0, 1), polynomial(1, 1, 1), polynomial(1, -1, 1)
"""The factors of the other roots of unity of order 4, 3 and 6."""


@dataclass(frozen=True)
class Axis:
    """An `Axis` computes ``output`` results of ``taps`` taps from the remainders modulo some factors."""

    output: int
    """Results side by side: a power of two, since rows of pixels are separated in halves."""
    taps: int
    factors: tuple[Polynomial, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled without matrices: kernels are kept on disk under the bytes, which must not change with use."""
        return Axis, (self.output, self.taps, self.factors)

    @property
    def size(self) -> int:
        """Return the number of pixels."""
        return self.output + self.taps - 1

    @cached_property
    def places(self) -> tuple[tuple[int, ...], ...]:
        """Return the rows of B' that belong to each factor."""
        found, first = [], 0
        for factor in self.factors:
            degree = max(1, len(factor) - 1)
            found.append(tuple(range(first, first + degree)))
            first += degree
        return tuple(found)

    @cached_property
    def image(self) -> Matrix:
        """Return B', which transforms a column of pixels."""
        return tuple(row for rows, _ in self._image_and_weight for row in rows)

    @cached_property
    def weight(self) -> Matrix:
        """Return G, which transforms a column of taps."""
        return tuple(row for _, rows in self._image_and_weight for row in rows)

    @cached_property
    def result(self) -> Matrix:
        """Return A', which computes a column of results."""
        powers = [_power(i) for i in range(self.output)]
        columns = [
            row
            for factor in self.factors
            for row in (_remainders(powers, factor) if factor else (_at_the_end(self.output),))
        ]
        return transposed(tuple(columns))

    @cached_property
    def _image_and_weight(self) -> list[tuple[Matrix, Matrix]]:
        found: list[tuple[Matrix, Matrix]] = []
        for factor in self.factors:
            rest = _product(tuple(other for other in self.factors if other != factor))
            if not factor:
                found.append(((self._filled(rest),), (_at_the_end(self.taps),)))
                continue
            back = inverse(rest, factor)
            # Kernels keep their signs; the pixels' don't matter.
            sign = -1 if len(factor) == 2 and back[0] < 0 else 1
            weight = _remainders([times(_power(k), tuple(sign * c for c in back)) for k in range(self.taps)], factor)
            shifted = [times(_power(i), rest) for i in range(len(factor) - 1)]
            found.append((tuple(self._filled(tuple(sign * c for c in row)) for row in shifted), weight))
        return found

    def _filled(self, row: Polynomial) -> Polynomial:
        return row + (Fraction(0),) * (self.size - len(row))


def _product(factors: tuple[Polynomial, ...]) -> Polynomial:
    found = polynomial(1)
    for factor in factors:
        found = times(found, factor) if factor else found
    return found


def _power(i: int) -> Polynomial:
    return polynomial(*[0] * i, 1)


def _remainders(values: list[Polynomial], factor: Polynomial) -> Matrix:
    """Return the coefficients of the values' remainders: a column for each value."""
    return transposed(tuple(modulo(value, factor) for value in values))


def _at_the_end(count: int) -> Polynomial:
    return _power(count - 1)
