"""The forward pass of a channel: its mean, its variance, and then f(x scale + shift + residual).

    scale  =  gamma / sqrt(var + eps),      shift  =  beta - mean scale

The channel is read three times, from DRAM once: the 400 kB of a ResNet's first layer (8 images of 112 x 112) stay in
the second-level cache. The variance is the mean of (x - mean)^2, in which nothing cancels.
"""

from __future__ import annotations

import math
from functools import cache

from fastconv.backends.numba_cpu.fused.batch_norm.arguments import BatchNormArguments
from fastconv.backends.numba_cpu.fused.batch_norm.sums import mean_of, squares_about
from fastconv.backends.numba_cpu.fused.formulas.activations import apply
from fastconv.backends.numba_cpu.simd import (
    add,
    broadcast,
    fused,
    load_most,
    load_scalar,
    store_most,
    store_scalar,
    zeros,
)
from fastconv.backends.numba_cpu.simd.task import Task, task


@cache
def forward_task(activation: str) -> Task:
    """Return the task that normalises a channel and applies an activation."""

    @task(BatchNormArguments)
    def normalize(simd, args, channel, thread):
        plane, count = args.plane, args.N * args.plane
        scratch = args.workspace + 64 * thread
        momentum, eps = load_scalar(simd, args.factors, 0), load_scalar(simd, args.factors, 1)
        store_scalar(simd, args.statistics, channel, mean_of(simd, args, channel, scratch))
        mean = load_scalar(simd, args.statistics, channel)  # rounded, as the backward pass has it
        var = squares_about(simd, args, channel, mean, scratch) / count
        inverse = 1.0 / math.sqrt(var + eps)
        store_scalar(simd, args.statistics, args.C + channel, inverse)
        inverse = load_scalar(simd, args.statistics, args.C + channel)
        if args.running_mean != 0:
            before, spread = load_scalar(simd, args.running_mean, channel), load_scalar(simd, args.running_var, channel)
            if args.before != 0:
                store_scalar(simd, args.before, channel, before)
                store_scalar(simd, args.before, args.C + channel, spread)
            store_scalar(simd, args.running_mean, channel, momentum * mean + (1.0 - momentum) * before)
            unbiased = var * count / (count - 1)
            store_scalar(simd, args.running_var, channel, momentum * unbiased + (1.0 - momentum) * spread)
        gamma = load_scalar(simd, args.gamma, channel) if args.gamma != 0 else 1.0
        beta = load_scalar(simd, args.beta, channel) if args.beta != 0 else 0.0
        if args.before != 0:
            store_scalar(simd, args.before, 2 * args.C + channel, beta)
        scale, shift = broadcast(simd, gamma * inverse), broadcast(simd, beta - mean * (gamma * inverse))
        x, residual, result = args.x, args.residual, args.result
        for n in range(args.N):
            begin = (n * args.C + channel) * plane
            for u in range(0, plane, simd.lanes):
                value = fused(simd, load_most(simd, x, begin + u, plane - u, zeros(simd)), scale, shift)
                if residual != 0:
                    value = add(simd, value, load_most(simd, residual, begin + u, plane - u, zeros(simd)))
                store_most(simd, result, begin + u, plane - u, apply(simd, activation, value))

    return normalize
