"""This job reads planes of images from several places, and writes f(x factor + shift + residual) side by side.

    target[n, c]  =  f(x[n, c] * factors[n, c] * scale[c] + shift[c] + residual[n, c])

What is left out isn't computed, so that a copy has the same bits. The channels of x are *runs* of channels that lie
side by side in a buffer: a concatenation has a run for each of its parts, a shuffle of 2 groups a run of one for each
channel. So neither makes an array of its own before a normalisation, an activation or a product by factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from fastconv.backends.numba_cpu.fused.formulas.activations import NONE, apply
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd import (
    Simd,
    add,
    broadcast,
    fused,
    lanes_between,
    load,
    load_integer,
    load_scalar,
    load_where,
    store,
    store_where,
    zeros,
)
from fastconv.backends.numba_cpu.simd.arguments import ARGUMENTS_BYTES, MOST_WORDS, Arguments, address_of_arguments
from fastconv.backends.numba_cpu.simd.task import Task, task
from fastconv.threads import get_num_threads

_CHUNK = 1 << 14
"""Length of the planes that one task does, in numbers."""

_RUN_WORDS = 3
"""Integers that describe a run: the address of its first plane, the numbers between images, and its channels."""


class Run(NamedTuple):
    """A run is channels that lie side by side in a buffer of images."""

    buffer: Place
    channels: int
    """The channels of the buffer."""
    first: int
    length: int
    """The number of the run's channels."""


class PlanesArguments(Arguments):
    """Lists the arguments of a pass over planes; the runs' integers come behind them."""

    factors: int
    """Address of a factor for each plane, or 0."""
    scale: int
    """Address of a factor for each channel, or 0."""
    shift: int
    """Address of a summand for each channel, or 0."""
    residual: int
    """Address of numbers that are added, or 0."""
    target: int
    channels: int
    pixels: int
    planes: int
    task_planes: int
    """The number of planes that a task does."""


_OPERANDS = PlanesArguments.positions("factors", "scale", "shift", "residual", "target")


@cache
def _task(name: str) -> Task:
    """Return the task that does some planes, with the activation ``name``."""

    @task(PlanesArguments)
    def map_planes(simd, args, task, thread):
        channels, pixels = args.channels, args.pixels
        table = address_of_arguments(args) + ARGUMENTS_BYTES
        factors, scale, shift, residual, target = args.factors, args.scale, args.shift, args.residual, args.target
        scaled = factors != 0 or scale != 0 or shift != 0
        run, before, last = 0, 0, -1
        for plane in range(task * args.task_planes, min(args.planes, (task + 1) * args.task_planes)):
            n, c = divmod(plane, channels)
            if c <= last:
                run, before = 0, 0
            last = c
            while c - before >= load_integer(table, 3 * run + 2):
                before += load_integer(table, 3 * run + 2)
                run += 1
            source = load_integer(table, 3 * run)
            begin = n * load_integer(table, 3 * run + 1) + (c - before) * pixels
            factor, summand = broadcast(simd, 1.0), broadcast(simd, -0.0)
            if factors != 0:
                factor = broadcast(simd, load_scalar(simd, factors, plane))
            if scale != 0:
                factor = fused(simd, factor, broadcast(simd, load_scalar(simd, scale, c)), broadcast(simd, -0.0))
            if shift != 0:
                summand = broadcast(simd, load_scalar(simd, shift, c))
            whole, here = pixels // simd.lanes * simd.lanes, plane * pixels
            for i in range(0, whole, simd.lanes):
                value = load(simd, source, begin + i)
                if scaled:
                    value = fused(simd, value, factor, summand)
                if residual != 0:
                    value = add(simd, value, load(simd, residual, here + i))
                store(simd, target, here + i, apply(simd, name, value))
            for i in range(whole, pixels, simd.lanes):
                there = lanes_between(simd, 0, pixels - i)
                value = load_where(simd, source, begin + i, there, zeros(simd))
                if scaled:
                    value = fused(simd, value, factor, summand)
                if residual != 0:
                    value = add(simd, value, load_where(simd, residual, here + i, there, zeros(simd)))
                store_where(simd, target, here + i, there, apply(simd, name, value))

    return map_planes


def record(
    program: ProgramBuilder,
    simd: Simd,
    runs: Sequence[Run],
    shape: tuple[int, int, int],
    places: tuple[Place | None, Place | None, Place | None, Place | None, Place],
    activation: str | None = None,
) -> None:
    """Add the pass to a program.

    Args:
        program: the program.
        simd: the vectors.
        runs: where the channels are.
        shape: the images, the channels and the pixels of a plane.
        places: the places of factors, scale, shift, residual and target.
        activation: f.
    """
    images, channels, pixels = shape
    task_planes = max(1, _CHUNK // pixels)
    planes = images * channels
    args = PlanesArguments.new(channels=channels, pixels=pixels, planes=planes, task_planes=task_planes)
    words = np.zeros(MOST_WORDS + _RUN_WORDS * len(runs), np.int64)
    words[:MOST_WORDS] = args.view(np.int64)
    operands: list[tuple[int, Place | None]] = list(zip(_OPERANDS, places, strict=True))
    for number, run in enumerate(runs):
        at = MOST_WORDS + _RUN_WORDS * number
        words[at + 1 : at + 3] = run.channels * pixels, run.length
        operands.append((at, run.buffer + run.first * pixels * simd.itemsize))
    program.add(words, operands, [Step(_task(activation or NONE)(simd), -(-planes // task_planes), get_num_threads())])
