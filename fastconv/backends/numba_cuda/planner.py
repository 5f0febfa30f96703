"""The planner chooses which rung does a sum, in which tile, by times predicted from what the GPU can do.

A candidate's time is that of its arithmetic, padding included, at the share of the peak that its inner loop leaves to
multiply-adds, in whole waves of blocks, or that of its memory, whichever is longer; and a launch for each kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from fastconv.backends.numba_cuda.cores import MatrixTile, RegisterTile, covering
from fastconv.backends.numba_cuda.correlation import Correlation
from fastconv.backends.numba_cuda.ladder import ALGORITHMS
from fastconv.backends.numba_cuda.products import Tile
from fastconv.backends.numba_cuda.storage import FLOAT32, FLOAT64, Storage
from fastconv.backends.numba_cuda.target import SIMULATED, cuda

_LAUNCH = 2.5e-6
"""Seconds from the end of one kernel to the first results of the next."""

_MOST_SPLITS = 64

_INT32 = 2**31


@dataclass(frozen=True)
class Gpu:
    """The GPU's figures from which times are predicted; by default those of an H200 (NVIDIA's data sheet)."""

    processors: int = 132
    clock: float = 1.75e9
    bandwidth: float = 4.2e12
    """Bytes a second that a copy reaches."""

    def fused(self, stored: Storage) -> float:
        """Returns the floating-point operations a second of one multiprocessor: 128 lanes, half as many in float64."""
        return self.clock * (128 if stored is FLOAT64 else 256)

    @property
    def matrix(self) -> float:
        """Returns the floating-point operations a second of one multiprocessor's matrix units, in TF32."""
        return self.clock * 2048


@dataclass(frozen=True)
class Plan:
    """One way to do a sum."""

    algorithm: str
    seconds: float
    tile: Tile | None = None
    splits: int = 1
    rows: int = 0
    """Rows that a thread of the direct form keeps."""
    images: int = 0
    """Images that a thread of the direct and depthwise forms computes."""

    def describe(self) -> str:
        """Returns the plan as a text for people."""
        if self.tile is not None:
            split = f", depth in {self.splits} parts" if self.splits > 1 else ""
            return f"tiles of {self.tile.rows} x {self.tile.columns} by {self.tile.threads} threads{split}"
        if self.images:
            rows = f"{self.rows} rows of " if self.rows else ""
            split = f", {self.splits} parts" if self.splits > 1 else ""
            return f"{rows}{self.images} images a thread{split}"
        return f"{self.splits} parts" if self.splits > 1 else "one thread a sum"


@cache
def gpu() -> Gpu:
    """Returns the figures of the current GPU."""
    if SIMULATED:
        return Gpu()
    found = cuda.get_current_device()
    return Gpu(found.MULTIPROCESSOR_COUNT, 1e3 * found.CLOCK_RATE, _bandwidth(found))


def _bandwidth(device: object) -> float:
    """Returns bytes a second of memory that moves twice a clock, of which a copy reaches nine tenths."""
    width, clock = getattr(device, "GLOBAL_MEMORY_BUS_WIDTH", 0), getattr(device, "MEMORY_CLOCK_RATE", 0)
    return 0.9 * 2 * width / 8 * 1e3 * clock or Gpu.bandwidth


_F32_TILES = (
    (RegisterTile(128, 128, 8, 8, 8), 0.70),
    (RegisterTile(128, 64, 8, 8, 4), 0.60),
    (RegisterTile(64, 128, 8, 4, 8), 0.60),
    (RegisterTile(64, 64, 8, 8, 4), 0.55),
    (RegisterTile(32, 64, 8, 4, 4), 0.40),
)
_F64_TILES = ((RegisterTile(64, 64, 8, 4, 4, 2), 0.60), (RegisterTile(32, 64, 8, 4, 4, 2), 0.50))
_MATRIX_TILES = (
    (MatrixTile(128, 128, 16, 4, 4), 0.30),
    (MatrixTile(64, 64, 16, 2, 4), 0.20),
)
"""Tiles for the matrix units, each with the share of the peak that its inner loop can reach: multiply-adds among its
instructions."""


