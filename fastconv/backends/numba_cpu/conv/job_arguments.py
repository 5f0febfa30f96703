"""These functions give arguments and sizes that depend on a convolution's job or problem, not on an algorithm."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numba_cpu.gemm.arguments import limits_of
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd


def job_arguments(simd: Simd, job: Job, table: np.ndarray) -> dict[str, int]:
    """Return the arguments that depend on the job only, not on the tiling; ``table`` is the table of its taps."""
    p = job.problem
    return {
        "taps": table.ctypes.data,
        "limits": limits_of(simd, job.limits).ctypes.data,
        "N": p.images,
        "groups": p.groups,
        "depth": p.channels,
        "rows": p.rows,
        "H": job.source[2],
        "W": job.source[3],
        "target_h": job.target[2],
        "target_w": job.target[3],
        "target_channels": p.groups * p.rows,
        "I": p.lattice[0],
        "J": p.lattice[1],
        "DI": p.source_step[0],
        "DJ": p.source_step[1],
        "Y0": job.first[0],
        "YI": p.target_step[0],
        "X0": job.first[1],
        "XJ": p.target_step[1],
        "tap_count": len(p.taps),
        "in_order": job.in_order,
        "weight_row": job.weight[0],
        "weight_depth": job.weight[1],
        "weight_group": job.weight[2],
    }


def panel_bytes(simd: Simd, p: Problem, cut: Any) -> int:
    """Return the size of the whole weight in bytes, packed in panels of ``cut.tile_rows`` rows."""
    return int(p.groups * cut.panels * cut.tile_rows * p.channels * len(p.taps) * simd.itemsize)


def extent(p: Problem) -> dict[str, int]:
    """Return ``top``, ``left`` and ``reach``: the taps' first row and column, and the distance to their last row."""
    rows, columns = p.grid
    return {"top": rows[0], "left": columns[0], "reach": rows[-1] - rows[0]}
