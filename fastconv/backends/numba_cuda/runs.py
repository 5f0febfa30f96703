"""A plan is carried out here: which kernels are launched, with what workspace, in what order."""

from __future__ import annotations

from fastconv.backends.numba_cuda import (
    definition,
    depthwise,
    direct,
    direct_weight,
    implicit_gemm,
    packing,
    shared_tiles,
    sums,
    weight_gemm,
)
from fastconv.backends.numba_cuda.cores import covering
from fastconv.backends.numba_cuda.correlation import Correlation
from fastconv.backends.numba_cuda.memory import Buffer
from fastconv.backends.numba_cuda.places import Place
from fastconv.backends.numba_cuda.planner import Plan, direct_taps
from fastconv.backends.numba_cuda.storage import FLOAT32, Storage, computed
from fastconv.backends.numba_cuda.target import types

_GUARDS = 512
"""Blocks that test whether a weight is not finite: some for each multiprocessor, not one for each 128 elements."""


def correlate(
    place: Place, plan: Plan, f: Correlation, stored: Storage, x: Buffer, w: Buffer, b: Buffer | None, y: Buffer
) -> None:
    """Fill y of a `Correlation`, or its lattice of y."""
    biased = int(b is not None)
    operands = x.argument, w.argument, (x if b is None else b).argument, y.argument
    rows = f.G * f.M
    if plan.algorithm == "definition" or not f.terms:
        blocks = covering(f.pixels * rows, definition.THREADS)
        kernel = definition.correlate(stored, False)
        kernel.launch(blocks, place.stream, *operands, f, biased, x.argument, 0)
    elif plan.algorithm == "tiled":
        edge = shared_tiles.EDGE
        blocks = covering(f.M, edge) * f.G * covering(f.pixels, edge)
        shared_tiles.correlate(stored).launch(blocks, place.stream, *operands, f, biased)
    elif plan.algorithm == "direct":
        threads = covering(f.N, plan.images) * f.I * f.J
        blocks = covering(f.M, plan.rows) * f.G * covering(threads, direct.THREADS)
        kernel = direct.correlate(stored, plan.rows, plan.images, f.inside)
        kernel.launch(blocks, place.stream, *operands, f, biased)
    elif plan.algorithm == "depthwise":
        threads = covering(f.N, plan.images) * f.I * f.J * rows
        kernel = depthwise.correlate(stored, plan.images)
        kernel.launch(covering(threads, depthwise.THREADS), place.stream, *operands, f, biased)
    else:
        _by_tiles(place, plan, f, stored, x, w, b, y)


def _by_tiles(
    place: Place, plan: Plan, f: Correlation, stored: Storage, x: Buffer, w: Buffer, b: Buffer | None, y: Buffer
) -> None:
    tile = plan.tile
    assert tile is not None
    padded_rows = covering(f.M, tile.rows) * tile.rows
    chunks = covering(f.D, tile.depth)
    elements = f.G * f.R * f.S * chunks * tile.depth * padded_rows
    blocks = covering(elements, packing.THREADS)
    packed = place.workspace(elements, stored.computed)
    odd = place.workspace(blocks, types.int32)
    pack = packing.pack(stored, plan.algorithm == "tf32" and stored is FLOAT32)
    sizes = chunks * tile.depth, padded_rows
    pack.launch(blocks, place.stream, w.argument, packed.argument, odd.argument, f, *sizes)

    size = f.N * f.G * f.M * f.P * f.Q
    whole = computed(stored)
    result, made = (y, stored) if plan.splits == 1 else (place.workspace(plan.splits * size, whole.memory), whole)
    bias = (x if b is None else b).argument
    biased = int(b is not None)
    steps = covering(f.R * f.S * chunks, plan.splits)
    kernel = implicit_gemm.correlate(tile, stored, made, f.D % tile.depth == 0)
    kernel.launch(
        padded_rows // tile.rows * f.G * plan.splits * covering(f.pixels, tile.columns),
        place.stream,
        *(x.argument, packed.argument, bias, result.argument, f),
        *(chunks, padded_rows, plan.splits, steps, biased if plan.splits == 1 else 0),
    )
    if plan.splits > 1:
        _add(place, stored, result, b, y, plan.splits, f.P * f.Q, f.G * f.M)
    if f.skips and not f.inside:
        # only does anything if a weight is not finite
        operands = x.argument, w.argument, bias, y.argument
        guards = min(_GUARDS, covering(f.pixels * f.G * f.M, definition.THREADS))
        guarded = definition.correlate(stored, True)
        guarded.launch(guards, place.stream, *operands, f, biased, odd.argument, blocks)


def weigh(place: Place, plan: Plan, f: Correlation, stored: Storage, x: Buffer, grad: Buffer, dw: Buffer) -> None:
    """Fill the weight gradient of a forward `Correlation`."""
    if plan.algorithm == "definition":
        blocks = covering(dw.elements, definition.THREADS)
        definition.weigh(stored).launch(blocks, place.stream, x.argument, grad.argument, dw.argument, f)
        return
    parts = place.workspace(plan.splits * dw.elements, stored.computed)
    operands = x.argument, grad.argument, parts.argument, f
    row_blocks = covering(f.M, plan.tile.rows if plan.tile else plan.rows or shared_tiles.EDGE)
    if plan.algorithm == "tiled":
        blocks = row_blocks * covering(f.terms, shared_tiles.EDGE) * f.G * plan.splits
        steps = covering(covering(f.pixels, shared_tiles.EDGE), plan.splits)
        shared_tiles.weigh(stored).launch(blocks, place.stream, *operands, plan.splits, steps)
    elif plan.tile is None:
        taps = direct_taps(f)
        blocks = row_blocks * covering(f.S, taps) * f.R * f.D * f.G * plan.splits
        share = covering(f.pixels, plan.splits)
        kernel = direct_weight.weigh(stored, plan.rows, taps)
        kernel.launch(blocks, place.stream, *operands, plan.splits, share)
    else:
        blocks = row_blocks * covering(f.D, plan.tile.columns) * f.R * f.S * f.G * plan.splits
        steps = covering(covering(f.pixels, plan.tile.depth), plan.splits)
        weight_gemm.weigh(plan.tile, stored).launch(blocks, place.stream, *operands, plan.splits, steps)
    _add(place, stored, parts, None, dw, plan.splits, 1, 1)


def _add(
    place: Place,
    stored: Storage,
    parts: Buffer,
    b: Buffer | None,
    result: Buffer,
    splits: int,
    plane: int,
    channels: int,
) -> None:
    blocks = covering(result.elements, sums.THREADS)
    bias = (result if b is None else b).argument
    sizes = result.elements, splits, plane, channels, int(b is not None)
    sums.add_splits(stored).launch(blocks, place.stream, parts.argument, bias, result.argument, *sizes)
