"""A form of minimal filtering, F(m x m, r x r), is a list of points; all its transforms follow from them.

Along one axis, m results and r taps meet n = m + r - 1 pixels. A form multiplies polynomials at n points: finite ones,
infinity, and pairs of conjugate complex points, which count as two. With M(x) the product of (x - p) over all finite
points p, the matrices are

    image    B' has for each point the coefficients of M(x) / (x - p), for infinity those of M(x)
    weight   G  has the powers of the point, 1, p, p^2 ..., over the value of M(x) / (x - p) at p
    result   A' has the powers of the point as a column

A pair of complex points has two rows, real and imaginary part, and twice its real part goes into the result. Two axes
are nested, which gives a matrix of n x n numbers; those of a block of two real points are one number to multiply. Where
one of the points is complex they are a complex number, and its product takes three real ones (Gauss):

    k1 = ur (vr + vi)    k2 = (ui - ur) vr    k3 = (ur + ui) vi        re = k1 - k3    im = k1 + k2

Where both are complex, the four numbers are those at (p, q) and (p, conjugate of q): two complex products. F(4 x 4, 3 x
3) over 0, +-1, +-i and infinity has 16 real products and 10 complex ones, 46 in all for 16 results.

All is computed in fractions, so that tests can compare it with the definition exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import product
from typing import NamedTuple

Matrix = tuple[tuple[Fraction, ...], ...]

Gaussian = tuple[Fraction, Fraction]
"""A complex number with rational parts."""

_ZERO, _ONE = (Fraction(0), Fraction(0)), (Fraction(1), Fraction(0))


class Point(NamedTuple):
    """This is a finite point; if its imaginary part isn't 0, it stands for itself and its conjugate."""

    real: int
    imaginary: int = 0


INFINITY = None


class Block(NamedTuple):
    """A block is what a row point and a column point have in common: some transformed numbers, and their products.

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


@dataclass(frozen=True)
class Form:
    """A `Form` computes ``output`` x ``output`` results of a kernel of ``taps`` x ``taps`` from a patch of pixels."""

    output: int
    """The side of a tile of results: a power of two, since rows of pixels are separated in halves."""
    taps: int
    points: tuple[Point | None, ...]

    @property
    def size(self) -> int:
        """Return the side of a patch, in pixels."""
        return self.output + self.taps - 1

    def __str__(self) -> str:
        """Return the name of the form, such as "4x4"."""
        return f"{self.output}x{self.output}"

    @cached_property
    def _finite(self) -> tuple[Gaussian, ...]:
        """Return all finite points, with their conjugates."""
        found: list[Gaussian] = []
        for point in self.points:
            if point is not None:
                found.append((Fraction(point.real), Fraction(point.imaginary)))
                if point.imaginary:
                    found.append((Fraction(point.real), Fraction(-point.imaginary)))
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
        columns = []
        for point in self.points:
            if point is INFINITY:
                columns.append(_at_the_end(self.output))
                continue
            powers = _powers((Fraction(point.real), Fraction(point.imaginary)), self.output)
            columns.append(tuple(real for real, _ in powers))
            if point.imaginary:
                columns.append(tuple(-imaginary for _, imaginary in powers))
        return transposed(tuple(columns))

    @cached_property
    def _image_and_weight(self) -> list[tuple[Matrix, Matrix]]:
        found: list[tuple[Matrix, Matrix]] = []
        for point in self.points:
            if point is INFINITY:
                whole = tuple(real for real, _ in _polynomial(self._finite))
                found.append(((whole,), (_at_the_end(self.taps),)))
                continue
            at = Fraction(point.real), Fraction(point.imaginary)
            others = tuple(each for each in self._finite if each != at)
            rest = _polynomial(others)
            rest += [_ZERO] * (self.size - len(rest))
            value = _sum([_times(c, power) for c, power in zip(rest, _powers(at, len(rest)), strict=True)])
            # Kernels keep their signs; the pixels' don't matter.
            sign = -1 if value[1] == 0 and value[0] < 0 else 1
            inverse = _inverse((sign * value[0], sign * value[1]))
            powers = [_times(power, inverse) for power in _powers(at, self.taps)]
            if not point.imaginary:
                found.append(((tuple(sign * real for real, _ in rest),), (tuple(real for real, _ in powers),)))
                continue
            both = [(2 * real, 2 * imaginary) for real, imaginary in powers]
            found.append((_parts([(sign * a, sign * b) for a, b in rest]), _parts(both)))
        return found

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Return the blocks of the n x n numbers, row by row, with their products."""
        axis, place = [], 0
        for point in self.points:
            width = 2 if point is not None and point.imaginary else 1
            axis.append(tuple(range(place, place + width)))
            place += width
        found: list[Block] = []
        first = 0
        for rows, columns in product(axis, axis):
            found.append(Block(rows, columns, first, *_products(len(rows) * len(columns))))
            first += len(found[-1].image)
        return tuple(found)

    @cached_property
    def products(self) -> int:
        """Return the number of real products for a patch and a channel."""
        return sum(len(block.image) for block in self.blocks)


