"""These functions compute with polynomials and matrices of fractions, exactly. Coefficients begin with that of x^0."""

from __future__ import annotations

from fractions import Fraction

Polynomial = tuple[Fraction, ...]

Matrix = tuple[tuple[Fraction, ...], ...]


def polynomial(*coefficients: int) -> Polynomial:
    """Return the polynomial with these coefficients, from x^0 on."""
    return tuple(Fraction(value) for value in coefficients)


def times(a: Polynomial, b: Polynomial) -> Polynomial:
    """Return the product of two polynomials."""
    found = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            found[i + j] += left * right
    return tuple(found)


def modulo(a: Polynomial, factor: Polynomial) -> Polynomial:
    """Return the remainder of ``a``, divided by a factor whose highest coefficient is 1."""
    degree = len(factor) - 1
    rest = [*a, *[Fraction(0)] * max(0, degree - len(a))]
    while len(rest) > degree:
        last = rest.pop()
        for i in range(degree):
            rest[len(rest) - degree + i] -= last * factor[i]
    return tuple(rest)


def inverse(a: Polynomial, factor: Polynomial) -> Polynomial:
    """Return the polynomial whose product with ``a`` is 1 modulo a factor of degree 1 or 2."""
    if len(factor) == 2:
        return (1 / modulo(a, factor)[0],)
    (c, b, _), (first, second) = factor, modulo(a, factor)
    # The product of a with its conjugate is a number.
    norm = first * first - b * first * second + c * second * second
    return (first - b * second) / norm, -second / norm


def transposed(matrix: Matrix) -> Matrix:
    """Return the transpose of a matrix."""
    return tuple(zip(*matrix, strict=True))


def matrix(*rows: tuple[int, ...]) -> Matrix:
    """Return the matrix with these rows."""
    return tuple(polynomial(*row) for row in rows)


def applied(a: Matrix, b: Matrix) -> Matrix:
    """Return the product of two matrices."""
    columns = transposed(b)
    return tuple(tuple(sum((x * y for x, y in zip(row, c, strict=True)), Fraction(0)) for c in columns) for row in a)


def twice(a: Matrix) -> Matrix:
    """Return the matrix that applies ``a`` to both halves of a column."""
    nothing = (Fraction(0),) * len(a[0])
    return tuple(row + nothing for row in a) + tuple(nothing + row for row in a)


def nested(a: Matrix, b: Matrix) -> Matrix:
    """Return the matrix that applies ``a`` to the columns and ``b`` to the rows of a matrix, row by row."""
    return tuple(tuple(x * y for x in row for y in other) for row in a for other in b)
