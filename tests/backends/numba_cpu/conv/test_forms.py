"""These tests compare the transforms of minimal filtering with the definition of a convolution, in fractions."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import pytest

from fastconv.backends.numba_cpu.conv.winograd.forms.additions import Additions, additions
from fastconv.backends.numba_cpu.conv.winograd.forms.form import FORMS, INFINITY, Block, Form, Matrix, Point, transposed

OTHERS = (
    Form(4, 3, (Point(0), Point(1), Point(-1), Point(2), Point(-2), INFINITY)),
    Form(4, 5, (Point(0), Point(1), Point(-1), Point(1, 1), Point(0, 1), INFINITY)),
    Form(2, 2, (Point(0), Point(1), INFINITY)),
    Form(8, 3, (Point(0), Point(1), Point(-1), Point(0, 1), Point(1, 1), Point(-1, 1), INFINITY)),
)
"""Forms that no plan uses: other points, other kernels, complex points off the axes."""


def run(program: Additions, values: list[Fraction]) -> list[Fraction]:
    """Return what the additions make of numbers."""
    known = list(values)
    for terms in program.shared:
        known.append(sum((factor * known[i] for i, factor in terms), Fraction(0)))
    return [sum((factor * known[i] for i, factor in terms), Fraction(0)) for terms in program.rows]


def nested(matrix: Matrix, values: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return the matrix times the values times its transpose, by the matrix's additions."""
    program = additions(matrix)
    columns = [run(program, list(column)) for column in zip(*values, strict=True)]
    return [run(program, list(row)) for row in zip(*columns, strict=True)]


def by_blocks(matrices: list[Matrix], form: Form, numbers: list[list[Fraction]]) -> list[Fraction]:
    """Return a factor for each product, from the n x n numbers of a transform."""
    found = []
    for block, matrix in zip(form.blocks, matrices, strict=True):
        found += run(additions(matrix), [numbers[i][j] for i, j in block.places])
    return found


def from_blocks(matrices: list[Matrix], form: Form, products: list[Fraction]) -> list[list[Fraction]]:
    """Return n x n numbers from the products."""
    numbers = [[Fraction(0)] * form.size for _ in range(form.size)]
    for block, matrix in zip(form.blocks, matrices, strict=True):
        values = products[block.first : block.first + len(matrix[0])]
        for (i, j), value in zip(block.places, run(additions(matrix), values), strict=True):
            numbers[i][j] = value
    return numbers


def drawn(side: int, seed: int) -> list[list[Fraction]]:
    """Return a square of random whole numbers."""
    source = random.Random(seed)
    return [[Fraction(source.randint(-99, 99)) for _ in range(side)] for _ in range(side)]


def filtered(form: Form, patch: list[list[Fraction]], taps: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return a form's results of a patch."""
    left = by_blocks([block.weight for block in form.blocks], form, nested(form.weight, taps))
    right = by_blocks([block.image for block in form.blocks], form, nested(form.image, patch))
    products = [a * b for a, b in zip(left, right, strict=True)]
    return nested(form.result, from_blocks([block.result for block in form.blocks], form, products))


def weighed(form: Form, patch: list[list[Fraction]], grad: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return a form's weight gradient of a patch."""
    left = by_blocks([transposed(block.result) for block in form.blocks], form, nested(transposed(form.result), grad))
    right = by_blocks([block.image for block in form.blocks], form, nested(form.image, patch))
    products = [a * b for a, b in zip(left, right, strict=True)]
    numbers = from_blocks([transposed(block.weight) for block in form.blocks], form, products)
    return nested(transposed(form.weight), numbers)


def correlated(patch: list[list[Fraction]], kernel: list[list[Fraction]], side: int) -> list[list[Fraction]]:
    """Return the definition of a convolution without padding, ``side`` numbers to a side."""
    cells = range(len(kernel))

    def one(i: int, j: int) -> Fraction:
        return sum((patch[i + r][j + s] * kernel[r][s] for r in cells for s in cells), Fraction(0))

    return [[one(i, j) for j in range(side)] for i in range(side)]


@pytest.mark.parametrize("form", FORMS + OTHERS, ids=lambda form: f"F({form.output},{form.taps}) {len(form.points)}")
def test_forms_are_the_definition(form: Form) -> None:
    patch, taps, grad = drawn(form.size, 1), drawn(form.taps, 2), drawn(form.output, 3)
    assert filtered(form, patch, taps) == correlated(patch, taps, form.output)
    assert weighed(form, patch, grad) == correlated(patch, grad, form.taps)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_each_additions_are_their_matrix(form: Form) -> None:
    whole = [form.image, form.weight, form.result]
    whole += [matrix for block in form.blocks for matrix in (block.image, block.weight, block.result)]
    for matrix in [*whole, *map(transposed, whole)]:
        columns = len(matrix[0])
        for place in range(columns):
            unit = [Fraction(int(i == place)) for i in range(columns)]
            assert run(additions(matrix), unit) == [row[place] for row in matrix]


def test_products_and_additions_are_as_few_as_known() -> None:
    """F(4 x 4, 3 x 3) has 46 products for 16 results; along an axis 8, 4 and 8 additions: one by one 10, 5 and 10."""
    small, large = FORMS
    assert (small.products, large.products) == (16, 46)
    assert [additions(m).count for m in (small.image, small.weight, small.result)] == [4, 3, 4]
    assert [additions(m).count for m in (large.image, large.weight, large.result)] == [8, 4, 8]
    (both,) = (block for block in large.blocks if len(block.places) == 4)
    assert [additions(m).count for m in (both.image, both.weight, both.result)] == [6, 8, 8]


def test_factors_of_our_forms_round_nothing() -> None:
    """All are powers of 2, and the image's transform has none: a pixel's bits stay as they are."""
    for form in FORMS:
        for matrix in (form.weight, form.result, *(block.weight for block in form.blocks)):
            factors = {abs(value) for row in matrix for value in row if value}
            assert all(value.numerator == 1 and value.denominator & (value.denominator - 1) == 0 for value in factors)
        images = (form.image, *(block.image for block in form.blocks))
        assert {abs(value) for matrix in images for row in matrix for value in row} == {0, 1}


@pytest.mark.parametrize("which", ["image", "weight", "result"])
def test_a_wrong_entry_is_seen(which: str) -> None:
    """A sign turned in any matrix of a block, or in a transform's additions, changes the results."""
    form = FORMS[1]
    patch, taps = drawn(form.size, 1), drawn(form.taps, 2)
    right = correlated(patch, taps, form.output)
    for place, block in enumerate(form.blocks):
        matrix: Matrix = getattr(block, which)
        wrong = (*matrix[:-1], tuple(-value for value in matrix[-1]))
        changed = replace(form)
        blocks: tuple[Block, ...] = (*form.blocks[:place], block._replace(**{which: wrong}), *form.blocks[place + 1 :])
        changed.__dict__["blocks"] = blocks
        assert filtered(changed, patch, taps) != right, place
