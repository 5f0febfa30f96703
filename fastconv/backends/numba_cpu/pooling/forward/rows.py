"""Pooling by windows in rows: a vector of windows side by side goes down the image, window after window.

    h[i, q]  =  merge over s of x[i, q * RIGHT - LEFT + s * DX]
    y[p, q]  =  merge over r of h[p * DOWN - TOP + r * DY, q]

Windows of up to four columns, one to four pixels apart, have kernels of their own, which load whole vectors and
shuffle them: for 3 x 3 windows side by side 4 times as fast as single loads. And windows of 3 x 3 roll: the
last rows of h of one window are the first of the next, so they stay in registers, and a result costs one new row or
two. Other windows that overlap make their rows of h anew.

A vector goes through all rows of a block before the next one does, so that masks at the image's sides are made once; a
block fits the L2 cache, and the next one is asked for meanwhile. Planes, and rows of large ones, are the parallel axis.
"""

from __future__ import annotations

from fastconv.backends.jit import address_of, jit
from fastconv.backends.numba_cpu.pooling import fields as F
from fastconv.backends.numba_cpu.pooling.windows.rows import ask, deliver, row_of_windows
from fastconv.backends.numba_cpu.pooling.windows.state import Windows, merge, nothing
from fastconv.backends.numba_cpu.simd import load_integer


@jit
def _down(w, frame, plane, first, end, q, ahead):
    """Rows ``first`` up to ``end`` of a vector of windows."""
    size, W, S = w.itemsize, load_integer(frame, F.W), load_integer(frame, F.S)
    P, Q = load_integer(frame, F.P), load_integer(frame, F.Q)
    step, dx, dy = load_integer(frame, F.RIGHT), load_integer(frame, F.DX), load_integer(frame, F.DY)
    image = load_integer(frame, F.INPUT) + size * plane * load_integer(frame, F.H) * W
    out, indices = load_integer(frame, F.OUTPUT), load_integer(frame, F.INDICES)
    reach, divisors = load_integer(frame, F.REACH), load_integer(frame, F.DIVISORS)
    starts = load_integer(frame, F.STARTS) + size * q
    c = q * step - load_integer(frame, F.LEFT)
    down = load_integer(frame, F.DOWN)
    for p in range(first, end):
        ask(w, ahead)
        ahead += w.ahead
        # Windows that are all in the image lie evenly, and divide by the same numbers.
        i, count, table = p * down, w.rows, 0
        if w.rows == 0:
            i, count, table = load_integer(reach, 2 * p), load_integer(reach, 2 * p + 1), p
        origin = i * W
        state = row_of_windows(w, nothing(w), image + size * origin, c, W, S, step, dx, starts, origin)
        for _ in range(1, count):
            i += dy
            # Sums go on pixel by pixel, so that they round as torch's do.
            below = row_of_windows(w, state, image + size * i * W, c, W, S, step, dx, starts, i * W)
            state = below if w.sums else merge(w, state, below)
        divisor = load_integer(divisors, table) + size * q
        place = (plane * P + p) * Q
        deliver(w, state, out + size * place, indices + 8 * place, q, Q, origin, divisor)


@jit
def _roll(w, frame, plane, first, end, q, ahead):
    """As `_down`, of windows of three rows, one or two apart."""
    size, H, W, S = w.itemsize, load_integer(frame, F.H), load_integer(frame, F.W), load_integer(frame, F.S)
    P, Q, down = load_integer(frame, F.P), load_integer(frame, F.Q), load_integer(frame, F.DOWN)
    step, dx = load_integer(frame, F.RIGHT), load_integer(frame, F.DX)
    image = load_integer(frame, F.INPUT) + size * plane * H * W
    out, indices = load_integer(frame, F.OUTPUT), load_integer(frame, F.INDICES)
    divisors = load_integer(frame, F.DIVISORS)
    starts = load_integer(frame, F.STARTS) + size * q
    c = q * step - load_integer(frame, F.LEFT)
    top = first * down - load_integer(frame, F.TOP)
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


@jit
def _pool(w, rolling, frame, task):
    """A task's rows of its planes; ``rolling`` is None or true."""
    P, Q = load_integer(frame, F.P), load_integer(frame, F.Q)
    blocks, rows = load_integer(frame, F.ROW_BLOCKS), load_integer(frame, F.TASK_ROWS)
    planes, block_rows = load_integer(frame, F.TASK_PLANES), load_integer(frame, F.BLOCK_ROWS)
    row_bytes = w.itemsize * load_integer(frame, F.DOWN) * load_integer(frame, F.W)
    plane_bytes = w.itemsize * load_integer(frame, F.H) * load_integer(frame, F.W)
    first_plane, first = task // blocks * planes, task % blocks * rows
    end_plane, last = min(load_integer(frame, F.PLANES), first_plane + planes), min(P, first + rows)
    for plane in range(first_plane, end_plane):
        for p in range(first, last, block_rows):
            end = min(last, p + block_rows)
            ahead = load_integer(frame, F.INPUT) + plane * plane_bytes + end * row_bytes
            for q in range(0, Q, w.lanes):
                if rolling is None:
                    _down(w, frame, plane, p, end, q, ahead)
                else:
                    _roll(w, frame, plane, p, end, q, ahead)
                ahead += (end - p) * w.ahead


def down_task(w: Windows) -> int:
    """The address of the task for windows of any height."""

    def pool_down(frame, task, slot):
        _pool(w, None, frame, task)

    return address_of(pool_down, 3)


def rolling_task(w: Windows) -> int:
    """The address of the task for windows of 3 x 3, ``w.step`` apart both ways."""

    def pool_rolling(frame, task, slot):
        _pool(w, True, frame, task)

    return address_of(pool_rolling, 3)
