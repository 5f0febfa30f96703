"""`gather` reads the pixels of an image under one tap of the kernel, for one vector of lattice points.

Successive lattice points are neighbours in the source as long as they are in one row, so a vector consists of *runs*,
one for each row that it touches. Each run is read by one masked load: lanes outside the image stay zero, and their
memory is not touched. Padding and edges cost only the masks; neither a column matrix nor a padded copy of the image is
ever made. Masks and addresses are computed once for a tap and used for all channels.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.simd import (
    bits_between,
    evens,
    lanes_between,
    load,
    load_integer,
    load_scalar,
    load_where,
    mask_from,
    prefetch,
    store,
    store_integer,
    store_scalar,
    zeros,
)
from fastconv.backends.numba_cpu.simd.memory import can_load_apart, load_apart

AHEAD = 4
"""Distance of prefetches, in vectors. Planes are too far apart for the processor to see that each is read in order."""

RUN_WORDS, INSIDE_WORDS = 6, 4
"""Integers that describe a run, before and after it is clipped to the image. A vector has at most lanes runs."""


@inner
def is_plain(args):
    """Return True if each lattice point reads the one source pixel at its own place."""
    alone = args.tap_count == 1 and load_integer(args.taps, 0) == 0 and load_integer(args.taps, 1) == 0
    return alone and args.DI == 1 and args.DJ == 1 and args.I == args.H and args.J == args.W


@inner
def copy_plain(simd, source, plane, low, high, place, target, width):
    """Copy ``width`` pixels side by side, whole vectors, of the channels ``low`` up to ``high``.

    All vectors of a channel are copied before the next channel's: planes that are a multiple of 4 KiB apart meet in few
    sets of the caches, and a line that two vectors share would be read twice.
    """
    for d in range(low, high):
        for v in range(0, width, simd.lanes):
            prefetch(simd, source, place + d * plane + width + v)
            store(simd, target, (d - low) * width + v, load(simd, source, place + d * plane + v))


@inner
def gather(simd, args, table, taps, group, u, count, first, end, target, step, runs):
    """Gather rows ``first`` up to ``end`` of the reduction at the lattice points u up to u + count, at most a vector.

    Row d * taps + t of the reduction is tap t, of the ``taps`` taps in ``table``, on the group's source channel d. Rows
    are written to ``target``, ``step`` elements apart; lanes from ``count`` on are zeros. ``runs`` is the address of
    memory for the runs.
    """
    H, W = args.H, args.W
    right, source = args.DJ, args.source
    plane = H * W
    rows = _find_runs(args, group, u, count, runs)
    found = runs + 8 * RUN_WORDS * rows
    first_channel, first_tap = divmod(first, taps)
    end_channel, end_tap = divmod(end, taps)
    for t in range(taps):
        # The channels d from ``low`` up to ``high`` are those whose row for this tap is wanted.
        low, high = first_channel + (t < first_tap), end_channel + (t < end_tap)
        if low >= high:
            continue
        dy, dx = load_integer(table, 3 * t), load_integer(table, 3 * t + 1)
        if rows == 1 and count == simd.lanes and can_load_apart(right):
            y, x = load_integer(runs, 2) + dy, load_integer(runs, 3) + dx
            if 0 <= y < H and x >= 0 and x + (simd.lanes - 1) * right < W:
                place = load_integer(runs, 4) + y * W + x
                _copy_inside(simd, source, plane, right, low, high, place, target, t - first, taps, step)
                continue
        inside = _clip_runs(simd, args, rows, dy, dx, runs, found)
        _copy(simd, source, plane, right, low, high, inside, found, target, t - first, taps, step)


@inner
def _find_runs(args, group, u, count, runs):
    """Fill the runs of a vector and return their number.

    A run is its first lane, end, row, column, and the source plane of the group's channel 0.
    """
    I, J = args.I, args.J
    channels = args.depth * args.groups
    rows = 0
    n, rest = divmod(u, I * J)
    i, j = divmod(rest, J)
    lane = 0
    while lane < count:
        end_lane = min(count, lane + J - j)
        base = runs + 8 * RUN_WORDS * rows
        store_integer(base, 0, lane)
        store_integer(base, 1, end_lane)
        store_integer(base, 2, i * args.DI)
        store_integer(base, 3, (j - lane) * args.DJ)
        store_integer(base, 4, (n * channels + group * args.depth) * args.H * args.W)
        rows += 1
        lane = end_lane
        j = 0
        i += 1
        if i == I:
            i = 0
            n += 1
    return rows


@inner
def _clip_runs(simd, args, rows, dy, dx, runs, found):
    """Clip the runs to the image under a tap, and return the number of those that are left.

    They are written to ``found``: first lane, end, the index of lane 0 in channel 0, and the mask's bits.
    """
    H, W, right = args.H, args.W, args.DJ
    inside = 0
    for run in range(rows):
        base = runs + 8 * RUN_WORDS * run
        y, x = load_integer(base, 2) + dy, load_integer(base, 3) + dx
        if y < 0 or y >= H:
            continue
        # Lanes with 0 <= x + lane * right < W. A division takes as long as the copy of a pixel's channel.
        if right == 1:
            begin, stop = -x, W - x
        elif right == 2:
            begin, stop = (1 - x) >> 1, (W - x + 1) >> 1
        else:
            begin, stop = (-x + right - 1) // right, (W - x + right - 1) // right
        begin, stop = max(load_integer(base, 0), begin), min(load_integer(base, 1), stop)
        if begin < stop:
            store_integer(found, 4 * inside, begin)
            store_integer(found, 4 * inside + 1, stop)
            store_integer(found, 4 * inside + 2, load_integer(base, 4) + y * W + x)
            store_integer(found, 4 * inside + 3, bits_between(simd, begin, stop))
            inside += 1
    return inside


@inner
def _copy_inside(simd, source, plane, right, low, high, place, target, shift, taps, step):
    """Copy as `_copy` does where a whole vector lies in one row of the image: without masks."""
    if right == 1:
        for d in range(low, high):
            prefetch(simd, source, place + d * plane + AHEAD * simd.lanes)
            store(simd, target, (d * taps + shift) * step, load(simd, source, place + d * plane))
        return
    for d in range(low, high):
        store(simd, target, (d * taps + shift) * step, load_apart(simd, source, place + d * plane, right))


@inner
def _copy(simd, source, plane, right, low, high, inside, found, target, shift, taps, step):
    """Copy one tap's pixels of all channels ``low`` up to ``high``: channel d goes to row d * taps + shift."""
    if inside == 0:
        for d in range(low, high):
            store(simd, target, (d * taps + shift) * step, zeros(simd))
    elif right == 2:
        _copy_every_second(simd, source, plane, low, high, inside, found, target, shift, taps, step)
    elif right != 1:
        for d in range(low, high):
            row = (d * taps + shift) * step
            store(simd, target, row, zeros(simd))
            for run in range(inside):
                place = load_integer(found, 4 * run + 2) + d * plane
                for lane in range(load_integer(found, 4 * run), load_integer(found, 4 * run + 1)):
                    store_scalar(simd, target, row + lane, load_scalar(simd, source, place + lane * right))
    elif inside == 1:
        mask = lanes_between(simd, load_integer(found, 0), load_integer(found, 1))
        place = load_integer(found, 2)
        for d in range(low, high):
            value = load_where(simd, source, place + d * plane, mask, zeros(simd))
            store(simd, target, (d * taps + shift) * step, value)
    elif inside <= 4:
        _copy_runs(simd, source, plane, low, high, inside, found, target, shift, taps, step)
    else:
        for d in range(low, high):
            value = zeros(simd)
            for run in range(inside):
                mask = mask_from(simd, load_integer(found, 4 * run + 3))
                value = load_where(simd, source, load_integer(found, 4 * run + 2) + d * plane, mask, value)
            store(simd, target, (d * taps + shift) * step, value)