def transposed(matrix: Matrix) -> Matrix:
    """Return the transpose of a matrix."""
    return tuple(zip(*matrix, strict=True))


def _matrix(*rows: tuple[int, ...]) -> Matrix:
    return tuple(tuple(Fraction(value) for value in row) for row in rows)


def _applied(a: Matrix, b: Matrix) -> Matrix:
    columns = transposed(b)
    return tuple(tuple(sum((x * y for x, y in zip(row, c, strict=True)), Fraction(0)) for c in columns) for row in a)


def _twice(matrix: Matrix) -> Matrix:
    """Return the matrix that applies ``matrix`` to both halves of a column."""
    nothing = (Fraction(0),) * len(matrix[0])
    return tuple(row + nothing for row in matrix) + tuple(nothing + row for row in matrix)


_IMAGE, _WEIGHT, _RESULT = (
    _matrix((1, 1), (1, 0), (0, 1)),
    _matrix((1, 0), (-1, 1), (1, 1)),
    _matrix((1, 0, -1), (1, 1, 0)),
)
"""Gauss's product of complex numbers: the factors from real and imaginary part, and these from the products."""

_SEPARATE = _matrix((1, 0, 0, -1), (0, 1, 1, 0), (1, 0, 0, 1), (0, -1, 1, 0))
"""A block of two complex points, at (p, q) and at (p, conjugate of q), real and imaginary parts each."""

_JOIN = _matrix((1, 0, 1, 0), (0, 1, 0, -1), (0, 1, 0, 1), (-1, 0, 1, 0))
"""The block's part of the result, from the products at these two."""


def _products(numbers: int) -> tuple[Matrix, Matrix, Matrix]:
    """Return the matrices of a block of 1, 2 or 4 numbers: for image, weight and result."""
    if numbers == 1:
        return _matrix((1,)), _matrix((1,)), _matrix((1,))
    if numbers == 2:
        return _IMAGE, _WEIGHT, _RESULT
    # Each axis has its complex point twice, for the conjugate, but the block has two points besides their conjugates.
    weight = tuple(tuple(value / 2 for value in row) for row in _applied(_twice(_WEIGHT), _SEPARATE))
    return _applied(_twice(_IMAGE), _SEPARATE), weight, _applied(_JOIN, _twice(_RESULT))


def _times(a: Gaussian, b: Gaussian) -> Gaussian:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _inverse(a: Gaussian) -> Gaussian:
    size = a[0] * a[0] + a[1] * a[1]
    return a[0] / size, -a[1] / size


def _sum(values: list[Gaussian]) -> Gaussian:
    return sum((a for a, _ in values), Fraction(0)), sum((b for _, b in values), Fraction(0))


def _powers(point: Gaussian, count: int) -> list[Gaussian]:
    found = [_ONE]
    while len(found) < count:
        found.append(_times(found[-1], point))
    return found[:count]


def _polynomial(roots: tuple[Gaussian, ...]) -> list[Gaussian]:
    """Return the coefficients of the product of (x - root), from x^0 on."""
    found = [_ONE]
    for root in roots:
        minus = -root[0], -root[1]
        found = [_sum([a, _times(b, minus)]) for a, b in zip([_ZERO, *found], [*found, _ZERO], strict=True)]
    return found


def _parts(values: list[Gaussian]) -> Matrix:
    """Return the real parts as a row and the imaginary parts as another."""
    return tuple(a for a, _ in values), tuple(b for _, b in values)


def _at_the_end(count: int) -> tuple[Fraction, ...]:
    return (Fraction(0),) * (count - 1) + (Fraction(1),)


_REAL = (Point(0), Point(1), Point(-1))

FORMS = (Form(2, 3, (*_REAL, INFINITY)), Form(4, 3, (*_REAL, Point(0, 1), INFINITY)))
"""The forms that the planner chooses among, by the sides of their tiles."""