def tiles(algorithm: str, stored: Storage) -> tuple[tuple[Tile, float], ...]:
    """Returns the tiles of an algorithm that multiplies tiles, with the share of the peak that each can reach."""
    if algorithm == "tf32":
        return _MATRIX_TILES
    return _F64_TILES if stored is FLOAT64 else _F32_TILES


def refuses(algorithm: str, f: Correlation, stored: Storage, weigh: bool) -> str | None:
    """Returns why a rung doesn't do a sum, or None if it does."""
    if algorithm == "tf32" and stored is FLOAT64:
        return "TF32 keeps too little of float64"
    if algorithm in ("direct", "depthwise") and weigh and f.pixels >= _INT32:
        return "it counts pixels in 32 bits"
    return None


def candidates(f: Correlation, stored: Storage, *, weigh: bool, tf32: bool) -> list[Plan]:
    """Returns the plans that could do a sum, the fastest first; ``weigh`` asks for the weight gradient of a forward
    sum.

    ``tf32``: whether float32 may be multiplied as TF32. Half precision fits into it, so for that it may always.
    """
    found = []
    for algorithm in ALGORITHMS:
        allowed = algorithm != "tf32" or tf32 or stored not in (FLOAT32, FLOAT64)
        if allowed and not refuses(algorithm, f, stored, weigh):
            found.append(best(algorithm, f, stored, weigh=weigh))
    return sorted(found, key=lambda plan: plan.seconds)


def best(algorithm: str, f: Correlation, stored: Storage, *, weigh: bool) -> Plan:
    """Returns the fastest plan of one algorithm."""
    if algorithm in ("gemm", "tf32"):
        plans = [_by_tile(algorithm, *tile, f, stored, weigh) for tile in tiles(algorithm, stored)]
        return min(plans, key=lambda plan: plan.seconds)
    return _WAYS[algorithm](f, stored, weigh)


def _bytes(f: Correlation, stored: Storage) -> float:
    image = f.N * f.G * f.D * f.H * f.W
    return stored.itemsize * (image + f.pixels * f.G * f.M + f.G * f.M * f.terms)


def _memory(f: Correlation, stored: Storage) -> float:
    """Returns the seconds that moving the operands and the result takes at the least."""
    return _bytes(f, stored) / gpu().bandwidth


