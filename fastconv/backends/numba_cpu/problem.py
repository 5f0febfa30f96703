"""What a job computes, whatever the algorithm: a convolution on a lattice of pixels, or its adjoint for the weight."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fastconv.geometry import Pair

Taps = tuple[tuple[int, int, int], ...]
"""dy, dx and the place in the kernel, of each tap."""


@dataclass(frozen=True)
class Problem:
    """A convolution from ``channels`` to ``rows`` channels in each group, for I x J lattice points in each image.

    From one lattice point to the next it is ``source_step`` pixels in the source, ``target_step`` in the target.

    For the adjoint for the weight: the convolution that it belongs to.
    """

    images: int
    groups: int
    rows: int
    channels: int
    size: Pair
    """The source's height and width."""
    lattice: Pair
    source_step: Pair
    taps: Taps
    target_step: Pair = (1, 1)
    part: bool = False
    """Whether the lattice is a rectangle of a larger target: for those that write whole planes that is none."""

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Several caches look a problem up while it is planned; a kernel of 7 x 7 has 49 taps.
        sizes = self.images, self.groups, self.rows, self.channels, self.size, self.lattice
        return hash((*sizes, self.source_step, self.target_step, self.taps))

    @cached_property
    def phases(self) -> tuple[Pair, ...]:
        """Remainders of rows and columns, modulo the step, that taps read."""
        down, right = self.source_step
        return tuple(sorted({(dy % down, dx % right) for dy, dx, _ in self.taps}))

    @cached_property
    def first(self) -> Pair:
        """The source's first row and column that a lattice's first point reads, in steps."""
        down, right = self.source_step
        return min(dy // down for dy, _, _ in self.taps), min(dx // right for _, dx, _ in self.taps)

    @cached_property
    def reach(self) -> Pair:
        """How far apart, in steps, the first and the last row and column are that one lattice point reads."""
        down, right = self.source_step
        rows, columns = [dy // down for dy, _, _ in self.taps], [dx // right for _, dx, _ in self.taps]
        return max(rows) - min(rows), max(columns) - min(columns)

    @cached_property
    def grid(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The rows and the columns in which there are taps, ascending."""
        return tuple(sorted({tap[0] for tap in self.taps})), tuple(sorted({tap[1] for tap in self.taps}))

    @cached_property
    def is_grid(self) -> bool:
        """Whether there is a tap in each row and column of its grid."""
        rows, columns = self.grid
        return len(self.taps) == len(rows) * len(columns)

    @cached_property
    def pieces(self) -> Pair | None:
        """How many pieces of 3 x 3, rows and columns of them, the taps fall into.

        None where taps, or lattice points in source or target, aren't all neighbours, and in a part of the target.
        """
        whole = all(axis == tuple(range(axis[0], axis[-1] + 1)) for axis in self.grid)
        if not (whole and self.is_grid and self.source_step == self.target_step == (1, 1)) or self.part:
            return None
        rows, columns = self.grid
        return -(-len(rows) // 3), -(-len(columns) // 3)

    @cached_property
    def points(self) -> int:
        """Lattice points of all images."""
        return self.images * self.lattice[0] * self.lattice[1]

    @cached_property
    def flops(self) -> int:
        """Floating-point operations, a multiply-add counted as two."""
        return 2 * self.points * self.groups * self.rows * self.channels * len(self.taps)
