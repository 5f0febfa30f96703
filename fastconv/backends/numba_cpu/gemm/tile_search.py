"""Which tile costs least: all that registers allow are ranked once, and few of them are looked at for each image size.

A tile's cost depends on what a layer keeps, its channels and taps, and on what changes with every new image, the number
of pixels. The first part gives a bound from below, cycles for each pixel. Tiles are ranked by that bound, and the
ranking is kept; for an image they are gone through from the lowest bound on, until a bound exceeds the best cost found.
A new image size then costs 0.2 ms a plan, and took 0.9 to 1.7 with all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple, TypeVar

from fastconv.backends.numba_cpu.gemm.micro_kernel import most_rows, tile_vectors
from fastconv.backends.numba_cpu.simd import Simd

S = TypeVar("S")

_SURE = 1 - 1e-9
"""Factor of a bound, so that rounding never puts it above the cost that it bounds."""


class Ranked(NamedTuple):
    """A tile's bound, its place among all tiles, and what else a search knows of it."""

    bound: float
    place: int
    shape: tuple[int, ...]
    known: tuple[float, ...] = ()


@cache
def shapes(simd: Simd) -> tuple[tuple[int, int], ...]:
    """MR and vectors of every tile whose sums fit in the registers."""
    return tuple(
        (tile_rows, vectors)
        for tile_rows in range(1, most_rows(simd.instructions) + 1)
        for vectors in range(1, tile_vectors(tile_rows, simd.instructions) + 1)
    )


def ranked(tiles: Iterable[Ranked]) -> tuple[Ranked, ...]:
    """The tiles, those with the lowest bound first."""
    return tuple(sorted(tiles))


def cheapest(
    tiles: tuple[Ranked, ...],
    cost: Callable[[Ranked], float],
    *,
    scale: float,
    fixed: float = 0.0,
    below: float = math.inf,
) -> tuple[float, Ranked] | None:
    """The least cost and its tile, the first by place among equals; None where no tile costs less than ``below``.

    No tile may cost less than ``fixed`` + ``scale`` * its bound.
    """
    least, best = below, None
    for tile in tiles:
        if (fixed + scale * tile.bound) * _SURE > least:
            break
        found = cost(tile)
        if found < least or (found == least and best is not None and tile.place < best.place):
            least, best = found, tile
    return None if best is None else (least, best)
