"""These tests compare the transforms of minimal filtering with the definition of a convolution, in fractions."""

from __future__ import annotations

import pickle
import random
from dataclasses import replace
from fractions import Fraction

import pytest

from fastconv.backends.numba_cpu.conv.winograd.forms.additions import Additions, additions
from fastconv.backends.numba_cpu.conv.winograd.forms.axis import (
    FOURTH,
    INFINITY,
    SIXTH,
    THIRD,
    X_LESS_1,
    X_PLUS_1,
    Axis,
    X,
)
from fastconv.backends.numba_cpu.conv.winograd.forms.blocks import Block
from fastconv.backends.numba_cpu.conv.winograd.forms.form import FORMS, Form
from fastconv.backends.numba_cpu.conv.winograd.forms.polynomials import (
    Matrix,
    Polynomial,
    inverse,
    modulo,
    polynomial,
    times,
    transposed,
)

SIX_POINTS = Axis(4, 3, (X, X_LESS_1, X_PLUS_1, FOURTH, INFINITY))
TWOS = Axis(4, 3, (X, X_LESS_1, X_PLUS_1, polynomial(-2, 1), polynomial(2, 1), INFINITY))
LONG = Axis(8, 3, (X, X_LESS_1, X_PLUS_1, FOURTH, THIRD, SIXTH, INFINITY))
FEW = Axis(2, 2, (X, X_PLUS_1, INFINITY))
FINITE = Axis(4, 5, (X, X_LESS_1, FOURTH, THIRD, SIXTH))

OTHERS = (Form(TWOS, TWOS), Form(FEW, FEW), Form(LONG, SIX_POINTS), Form(FINITE, TWOS), Form(FEW, FINITE))
"""Forms that no plan uses: other points, other kernels, different axes, all pairs of factors."""


def run(program: Additions, values: list[Fraction]) -> list[Fraction]:
    """Return what the additions make of numbers."""
    known = list(values)
    for terms in program.shared:
        known.append(sum((factor * known[i] for i, factor in terms), Fraction(0)))
    return [sum((factor * known[i] for i, factor in terms), Fraction(0)) for terms in program.rows]


