"""The machine's limits are measured here: its peak rate of fused multiply-adds and its bandwidth of copying.

The peak is that of a loop of nothing but fused multiply-adds on vectors, written as LLVM instructions so that no
compiler can take a step out or a vector down: 24 accumulators in registers, since a chain of dependent multiply-adds
gives one a latency (4 cycles on today's processors) and two units need 8 chains or more to be kept busy. Bandwidth is
that of copying, bytes read and written counted each, for footprints from the inner caches to main memory: a problem
that fits in a cache has that cache's bandwidth as its limit.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from time import perf_counter
from typing import Any

import numba
import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

ACCUMULATORS = 24
"""Count of vector registers that the loop uses, of the 32 of AVX-512 and NEON; with the 16 of AVX2 it uses half."""

SECONDS = 0.1
ROUNDS = 10


Clock = Callable[[], float]


def peak_flops(threads: int, clock: Clock = perf_counter) -> float:
    """float32 multiply-adds a second on all threads together, each counted as two operations."""
    loop, flops = multiply_add_loop(_lanes())
    rounds = 2_000_000
    loop(rounds)  # compiles
    return _best_rate(threads, lambda _: loop(rounds), rounds * flops, clock)


def copy_bandwidth(threads: int, footprint: int) -> float:
    """Bytes read plus bytes written a second, ``footprint`` bytes of arrays shared out among the threads.

    The better of two ways: NumPy's copy, whose stores may pass by the caches and so are best in main memory, and a
    compiled loop over many copies, which holds no lock and so is best in a cache.
    """
    count = footprint // 2 // 4 // threads
    pairs = [(np.ones(count, np.float32), np.zeros(count, np.float32)) for _ in range(threads)]
    repeats = 2 * max(1, 2**24 // footprint)
    moved = count * 2 * 4
    _copy_back_and_forth(*pairs[0], repeats)  # compiles
    return max(
        _best_rate(threads, lambda thread: np.copyto(*pairs[thread]), moved),
        _best_rate(threads, lambda thread: _copy_back_and_forth(*pairs[thread], repeats), moved * repeats),
    )


@numba.njit(nogil=True)
def _copy_back_and_forth(one: Any, other: Any, repeats: int) -> None:
    for _ in range(repeats // 2):
        other[:] = one
        one[:] = other


@cache
def multiply_add_loop(lanes: int) -> tuple[Callable[[int], float], int]:
    """A compiled function of the number of rounds, and the floating-point operations of one round."""
    chains = ACCUMULATORS if lanes != 8 else ACCUMULATORS // 2

    def typed(typing_context: Any, rounds: Any, seed: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _emit(builder, arguments[0], arguments[1], lanes, chains)

        return types.float32(types.int64, types.float32), generate

    chain: Any = intrinsic(typed)

    @numba.njit(nogil=True)
    def loop(rounds: int, seed: np.float32) -> Any:
        return chain(rounds, seed)

    return lambda rounds: loop(rounds, np.float32(0.5)), 2 * lanes * chains


def _emit(builder: Any, rounds: Any, seed: Any, lanes: int, chains: int) -> Any:
    """acc = acc * seed + seed for every chain, ``rounds`` times; gives one lane of their sum."""
    vector, index = ir.VectorType(ir.FloatType(), lanes), ir.IntType(64)
    name = f"llvm.fma.v{lanes}f32"
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
    lane = ir.IntType(32)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, seed, lane(0))
    seeds = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(lane, lanes), [0] * lanes))
    # Chains that start alike would be merged into one.
    starts = [builder.fmul(seeds, ir.Constant(vector, [float(chain + 1)] * lanes)) for chain in range(chains)]

    entry, body, done = builder.block, builder.append_basic_block("body"), builder.append_basic_block("done")
    builder.branch(body)
    builder.position_at_end(body)
    counter = builder.phi(index)
    counter.add_incoming(index(0), entry)
    before = [builder.phi(vector) for _ in starts]
    after = [builder.call(fma, [phi, seeds, seeds]) for phi in before]
    following = builder.add(counter, index(1))
    counter.add_incoming(following, body)
    for phi, start, result in zip(before, starts, after, strict=True):
        phi.add_incoming(start, entry)
        phi.add_incoming(result, body)
    builder.cbranch(builder.icmp_signed("<", following, rounds), body, done)
    builder.position_at_end(done)
    total = after[0]
    for result in after[1:]:
        total = builder.fadd(total, result)
    return builder.extract_element(total, lane(0))


def _lanes() -> int:
    """float32 lanes of the widest vectors here."""
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("fma") else 4


def _best_rate(threads: int, work: Callable[[int], object], amount: int, clock: Clock = perf_counter) -> float:
    """The most of ``amount`` a second and thread, summed over the threads, that a round achieved.

    Each thread times its own repetitions, so that none is charged for another's late start.
    """

    def rate(thread: int) -> float:
        done, elapsed, start = 0, 0.0, clock()
        while elapsed < SECONDS:
            work(thread)
            done, elapsed = done + 1, clock() - start
        return done * amount / elapsed

    with ThreadPoolExecutor(threads) as pool:
        return max(sum(pool.map(rate, range(threads))) for _ in range(ROUNDS))