@inner
def _copy_runs(simd, source, plane, low, high, inside, found, target, shift, taps, step):
    """Copy as `_copy` does, for two, three or four runs without a stride, with their masks in registers."""
    mask = lanes_between(simd, load_integer(found, 0), load_integer(found, 1))
    other = lanes_between(simd, load_integer(found, 4), load_integer(found, 5))
    place, elsewhere = load_integer(found, 2), load_integer(found, 6)
    if inside == 2:
        for d in range(low, high):
            value = load_where(simd, source, place + d * plane, mask, zeros(simd))
            value = load_where(simd, source, elsewhere + d * plane, other, value)
            store(simd, target, (d * taps + shift) * step, value)
        return
    third = lanes_between(simd, load_integer(found, 8), load_integer(found, 9))
    further = load_integer(found, 10)
    # With three runs, the fourth is an empty run at the address of the third.
    last = 4 * (inside - 1)
    fourth = lanes_between(simd, load_integer(found, last), load_integer(found, last + 1) * (inside - 3))
    furthest = load_integer(found, last + 2)
    for d in range(low, high):
        value = load_where(simd, source, place + d * plane, mask, zeros(simd))
        value = load_where(simd, source, elsewhere + d * plane, other, value)
        value = load_where(simd, source, further + d * plane, third, value)
        value = load_where(simd, source, furthest + d * plane, fourth, value)
        store(simd, target, (d * taps + shift) * step, value)