def nested(matrices: tuple[Matrix, Matrix], values: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return the first matrix times the values times the transpose of the second, by their additions."""
    down, right = map(additions, matrices)
    columns = [run(down, list(column)) for column in zip(*values, strict=True)]
    return [run(right, list(row)) for row in zip(*columns, strict=True)]


def both(form: Form, which: str, turned: bool = False) -> tuple[Matrix, Matrix]:
    """Return one matrix of each axis, or its transpose."""
    down, right = (getattr(axis, which) for axis in (form.down, form.right))
    return (transposed(down), transposed(right)) if turned else (down, right)


def by_blocks(matrices: list[Matrix], form: Form, numbers: list[list[Fraction]]) -> list[Fraction]:
    """Return a factor for each product, from the numbers of a transform."""
    found = []
    for block, matrix in zip(form.blocks, matrices, strict=True):
        found += run(additions(matrix), [numbers[i][j] for i, j in block.places])
    return found


def from_blocks(matrices: list[Matrix], form: Form, products: list[Fraction]) -> list[list[Fraction]]:
    """Return the numbers of a transform from the products."""
    numbers = [[Fraction(0)] * form.right.size for _ in range(form.down.size)]
    for block, matrix in zip(form.blocks, matrices, strict=True):
        values = products[block.first : block.first + len(matrix[0])]
        for (i, j), value in zip(block.places, run(additions(matrix), values), strict=True):
            numbers[i][j] = value
    return numbers


def drawn(form: Form, which: str) -> list[list[Fraction]]:
    """Return a matrix of random whole numbers with the ``size``, the ``taps`` or the ``output`` of a form's axes."""
    source = random.Random(which)
    columns = range(getattr(form.right, which))
    return [[Fraction(source.randint(-99, 99)) for _ in columns] for _ in range(getattr(form.down, which))]


def filtered(form: Form, patch: list[list[Fraction]], taps: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return a form's results of a patch."""
    left = by_blocks([block.weight for block in form.blocks], form, nested(both(form, "weight"), taps))
    right = by_blocks([block.image for block in form.blocks], form, nested(both(form, "image"), patch))
    products = [a * b for a, b in zip(left, right, strict=True)]
    return nested(both(form, "result"), from_blocks([block.result for block in form.blocks], form, products))


def weighed(form: Form, patch: list[list[Fraction]], grad: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return a form's weight gradient of a patch."""
    left = by_blocks(
        [transposed(block.result) for block in form.blocks], form, nested(both(form, "result", True), grad)
    )
    right = by_blocks([block.image for block in form.blocks], form, nested(both(form, "image"), patch))
    products = [a * b for a, b in zip(left, right, strict=True)]
    numbers = from_blocks([transposed(block.weight) for block in form.blocks], form, products)
    return nested(both(form, "weight", True), numbers)


def correlated(patch: list[list[Fraction]], kernel: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return the definition of a convolution without padding."""
    rows, columns = range(len(kernel)), range(len(kernel[0]))

    def one(i: int, j: int) -> Fraction:
        return sum((patch[i + r][j + s] * kernel[r][s] for r in rows for s in columns), Fraction(0))

    wide = len(patch[0]) - len(kernel[0]) + 1
    return [[one(i, j) for j in range(wide)] for i in range(len(patch) - len(kernel) + 1)]


@pytest.mark.parametrize("form", FORMS + OTHERS, ids=str)
def test_forms_are_the_definition(form: Form) -> None:
    patch, taps, grad = drawn(form, "size"), drawn(form, "taps"), drawn(form, "output")
    assert filtered(form, patch, taps) == correlated(patch, taps)
    assert weighed(form, patch, grad) == correlated(patch, grad)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_each_additions_are_their_matrix(form: Form) -> None:
    whole = [matrix for axis in (form.down, form.right) for matrix in (axis.image, axis.weight, axis.result)]
    whole += [matrix for block in form.blocks for matrix in (block.image, block.weight, block.result)]
    for matrix in [*whole, *map(transposed, whole)]:
        columns = len(matrix[0])
        for place in range(columns):
            unit = [Fraction(int(i == place)) for i in range(columns)]
            assert run(additions(matrix), unit) == [row[place] for row in matrix]


def test_products_and_additions_are_as_few_as_known() -> None:
    """F(4 x 4, 3 x 3) has 46 products for 16 results; along an axis 8, 4 and 8 additions: one by one 10, 5 and 10.

    F(4 x 4, 5 x 5) has 4 x 4 products of two points, 16 x 3 of a point and a quadratic factor, and 4 x 6 of two of
    these. Of the 9 pairs in F(4 x 4, 7 x 7), 4 have no field in common and take 9.
    """
    assert [form.products for form in FORMS[:4]] == [16, 46, 16 + 48 + 24, 16 + 72 + 5 * 6 + 4 * 9]
    assert [form.products for form in FORMS[4:]] == [4 + 3, 4 + 6, 4 + 9] * 2
    small, large = (form.right for form in FORMS[:2])
    assert [additions(m).count for m in (small.image, small.weight, small.result)] == [4, 3, 4]
    assert [additions(m).count for m in (large.image, large.weight, large.result)] == [8, 4, 8]
    (four,) = (block for block in FORMS[1].blocks if len(block.places) == 4)
    assert [additions(m).count for m in (four.image, four.weight, four.result)] == [6, 8, 8]


def test_factors_round_nothing_but_in_the_weight() -> None:
    """Pixels are added, once or twice. Those of 3 x 3 taps are multiplied by powers of 2, which keep all bits."""
    for number, form in enumerate(FORMS):
        axes, blocks = (form.down, form.right), form.blocks
        images = [axis.image for axis in axes] + [block.image for block in blocks]
        images += [axis.result for axis in axes] + [block.result for block in blocks]
        assert {abs(value) for matrix in images for row in matrix for value in row} <= {0, 1, 2}
        if number < 2:
            weights = [axis.weight for axis in axes] + [block.weight for block in blocks]
            factors = {abs(value) for matrix in weights for row in matrix for value in row if value}
            assert all(value.numerator == 1 and value.denominator & (value.denominator - 1) == 0 for value in factors)


@pytest.mark.parametrize("factor", [X_PLUS_1, polynomial(-3, 1), FOURTH, THIRD, SIXTH], ids=str)
def test_inverses_are_modulo_a_factor(factor: Polynomial) -> None:
    some = polynomial(5, -2, 7, 1)
    one = modulo(times(some, inverse(some, factor)), factor)
    assert one == polynomial(1, 0)[: len(factor) - 1]


@pytest.mark.parametrize("form", FORMS[1:5], ids=str)
@pytest.mark.parametrize("which", ["image", "weight", "result"])
def test_a_wrong_entry_is_seen(which: str, form: Form) -> None:
    """A sign turned in any matrix of a block, or in a transform's additions, changes the results."""
    patch, taps = drawn(form, "size"), drawn(form, "taps")
    right = correlated(patch, taps)
    for place, block in enumerate(form.blocks):
        matrix: Matrix = getattr(block, which)
        wrong = (*matrix[:-1], tuple(-value for value in matrix[-1]))
        changed = replace(form)
        blocks: tuple[Block, ...] = (*form.blocks[:place], block._replace(**{which: wrong}), *form.blocks[place + 1 :])
        changed.__dict__["blocks"] = blocks
        assert filtered(changed, patch, taps) != right, place


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_use_does_not_change_a_forms_pickle(form: Form) -> None:
    """Kernels are kept on disk under the pickle of what they are made for: another one would compile them again."""
    down, right = (Axis(axis.output, axis.taps, axis.factors) for axis in (form.down, form.right))
    fresh = Form(down, right)
    before = pickle.dumps(fresh)
    assert fresh.products == form.products
    assert down.image == form.down.image
    assert pickle.dumps(fresh) == before
    assert pickle.loads(before) == form
