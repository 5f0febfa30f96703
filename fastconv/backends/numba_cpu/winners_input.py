"""The adjoint for the image through max pooling, from the winners alone: see winners.py.

    pack the weight                          tap by tap, source channels in the lanes
    for an image, for some vectors of source channels
        clear their planes
        for blocks of target channels
            list their winners
            for vectors of source channels   the plane stays in the L1 cache
                for target channels          one kernel call, with the weight in registers
        write the planes

Every pixel's sum is of the same terms in the same order for any number of threads. A weight that isn't finite would
make NaN of the zeros that are left out here, so whoever meets one says so.
"""

from __future__ import annotations

from fastconv.backends.jit import address_of, inner, once
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.channel_planes import write_plane
from fastconv.backends.numba_cpu.interleave import clear
from fastconv.backends.numba_cpu.panels import is_finite
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import (
    Simd,
    call,
    load_integer,
    load_scalar,
    store_integer,
    store_scalar,
    zero,
)
from fastconv.backends.numba_cpu.winners import list_winners
from fastconv.backends.numba_cpu.winners_tiles import WinnersTiling, list_bytes


def plane_numbers(simd: Simd, cut: WinnersTiling) -> int:
    """Elements of a plane, and of what is read beyond it."""
    return (cut.plane_rows * cut.plane_w + simd.lanes) * simd.lanes


def workspace_bytes(simd: Simd, p: Problem, cut: WinnersTiling) -> int:
    """What a slot needs: the planes, and the lists of a block of channels."""
    lists = cut.channels * (list_bytes(simd, cut.block_rows * (p.lattice[1] // 2)) + 8)
    return cut.task_groups * plane_numbers(simd, cut) * simd.itemsize + lists + 64


@inner
def _pack(simd, frame, k):
    """The weights of target channel k: vectors of source channels, tap by tap."""
    depth, taps = load_integer(frame, F.DEPTH), load_integer(frame, F.TAP_COUNT)
    groups = load_integer(frame, F.BLOCKS)
    source = load_integer(frame, F.WEIGHT) + simd.itemsize * k * depth * taps
    panel = load_integer(frame, F.PANELS) + simd.itemsize * k * groups * taps * simd.lanes
    for group in range(groups):
        there = min(simd.lanes, depth - group * simd.lanes)
        for t in range(taps):
            at = (group * taps + t) * simd.lanes
            for lane in range(there):
                store_scalar(simd, panel, at + lane, load_scalar(simd, source, (group * simd.lanes + lane) * taps + t))
            for lane in range(there, simd.lanes):
                store_scalar(simd, panel, at + lane, zero(simd))
    if not is_finite(simd, source, depth * taps):
        store_integer(frame, F.INFINITE, 1)


@inner
def _distribute(simd, frame, task, slot):
    """Some vectors of channels of an image."""
    size, lanes = simd.itemsize, simd.lanes
    task_groups = load_integer(frame, F.BLOCK_TILES)
    groups = load_integer(frame, F.BLOCKS)
    n, block = divmod(task, (groups + task_groups - 1) // task_groups)
    first_group = block * task_groups
    here = min(groups, first_group + task_groups) - first_group
    channels, together = load_integer(frame, F.ROWS), load_integer(frame, F.BLOCK_PANELS)
    pixels = (load_integer(frame, F.I) // 2) * (load_integer(frame, F.J) // 2)
    patch_rows, tile_rows = load_integer(frame, F.PIECES), load_integer(frame, F.TILE_ROWS)
    row_numbers = load_integer(frame, F.TILE_VECTORS) * lanes
    step, kernels, plane = load_integer(frame, F.STEPS), load_integer(frame, F.KERNEL), load_integer(frame, F.CHANNEL)

    planes = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    lists = (planes + size * task_groups * plane + 63) // 64 * 64
    number_bytes = (pixels * size + 63) // 64 * 64
    list_step = number_bytes + 8 * pixels
    counts = lists + together * list_step
    clear(simd, planes, here * (plane // lanes))
    for first in range(0, channels, together):
        count = min(together, channels - first)
        for k in range(count):
            place = (n * channels + first + k) * pixels
            gradient, indices = load_integer(frame, F.SOURCE) + size * place, load_integer(frame, F.BIAS) + 8 * place
            numbers, table = lists + k * list_step, load_integer(frame, F.PLACES)
            listed = list_winners(simd, pixels, gradient, indices, 0, table, numbers + number_bytes, numbers)
            store_integer(counts, k, listed)
        for group in range(here):
            for k in range(count):
                numbers = lists + k * list_step
                for r in range(0, patch_rows, tile_rows):
                    kernel = load_integer(kernels, 0 if r + tile_rows <= patch_rows else 1)
                    row = ((first + k) * groups + first_group + group) * patch_rows + r
                    weights = load_integer(frame, F.PANELS) + size * row * row_numbers
                    corner = planes + size * (group * plane + r * step)
                    call(kernel, (load_integer(counts, k), numbers, numbers + number_bytes, corner, step, weights))
    for group in range(here):
        write_plane(simd, frame, n, (first_group + group) * lanes, planes + size * group * plane)


@once
def pack_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that packs the weights of a target channel."""

    def pack_channel(frame, task, slot):
        _pack(simd, frame, task)

    return address_of(pack_channel, 3)


@once
def distribute_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes some channels of an image."""

    def distribute(frame, task, slot):
        _distribute(simd, frame, task, slot)

    return address_of(distribute, 3)
