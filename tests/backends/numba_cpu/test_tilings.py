"""These tests see that searches for tilings leave out no best tile, and that a new image size looks at few tiles."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastconv import ConvGeometry
from fastconv.backends.numba_cpu import planner
from fastconv.backends.numba_cpu.conv.direct import tiling as direct_tiles
from fastconv.backends.numba_cpu.conv.image_lanes import tiling as batch_tiles
from fastconv.backends.numba_cpu.conv.matmul import tiling as matrix_tiles
from fastconv.backends.numba_cpu.conv.winograd import tiling as winograd_tiles
from fastconv.backends.numba_cpu.gemm import tile_search
from fastconv.backends.numba_cpu.gemm import tiling as gemm_tiles
from fastconv.backends.numba_cpu.gemm.tile_search import Ranked
from fastconv.backends.numba_cpu.lowering import jobs
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.simd.instruction_set import AVX512
from fastconv.bench.problems import PROBLEMS
from tests.forced import FORCED, image

SEARCHES = (batch_tiles, direct_tiles, gemm_tiles, matrix_tiles, winograd_tiles)
OPERATIONS = ("conv2d", "conv2d_input", "conv2d_weight")
SMALL = [
    ConvGeometry(images, channels, size, size, 2 * channels, 3, 3, (stride, stride), (1, 1, 1, 1))
    for images, channels, size, stride in ((1, 1, 5, 1), (3, 7, 9, 2), (17, 3, 12, 1), (33, 16, 6, 1), (5, 2, 33, 3))
]
GEOMETRIES = [problem.geometry for problem in PROBLEMS if isinstance(problem.geometry, ConvGeometry)] + SMALL


def forget() -> None:
    """Forget all tilings, and what tiles cost."""
    for each in SEARCHES:
        for kept in vars(each).values():
            if hasattr(kept, "cache_clear"):
                kept.cache_clear()


def _plans(simd: Simd) -> list[list[planner.Candidate]]:
    forget()
    found = [job for g in GEOMETRIES for operation in OPERATIONS for job in jobs(operation, g)[0]]
    return [planner.candidates(simd, job.problem, weight=job.along_rows) for job in found]


@pytest.mark.parametrize("simd", FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def test_a_search_finds_what_looking_at_all_tiles_finds(simd: Simd, monkeypatch: pytest.MonkeyPatch) -> None:
    pruned = _plans(simd)
    monkeypatch.setattr(tile_search, "_SURE", 0.0)  # no bound is above any cost
    assert pruned == _plans(simd)
    forget()


def test_a_new_image_size_looks_at_few_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    genuine = tile_search.cheapest

    def counted(tiles: tuple[Ranked, ...], cost: Callable[[Ranked], float], **rest: float) -> object:
        def look(tile: Ranked) -> float:
            nonlocal looked
            looked += 1
            return cost(tile)

        return genuine(tiles, look, **rest)

    for each in SEARCHES:
        monkeypatch.setattr(each, "cheapest", counted)
    sizes = range(20, 120, 7)
    for size in sizes:
        g = ConvGeometry(1, 64, size, size, 96, 3, 3, (1, 1), (1, 1, 1, 1))
        for operation in OPERATIONS:
            (job,), _ = jobs(operation, g)
            planner.candidates(FORCED[0], job.problem, weight=job.along_rows)
    # Without bounds it is 3,000 tiles for each size.
    assert looked < 800 * len(sizes)


@pytest.mark.parametrize("simd", FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def test_parts_of_a_weight_gradient_have_two_passes_over_the_patches(simd: Simd) -> None:
    (job,), _ = jobs("conv2d_weight", image(128, 28, 28, 128, 3, 3, N=8))
    for candidate in planner.candidates(simd, job.problem, "winograd", weight=True):
        assert candidate.cut.splits == 1 or candidate.cut.split_steps >= 2 * candidate.cut.fields["steps"]


def test_phases_cost_more_the_larger_the_dilation() -> None:
    """On Zen 5, dilation 2 takes 3.6 ms by mosaics and 5.7 by gemm; dilation 4 takes 5.5 by both."""
    simd, cycles = Simd(AVX512, "float32"), []
    for dilation in (2, 4):
        sides = {"padding": (dilation,) * 4, "dilation": (dilation,) * 2}
        (job,), _ = jobs("conv2d", image(64, 65, 65, 64, 3, 3, N=4, **sides))
        found = {each.algorithm: each.cycles for each in planner.candidates(simd, job.problem, weight=False)}
        cycles.append(found["winograd(4x4)"] / found["gemm"])
    assert cycles[0] < 0.7
    assert cycles[1] > 0.95
