"""A problem is what a job computes, by any algorithm: a convolution on a lattice of pixels, or its weight gradient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fastconv.geometry import Pair

Taps = tuple[tuple[int, int, int], ...]
"""The taps of a problem: for each dy, dx and its place in the kernel."""


@dataclass(frozen=True)
class Problem:
    """A problem is a convolution from ``channels`` to ``rows`` channels per group, on I x J lattice points per image.

    Neighbouring lattice points are ``source_step`` pixels apart in the source and ``target_step`` in the target.

    The problem of a weight gradient is that of its forward pass.
    """

    images: int
    groups: int
    rows: int
    channels: int
    size: Pair
    """Height and width of the source, in pixels."""
    lattice: Pair
    source_step: Pair
    taps: Taps
    target_step: Pair = (1, 1)
    part: bool = False
    """True if the lattice is a rectangle of a larger target, which algorithms that write whole planes can't do."""

    backward: bool = False
    """True if this is an input gradient, which reads columns of the weight: rows are neighbours in memory."""

    kept: bool = False
    """True if the packed weight is kept for later runs, so that its cost doesn't count."""

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Planning looks a problem up in several caches, and a kernel of 7 x 7 has 49 taps to hash.
        sizes = self.images, self.groups, self.rows, self.channels, self.size, self.lattice
        return hash((*sizes, self.source_step, self.target_step, self.taps))

    @cached_property
    def phases(self) -> tuple[Pair, ...]:
        """Return the (row, column) remainders, modulo the source step, of the pixels that taps read."""
        down, right = self.source_step
        return tuple(sorted({(dy % down, dx % right) for dy, dx, _ in self.taps}))

    @cached_property
    def first(self) -> Pair:
        """Return the first source row and column that the lattice's first point reads, in steps."""
        down, right = self.source_step
        return min(dy // down for dy, _, _ in self.taps), min(dx // right for _, dx, _ in self.taps)

    @cached_property
    def reach(self) -> Pair:
        """Return the distance from the first to the last row, and column, that one lattice point reads, in steps."""
        down, right = self.source_step
        rows, columns = [dy // down for dy, _, _ in self.taps], [dx // right for _, dx, _ in self.taps]
        return max(rows) - min(rows), max(columns) - min(columns)

    @cached_property
    def grid(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return dy of the rows and dx of the columns in which there are taps, ascending."""
        return tuple(sorted({tap[0] for tap in self.taps})), tuple(sorted({tap[1] for tap in self.taps}))

    @cached_property
    def is_grid(self) -> bool:
        """Return True if there is a tap at each row and column of the grid."""
        rows, columns = self.grid
        return len(self.taps) == len(rows) * len(columns)

    @cached_property
    def kernel(self) -> Pair | None:
        """Return the rows and columns of taps.

        Return None if taps, or lattice points in source or target, aren't all neighbours, or if the lattice is a part.
        """
        whole = all(axis == tuple(range(axis[0], axis[-1] + 1)) for axis in self.grid)
        if not (whole and self.is_grid and self.source_step == self.target_step == (1, 1)) or self.part:
            return None
        rows, columns = self.grid
        return len(rows), len(columns)

    @cached_property
    def points(self) -> int:
        """Return the number of lattice points in all images."""
        return self.images * self.lattice[0] * self.lattice[1]

    @cached_property
    def flops(self) -> int:
        """Return the number of floating-point operations, a multiply-add counted as two."""
        return 2 * self.points * self.groups * self.rows * self.channels * len(self.taps)