def _by_tile(algorithm: str, tile: Tile, share: float, f: Correlation, stored: Storage, weigh: bool) -> Plan:
    machine = gpu()
    peak = machine.matrix if algorithm == "tf32" else machine.fused(stored)
    row_tiles = covering(f.M, tile.rows)
    if weigh:
        blocks = row_tiles * covering(f.D, tile.columns) * f.R * f.S * f.G
        steps = covering(f.pixels, tile.depth)
    else:
        blocks = row_tiles * covering(f.pixels, tile.columns) * f.G
        steps = f.R * f.S * covering(f.D, tile.depth)
    may_split = weigh or f.whole
    splits = min(max(1, 2 * machine.processors // max(blocks, 1)), max(1, steps // 4), _MOST_SPLITS) if may_split else 1
    steps = covering(steps, splits)
    step = 2 * tile.rows * tile.columns * tile.depth / (peak * share)
    # every block begins and ends with some two thousand cycles of memory
    arithmetic = covering(blocks * splits, machine.processors) * (steps * step + 1000 / machine.clock)
    result = f.G * f.M * (f.terms if weigh else f.pixels)
    kernels = (1 if weigh else 2) + (splits > 1 or weigh) + (f.skips and not f.inside)
    moved = 2 * splits * result * 4 / machine.bandwidth if splits > 1 else 0
    return Plan(algorithm, max(arithmetic, _memory(f, stored)) + moved + kernels * _LAUNCH, tile, splits)


def _issued(warps: float, instructions: float) -> float:
    """Returns the seconds to issue the instructions of all warps: each multiprocessor issues four a cycle."""
    return warps * instructions / (4 * gpu().processors * gpu().clock)


def _definition(f: Correlation, stored: Storage, weigh: bool) -> Plan:
    threads = f.G * f.M * (f.terms if weigh else f.pixels)
    terms = f.pixels if weigh else f.terms
    # a product is some 40 instructions, and waits for two loads; 64 warps of a multiprocessor wait at the same time
    waves = covering(threads, 2048 * gpu().processors)
    seconds = max(_issued(threads / 32, 40 * terms), waves * terms * 60 / gpu().clock)
    return Plan("definition", max(seconds, _memory(f, stored)) + _LAUNCH)


def _tiled(f: Correlation, stored: Storage, weigh: bool) -> Plan:
    row_tiles = covering(f.M, 16)
    if weigh:
        blocks, steps = row_tiles * covering(f.terms, 16) * f.G, covering(f.pixels, 16)
        splits = min(max(1, 8 * gpu().processors // max(blocks, 1)), max(1, steps // 4), _MOST_SPLITS)
    else:
        blocks, steps, splits = row_tiles * covering(f.pixels, 16) * f.G, covering(f.terms, 16), 1
    waves = covering(blocks * splits, 8 * gpu().processors)
    seconds = waves * covering(steps, splits) * 8 * 8192 / (0.12 * gpu().fused(stored))
    return Plan("tiled", max(seconds, _memory(f, stored)) + (1 + weigh) * _LAUNCH, splits=splits)


def _direct(f: Correlation, stored: Storage, weigh: bool) -> Plan:
    if weigh:
        return _weigh_direct("direct", 4 if stored is FLOAT64 else min(8, _power(f.M)), f, stored)
    machine = gpu()
    most = 8 if stored is FLOAT64 else 16
    slower = 2 if stored is FLOAT64 else 1
    plans = []
    for images in (1, 4):
        for rows in (4, 8, 16)[: 2 if most == 8 else 3]:
            blocks = covering(f.M, rows) * f.G * covering(covering(f.N, images) * f.I * f.J, 128)
            # for sm_90: 130 instructions a tap with 64 multiply-adds, 70 with 32
            tap = slower * rows * images + 9 * images + rows / 4 + 12
            alone = covering(blocks, 3 * machine.processors) * f.terms * (40 + tap) / machine.clock
            seconds = max(_issued(4 * blocks, f.terms * tap), alone, _memory(f, stored)) + _LAUNCH
            plans.append(Plan("direct", seconds, rows=rows, images=images))
    return min(plans, key=lambda plan: plan.seconds)


def _weigh_direct(algorithm: str, rows: int, f: Correlation, stored: Storage) -> Plan:
    machine = gpu()
    taps = direct_taps(f)
    blocks = covering(f.M, rows) * covering(f.S, taps) * f.R * f.D * f.G
    splits = min(max(1, 6 * machine.processors // max(blocks, 1)), max(1, f.pixels // 512), _MOST_SPLITS)
    a_thread = covering(covering(f.pixels, splits), 128)
    # for sm_90: 250 instructions a pixel with 40 multiply-adds
    pixel = (2 if stored is FLOAT64 else 1) * rows * taps + 8 * (rows + taps) + 100
    alone = covering(blocks * splits, 3 * machine.processors) * a_thread * (400 + pixel) / machine.clock
    seconds = max(_issued(4 * blocks * splits, a_thread * pixel), alone, _memory(f, stored))
    return Plan(algorithm, seconds + 2 * _LAUNCH, rows=rows, images=1, splits=splits)


def direct_taps(f: Correlation) -> int:
    """Returns how many taps of a row the direct form for the weights does at once."""
    return min(f.S, 8)


def _depthwise(f: Correlation, stored: Storage, weigh: bool) -> Plan:
    if weigh:
        return _weigh_direct("depthwise", 1, f, stored)
    plans = []
    for images in (1, 4):
        threads = covering(f.N, images) * f.I * f.J * f.G * f.M
        # for sm_90: 60 instructions a tap of 4 images
        tap = 12 * images + 12
        alone = covering(threads, 1024 * gpu().processors) * f.terms * (60 + tap) / gpu().clock
        seconds = max(_issued(threads / 32, f.terms * tap), alone, _memory(f, stored))
        plans.append(Plan("depthwise", seconds + _LAUNCH, images=images))
    return min(plans, key=lambda plan: plan.seconds)


def _power(number: int) -> int:
    return 2 ** math.ceil(math.log2(max(number, 1)))


_WAYS = {"definition": _definition, "tiled": _tiled, "direct": _direct, "depthwise": _depthwise}
