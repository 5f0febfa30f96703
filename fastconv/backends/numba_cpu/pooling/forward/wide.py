"""A vector goes along the rows of one wide window, and its lanes are merged at the end.

This kernel is for windows that are many pixels wide or apart, so that a row has few of them: vectors of windows would
be mostly empty or filled by single loads. Merging the lanes takes log2(lanes) rounds, so a window should have a few
vectors. A window that covers its whole plane has a kernel of its own (whole_planes.py).

Windows are read in steps that a processor doesn't foresee: with the pixels below prefetched, 57 x 57 pixels under 7 x 7
windows come from memory in 1/6 of the time. From caches that costs a third more, so it is left out there.

Tasks are runs of windows, counted through all planes.
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.pooling.arguments import PoolingArguments
from fastconv.backends.numba_cpu.pooling.windows.lanes import deliver_desk, desk, no_pixels, pixels, put_on_desk
from fastconv.backends.numba_cpu.pooling.windows.state import merge
from fastconv.backends.numba_cpu.simd import load_integer, prefetch
from fastconv.backends.numba_cpu.simd.task import task


@task(PoolingArguments)
def pool_wide(w, args, task, thread):
    """Pool a task's windows, counted through the planes."""
    size, lanes = w.itemsize, w.lanes
    H, W, P, Q = args.H, args.W, args.P, args.Q
    out, indices = args.output, args.indices
    reach, spans = args.reach, args.spans
    divisors, ahead = args.divisors, args.ahead
    first = task * args.task_windows
    last = min(args.planes * P * Q, first + args.task_windows)
    image = args.input + size * (first // (P * Q)) * H * W
    p, q = first // Q % P, first % Q
    room = desk(w)
    for u in range(first, last, lanes):
        count = min(lanes, last - u)
        for k in range(count):
            top, rows = load_integer(reach, 2 * p), load_integer(reach, 2 * p + 1)
            begin, end = load_integer(spans, 2 * q), load_integer(spans, 2 * q + 1)
            whole = begin + (end - begin) // lanes * lanes
            state = no_pixels(w)
            row, place = image + size * top * W, -begin
            for _ in range(rows):
                for c in range(begin, whole, lanes):
                    if ahead != 0:
                        prefetch(w, row + ahead, c)
                    state = merge(w, state, pixels(w, row, c, None, place))
                if whole < end:
                    if ahead != 0:
                        prefetch(w, row + ahead, whole)
                    state = merge(w, state, pixels(w, row, whole, end, place))
                row += size * W
                place += W
            put_on_desk(w, room, k, state, load_integer(divisors, p) + size * q, top * W + begin)
            q += 1
            if q == Q:
                q = 0
                p += 1
            if p == P:
                p = 0
                image += size * H * W
        deliver_desk(w, room, out + size * u, indices + 8 * u if indices != 0 else 0, count)
