"""This module contains the tasks of a job in parts; each one runs a task of one of the parts."""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.conv.implicit_gemm import weight_grad
from fastconv.backends.numba_cpu.conv.tap_parts.arguments import PartsArguments
from fastconv.backends.numba_cpu.simd import load_integer, load_scalar, store_integer, store_scalar, zero
from fastconv.backends.numba_cpu.simd.arguments import MOST_WORDS, address_of_arguments, arguments_at
from fastconv.backends.numba_cpu.simd.task import task

TABLE_WORDS = 3
"""Integers that locate the sums of a kernel's element: index of the first, their distance, and number of splits."""

PAIRS = 512
"""Pairs of channels in a task. Their kernels of 3 x 3 take 18 KiB, which stay in the L1 cache from tap to tap."""


@inner
def _enter(args, task, thread):
    """Copy the arguments of the task's part to the start of the workspace; return them, and the task's number there."""
    place = args.workspace + thread * args.thread_bytes
    own = arguments_at(args, place)
    template = arguments_at(args, args.templates)
    for _ in range(args.parts):
        tasks = template.groups * template.blocks * template.panel_blocks * template.splits
        if task < tasks:
            break
        task -= tasks
        template = arguments_at(args, address_of_arguments(template) + 8 * MOST_WORDS)
    for word in range(MOST_WORDS):
        store_integer(place, word, load_integer(address_of_arguments(template), word))
    own.source = args.source
    own.workspace = place + 8 * MOST_WORDS
    return own, task


@task(PartsArguments)
def correlate_part(simd, args, task, thread):
    """Compute one block of the sums of a part's taps."""
    own, number = _enter(args, task, thread)
    sums = args.partial + own.partial
    own.grad = args.grad
    own.partial = sums
    own.target = sums
    weight_grad.multiply_block(simd, own, number, 0)


@task(PartsArguments)
def put_in_place(simd, args, task, thread):
    """Write the kernels of at most `PAIRS` pairs of channels, one element of all kernels after another.

    An element that meets no pixel becomes 0.
    """
    kernel, table = args.tap_count, args.places
    sums, target = args.partial, args.target
    pairs = args.groups * args.rows * args.depth
    first, end = task * PAIRS, min(pairs, (task + 1) * PAIRS)
    for place in range(kernel):
        row = table + 8 * TABLE_WORDS * place
        begin, step, splits = load_integer(row, 0), load_integer(row, 1), load_integer(row, 2)
        for pair in range(first, end):
            total = zero(simd)
            if splits > 0:
                total = load_scalar(simd, sums, begin + pair * step)
                for split_number in range(1, splits):
                    total += load_scalar(simd, sums, begin + (split_number * pairs + pair) * step)
            store_scalar(simd, target, pair * kernel + place, total)
