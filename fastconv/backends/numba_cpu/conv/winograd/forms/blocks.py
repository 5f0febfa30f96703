"""A block is what a factor of one axis and one of the other have in common: some numbers, multiplied by some products.

Two linear factors leave one number and one product. Where one factor is quadratic, x^2 + b x + 1, the taps leave u_0 +
u_1 x and the pixels two numbers, d_0 for 1 and d_1 for x. The result needs what a product a u says of these, where a_0
+ a_1 x comes from A': a_0 is multiplied by r_0 and a_1 by r_1, with x^2 = - b x - 1

    r_0 = u_0 d_0 + u_1 d_1        r_1 = u_0 d_1 - u_1 (d_0 + b d_1)

which three products give instead of four, as Gauss multiplies complex numbers. For b <= 0 they are

    k_0 = u_0 (d_0 - d_1)    k_1 = (u_0 + u_1) d_1    k_2 = (u_1 - (1 + b) u_0) d_0
    r_0 = k_0 + k_1          r_1 = - (1 + b) k_0 - b k_1 - k_2

and b > 0 is the same with x in place of -x. With two quadratic factors there are four numbers. If both have roots in
the same field, then a root s of the first, and its conjugate, are numbers of the second one's field: s = y + f, where y
is its root. What is computed modulo both is known from its values at x = s and at the conjugate, which are two blocks
of one quadratic factor: six products. Otherwise each of three products is three: nine.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import NamedTuple

from fastconv.backends.numba_cpu.conv.winograd.forms.axis import Axis
from fastconv.backends.numba_cpu.conv.winograd.forms.polynomials import (
    Matrix,
    Polynomial,
    applied,
    inverse,
    matrix,
    modulo,
    nested,
    polynomial,
    times,
    transposed,
    twice,
)


class Block(NamedTuple):
    """A block has some transformed numbers, and their products.

    ``image`` and ``weight`` are the matrices that give the products' factors, ``result`` the one that gives the numbers
    of the result from the products.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    first: int
    """The index of its first product."""
    image: Matrix
    weight: Matrix
    result: Matrix

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Return the row and column of each number of the block."""
        return tuple(product(self.rows, self.columns))


def blocks_of(down: Axis, right: Axis) -> tuple[Block, ...]:
    """Return the blocks of two axes, row by row, with their products."""
    found: list[Block] = []
    first = 0
    sides = (list(zip(axis.places, axis.factors, strict=True)) for axis in (down, right))
    for (rows, factor), (columns, other) in product(*sides):
        found.append(Block(rows, columns, first, *_products(factor, other)))
        first += len(found[-1].image)
    return tuple(found)


Products = tuple[Matrix, Matrix, Matrix]
"""The matrices of a block: the factors from the pixels' and from the taps' numbers, and the result's numbers."""


def _products(down: Polynomial, right: Polynomial) -> Products:
    """Return the matrices of the block of two factors."""
    quadratic = [factor for factor in (down, right) if len(factor) == 3]
    if not quadratic:
        return matrix((1,)), matrix((1,)), matrix((1,))
    if len(quadratic) == 1:
        return _three(quadratic[0])
    if abs(down[1]) == abs(right[1]):
        return _six(down, right)
    image, weight, result = (nested(a, b) for a, b in zip(_three(down), _three(right), strict=True))
    return image, weight, result


def _three(factor: Polynomial) -> Products:
    """Return the three products of a quadratic factor."""
    one, b, last = (int(value) for value in factor)
    assert one == last == 1
    assert abs(b) <= 1
    if b > 0:
        return matrix((1, 1), (0, 1), (1, 0)), matrix((1, 0), (-1, 1), (0, 1)), matrix((1, 1, 0), (0, -1, -1))
    weight = matrix((1, 0), (1, 1), (-1 - b, 1))
    return matrix((1, -1), (0, 1), (1, 0)), weight, matrix((1, 1, 0), (-1 - b, -b, -1))


def _six(down: Polynomial, right: Polynomial) -> Products:
    """Return the six products of two quadratic factors whose roots are in the same field."""
    middle = right[1]
    half = (middle - down[1]) / 2
    root: Polynomial = (half, Fraction(1))
    other: Polynomial = (half - middle, Fraction(-1))
    image: list[Polynomial] = []
    weight: list[Polynomial] = []
    result: list[Polynomial] = []
    for here, there in ((root, other), (other, root)):
        apart = tuple(a - b for a, b in zip(here, there, strict=True))
        # The pixels' numbers for (x - there) y^k, and a factor that the taps' value is divided by for it.
        for k in range(2):
            power = polynomial(*[0] * k, 1)
            rest = modulo(tuple(-value for value in times(there, power)), right)
            image.append((*rest, *modulo(power, right)))
        back = inverse(apart, right)
        powers = [modulo(times(polynomial(1) if i == 0 else here, polynomial(*[0] * j, 1)), right) for i, j in _CELLS]
        result += transposed(tuple(powers))
        weight += transposed(tuple(modulo(times(value, back), right) for value in powers))
    images, weights, results = (twice(part) for part in _three(right))
    return applied(images, tuple(image)), applied(weights, tuple(weight)), applied(transposed(tuple(result)), results)


_CELLS = tuple(product(range(2), range(2)))
"""The powers of x and y that the four numbers of a block stand for."""