@inner
def _copy_every_second(simd, source, plane, low, high, inside, found, target, shift, taps, step):
    """Copy as `_copy` does, with a stride of 2: every second element of two vectors, which are read run by run.

    The runs are in the order of their lanes, so the near vector has parts of the first ones, and the far vector of the
    last ones. Rows of 7 pixels and more have at most two runs in each; then their masks stay in registers, 6 cycles a
    vector, where it takes 30 with masks made for each channel.
    """
    lanes = simd.lanes
    near_runs, far_runs = 0, 0
    for run in range(inside):
        begin, stop = 2 * load_integer(found, 4 * run), 2 * load_integer(found, 4 * run + 1) - 1
        store_integer(found, 4 * run, bits_between(simd, begin, stop))
        store_integer(found, 4 * run + 1, bits_between(simd, begin - lanes, stop - lanes))
        near_runs += begin < lanes
        far_runs += stop > lanes
    last, before_last = 4 * (inside - 1), 4 * max(inside - 2, 0)
    second = 4 * min(inside - 1, 1)
    first_mask, last_mask = mask_from(simd, load_integer(found, 0)), mask_from(simd, load_integer(found, last + 1))
    first_place, last_place = load_integer(found, 2), load_integer(found, last + 2) + lanes
    if inside == 1:
        for d in range(low, high):
            near = load_where(simd, source, first_place + d * plane, first_mask, zeros(simd))
            far = load_where(simd, source, last_place + d * plane, last_mask, zeros(simd))
            store(simd, target, (d * taps + shift) * step, evens(simd, near, far))
    elif near_runs <= 2 and far_runs <= 2:
        second_mask = mask_from(simd, load_integer(found, second))
        other_mask = mask_from(simd, load_integer(found, before_last + 1))
        second_place, other_place = load_integer(found, second + 2), load_integer(found, before_last + 2) + lanes
        for d in range(low, high):
            near = load_where(simd, source, first_place + d * plane, first_mask, zeros(simd))
            near = load_where(simd, source, second_place + d * plane, second_mask, near)
            far = load_where(simd, source, last_place + d * plane, last_mask, zeros(simd))
            far = load_where(simd, source, other_place + d * plane, other_mask, far)
            store(simd, target, (d * taps + shift) * step, evens(simd, near, far))
    else:
        for d in range(low, high):
            near, far = zeros(simd), zeros(simd)
            for run in range(inside):
                place = load_integer(found, 4 * run + 2) + d * plane
                near = load_where(simd, source, place, mask_from(simd, load_integer(found, 4 * run)), near)
                mask = mask_from(simd, load_integer(found, 4 * run + 1))
                far = load_where(simd, source, place + lanes, mask, far)
            store(simd, target, (d * taps + shift) * step, evens(simd, near, far))
