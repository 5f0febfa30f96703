"""A form of minimal filtering, F(m x m', r x r'), is an axis for columns and one for rows of pixels.

All its transforms follow from the axes' factors: the matrices along an axis are in axis.py. Two axes are nested, which
gives a matrix of n x n' numbers; blocks.py says which of them are multiplied together. F(4 x 4, 3 x 3) over 0, +-1, x^2
+ 1 and infinity has 16 real products and 10 complex ones, each of them three: 46 in all for 16 results.

All is computed in fractions, so that tests can compare it with the definition exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

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
from fastconv.backends.numba_cpu.conv.winograd.forms.blocks import Block, blocks_of
from fastconv.geometry import Pair


@dataclass(frozen=True)
class Form:
    """A `Form` computes a tile of results from a patch of pixels and a kernel: ``down`` and ``right`` are its sides."""

    down: Axis
    right: Axis

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled by the axes alone, as `Axis`."""
        return Form, (self.down, self.right)

    @property
    def name(self) -> str:
        """Return the name of the form, such as "4x4" for 3 x 3 taps, or "1x4,1x7" for others."""
        taps = self.down.taps, self.right.taps
        tile = f"{self.down.output}x{self.right.output}"
        return tile if taps == (3, 3) else f"{tile},{taps[0]}x{taps[1]}"

    def __str__(self) -> str:
        """Return the name of the form."""
        return self.name

    def pieces(self, kernel: Pair) -> int:
        """Return how many pieces of this form's taps a kernel of some rows and columns of taps falls into."""
        return -(-kernel[0] // self.down.taps) * -(-kernel[1] // self.right.taps)

    def products_for(self, kernel: Pair) -> Fraction:
        """Return the products for each result of a kernel."""
        return Fraction(self.products * self.pieces(kernel), self.down.output * self.right.output)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Return the blocks of the n x n' numbers, row by row, with their products."""
        return blocks_of(self.down, self.right)

    @cached_property
    def products(self) -> int:
        """Return the number of real products for a patch and a channel."""
        return sum(len(block.image) for block in self.blocks)


def _square(axis: Axis) -> Form:
    return Form(axis, axis)


_POINTS = (X, X_LESS_1, X_PLUS_1)
_SIX = Axis(4, 3, (*_POINTS, FOURTH, INFINITY))
_EIGHT = Axis(4, 5, (*_POINTS, THIRD, SIXTH, INFINITY))
_TEN = Axis(4, 7, (*_POINTS, FOURTH, THIRD, SIXTH, INFINITY))
_ALONE = Axis(1, 1, (INFINITY,))

FORMS = (
    _square(Axis(2, 3, (*_POINTS, INFINITY))),
    *(_square(axis) for axis in (_SIX, _EIGHT, _TEN)),
    *(Form(_ALONE, axis) for axis in (_SIX, _EIGHT, _TEN)),
    *(Form(axis, _ALONE) for axis in (_SIX, _EIGHT, _TEN)),
)
"""The forms that the planner chooses among."""
