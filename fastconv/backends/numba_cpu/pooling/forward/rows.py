"""A vector's lanes hold windows that lie side by side; the vector goes down the image, window after window.

    h[i, q]  =  merge over s of x[i, q * RIGHT - LEFT + s * DX]
    y[p, q]  =  merge over r of h[p * DOWN - TOP + r * DY, q]

Windows of up to four columns, one to four pixels apart, have kernels of their own, which load whole vectors and
shuffle them: for 3 x 3 windows side by side 4 times as fast as single loads. Windows of 3 x 3 roll: the last rows of h
of one window are the first rows of the next, so they stay in registers, and a result costs one or two new rows. Other
windows that overlap compute their rows of h again.

A vector goes through all rows of a block before the next one does, so that masks at the image's sides are made once; a
block fits the L2 cache, and the next one is prefetched meanwhile. Planes, and rows of large planes, are the parallel
axis.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.pooling.arguments import PoolingArguments
from fastconv.backends.numba_cpu.pooling.windows.rows import ask, deliver, row_of_windows
from fastconv.backends.numba_cpu.pooling.windows.state import merge, nothing
from fastconv.backends.numba_cpu.simd import load_integer
from fastconv.backends.numba_cpu.simd.task import task


@inner
def _down(w, args, plane, first, end, q, ahead):
    """Pool rows ``first`` up to ``end`` of a vector of windows."""
    size, W, S = w.itemsize, args.W, args.S
    P, Q = args.P, args.Q
    step, dx, dy = args.right, args.DX, args.DY
    image = args.input + size * plane * args.H * W
    out, indices = args.output, args.indices
    reach, divisors = args.reach, args.divisors
    starts = args.starts + size * q
    c = q * step - args.left
    down = args.down
    for p in range(first, end):
        ask(w, ahead)
        ahead += w.ahead
        # If all windows lie inside the image, their distance is constant, and they share one row of divisors.
        i, count, table = p * down, w.rows, 0
        if w.rows == 0:
            i, count, table = load_integer(reach, 2 * p), load_integer(reach, 2 * p + 1), p
        origin = i * W
        state = row_of_windows(w, nothing(w), image + size * origin, c, W, S, step, dx, starts, origin)
        for _ in range(1, count):
            i += dy
            # Sums add pixel after pixel, so that they round as torch's do.
            below = row_of_windows(w, state, image + size * i * W, c, W, S, step, dx, starts, i * W)
            state = below if w.sums else merge(w, state, below)
        divisor = load_integer(divisors, table) + size * q
        place = (plane * P + p) * Q
        deliver(w, state, out + size * place, indices + 8 * place, q, Q, origin, divisor)


@inner
def _roll(w, args, plane, first, end, q, ahead):
    """Do the work of `_down` for windows of three rows, one or two apart."""
    size, H, W, S = w.itemsize, args.H, args.W, args.S
    P, Q, down = args.P, args.Q, args.down
    step, dx = args.right, args.DX
    image = args.input + size * plane * H * W
    out, indices = args.output, args.indices
    divisors = args.divisors
    starts = args.starts + size * q
    c = q * step - args.left
    top = first * down - args.top
    middle = lower = nothing(w)
    p, last = first, top + 2
    for i in range(top, top + (end - 1 - first) * down + 3):
        upper, middle = middle, lower
        origin = min(max(i, 0), H - 1) * W
        lower = row_of_windows(w, nothing(w), image + size * origin, c, W, S, step, dx, starts, origin)
        if i < last:
            continue
        ask(w, ahead)
        ahead += w.ahead
        # A row outside the image, for which the nearest one was read, is not merged.
        state = middle
        if i > 1:
            state = upper
            if i <= H:
                state = merge(w, upper, middle)
        if i < H:
            state = merge(w, state, lower)
        divisor = load_integer(divisors, p) + size * q
        place = (plane * P + p) * Q
        deliver(w, state, out + size * place, indices + 8 * place, q, Q, max(i - 2, 0) * W, divisor)
        p += 1
        last += down


@inner
def _pool(w, rolling, args, task):
    """Pool a task's rows of its planes, by `_roll` unless ``rolling`` is None."""
    P, Q = args.P, args.Q
    blocks, rows = args.row_blocks, args.task_rows
    planes, block_rows = args.task_planes, args.block_rows
    row_bytes = w.itemsize * args.down * args.W
    plane_bytes = w.itemsize * args.H * args.W
    first_plane, first = task // blocks * planes, task % blocks * rows
    end_plane, last = min(args.planes, first_plane + planes), min(P, first + rows)
    for plane in range(first_plane, end_plane):
        for p in range(first, last, block_rows):
            end = min(last, p + block_rows)
            ahead = args.input + plane * plane_bytes + end * row_bytes
            for q in range(0, Q, w.lanes):
                if rolling is None:
                    _down(w, args, plane, p, end, q, ahead)
                else:
                    _roll(w, args, plane, p, end, q, ahead)
                ahead += (end - p) * w.ahead


@task(PoolingArguments)
def pool_down(w, args, task, thread):
    """Pool windows of any height."""
    _pool(w, None, args, task)


@task(PoolingArguments)
def pool_rolling(w, args, task, thread):
    """Pool windows of 3 x 3, ``w.step`` apart both ways."""
    _pool(w, True, args, task)
