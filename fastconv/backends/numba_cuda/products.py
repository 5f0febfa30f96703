"""The two kinds of tile product have one interface, for the kernels that feed them.

``starts(t)`` gives where thread t begins in A and B, ``multiply`` does one step, and ``stage`` puts one part of the
thread's sums down into shared memory, rows of `pass_rows` by columns, from where any thread may take them on;
``row_of(part, r)`` says which row of the tile row r of that part is.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from fastconv.backends.numba_cuda.cores import MatrixTile, RegisterTile
from fastconv.backends.numba_cuda.target import device, primitives, types

Tile = RegisterTile | MatrixTile


class Product(NamedTuple):
    """The functions that kernels call, all for one tile and data type."""

    zeros: Any
    starts: Any
    multiply: Any
    stage: Any
    """``stage(sums, staging, t)``: the sums that remain, those that were put down last."""
    row_of: Any


@cache
def product(tile: Tile, dtype: types.Type) -> Product:
    """Returns the functions for a tile."""
    return _by_matrix_units(tile) if isinstance(tile, MatrixTile) else _in_registers(tile, dtype)


def _in_registers(tile: RegisterTile, dtype: types.Type) -> Product:
    vector, across, columns = tile.vector, tile.across, tile.columns
    row_spacing, column_spacing = tile.row_spacing, tile.column_spacing
    store = primitives.store_vectors(tile.column_groups, vector, dtype)
    head = primitives.head(tile.pass_sums, tile.sums, dtype)
    rotate = primitives.rotate(tile.pass_sums, tile.sums, dtype)

    @device
    def starts(t):
        return vector * (t // across), vector * (t % across)

    @device
    def stage(sums, staging, t):
        store(staging, (t // across) * columns + vector * (t % across), column_spacing, head(sums))
        return rotate(sums)

    @device
    def row_of(part, r):
        return (part // vector) * row_spacing + vector * r + part % vector

    multiply = primitives.multiply_tiles(tile, dtype)
    return Product(primitives.zeros(tile.sums, dtype), starts, multiply, stage, row_of)


def _by_matrix_units(tile: MatrixTile) -> Product:
    across, columns = tile.warps_across, tile.columns
    rows_a_warp, columns_a_warp = 16 * tile.row_fragments, 8 * tile.column_fragments
    pitch_a, pitch_b = tile.pitches
    pairs = primitives.store_vectors(tile.column_fragments, 2, types.float32)
    upper, lower = (primitives.fragment_rows(tile.column_fragments, tile.sums, half) for half in (0, 1))
    rotate = primitives.rotate(tile.pass_sums, tile.sums, types.float32)

    @device
    def starts(t):
        warp, group, place = t // 32, t % 32 // 4, t % 4
        at_a = (warp // across) * rows_a_warp + place * pitch_a + group
        return at_a, (warp % across) * columns_a_warp + place * pitch_b + group

    @device
    def stage(sums, staging, t):
        warp, group, place = t // 32, t % 32 // 4, t % 4
        at = ((warp // across) * 16 + group) * columns + (warp % across) * columns_a_warp + 2 * place
        pairs(staging, at, 8, upper(sums))
        pairs(staging, at + 8 * columns, 8, lower(sums))
        return rotate(sums)

    @device
    def row_of(part, r):
        return (r // 16) * rows_a_warp + 16 * part + r % 16

    multiply = primitives.multiply_matrices(tile)
    return Product(primitives.zeros(tile.sums, types.float32), starts, multiply, stage, row_of)
