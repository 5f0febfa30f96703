"""These tests pack weights in panels of all widths: each number at its place, and none beyond the panel.

Threads pack a job's panels in any order, so a number beyond a panel would take the place of one of the next panel.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from fastconv.backends.numba_cpu.conv.job_arguments import job_arguments
from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments
from fastconv.backends.numba_cpu.gemm.packing import pack_weight
from fastconv.backends.numba_cpu.lowering import Job, jobs
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry
from tests.forced import FORCED, image

GEOMETRIES = [
    image(37, 5, 6, 23, 3, 3),
    image(6, 5, 6, 33, 3, 3, stride=(2, 2)),
    image(23, 5, 6, 21, 2, 1, stride=(2, 1)),
    image(18, 5, 6, 34, 3, 2, groups=2, dilation=(2, 1)),
    image(19, 9, 9, 20, 4, 4, stride=(4, 4), padding=(0, 0, 0, 0)),
    image(17, 11, 9, 19, 5, 5, stride=(2, 2)),
    image(21, 4, 5, 35, 1, 1),
]
"""Input gradients of strides have jobs of some taps, down to one; kernels have fewer numbers than lanes, or more."""


def _panels(job: Job, weight: np.ndarray, tile_rows: int) -> np.ndarray:
    """Return the panels of a weight by the definition: for each source channel and tap, a row of target channels.

    Target channels that the last panel lacks are NaN.
    """
    p = job.problem
    row_step, depth_step, group_step = job.weight
    count = -(-p.rows // tile_rows)
    panels = np.full((p.groups, count * tile_rows, p.channels, len(p.taps)), np.nan, weight.dtype)
    group, row, channel = np.ogrid[: p.groups, : p.rows, : p.channels]
    for t, (_, _, place) in enumerate(p.taps):
        places = group * group_step + row * row_step + channel * depth_step + place
        panels[:, : p.rows, :, t] = weight.reshape(-1)[places]
    return panels.reshape(p.groups * count, tile_rows, -1).transpose(0, 2, 1)


@pytest.mark.parametrize("operation", ["conv2d", "conv2d_input"])
@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
@pytest.mark.parametrize("simd", FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def test_a_panel_is_packed_by_itself(simd: Simd, g: ConvGeometry, operation: str) -> None:
    pack = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(pack_weight(simd))
    weight = np.random.default_rng(7).standard_normal(g.weight_shape).astype(simd.dtype)
    for job in jobs(operation, g)[0]:
        table = np.array(job.problem.taps, np.int64)
        args = ConvArguments.new(**job_arguments(simd, job, table))
        for tile_rows in range(1, 2 * simd.lanes + 2):
            expected = _panels(job, weight, tile_rows)
            for number, panel in enumerate(expected):
                memory = np.full((len(expected) + 1, *panel.shape), np.nan, simd.dtype)
                args["tile_rows"], args["weight"], args["panels"] = tile_rows, weight.ctypes.data, memory.ctypes.data
                pack(args.ctypes.data, number, 0)
                assert np.isfinite(memory[number]).all()
                there = ~np.isnan(panel)
                np.testing.assert_array_equal(memory[number][there], panel[there], f"{tile_rows} rows")
                assert np.isfinite(memory).sum() == panel.size, f"{tile_rows} rows: written outside panel {number}"
        assert args["infinite"][0] == 0
