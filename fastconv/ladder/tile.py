"""The tile of rung 06 and of all rungs above it: sums that stay in registers while a loop adds products to them.

    y[i, u + j] += the sum over k of  w[k, i] * x[at[k] + t + j]        for i < rows and j < width

A loop over the sums would need them in an array, in memory. So the function is written out by `tile_text`, each sum
with a name of its own. For 2 filters by 2 pixels it reads

    def tile(x, at, t, w, y, u):
        line = y[0, u : u + 2]; s0_0 = line[0]; s0_1 = line[1]
        line = y[1, u : u + 2]; s1_0 = line[0]; s1_1 = line[1]
        for k in range(at.size):
            f = w[k]; line = x[at[k] + t : at[k] + t + 2]; x0 = line[0]; x1 = line[1]
            a = f[0]; s0_0 += a * x0; s0_1 += a * x1
            a = f[1]; s1_0 += a * x0; s1_1 += a * x1
        line = y[0, u : u + 2]; line[0] = s0_0; line[1] = s0_1
        line = y[1, u : u + 2]; line[0] = s1_0; line[1] = s1_1

and LLVM's pass for straight lines makes one vector of each 16, 8 or 4 neighbouring names.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import binding as llvm

from fastconv.backends.compiler import inner


def tile_text(rows: int, width: int) -> str:
    """Returns the text of a tile."""
    across, down = range(width), range(rows)

    def each(form: str, i: int = 0) -> str:
        return "; ".join(form.format(i=i, j=j) for j in across)

    lines = ["def tile(x, at, t, w, y, u):"]
    lines += [f"    line = y[{i}, u : u + {width}]; {each('s{i}_{j} = line[{j}]', i)}" for i in down]
    lines += ["    for k in range(at.size):"]
    lines += [f"        f = w[k]; line = x[at[k] + t : at[k] + t + {width}]; {each('x{j} = line[{j}]')}"]
    lines += [f"        a = f[{i}]; {each('s{i}_{j} += a * x{j}', i)}" for i in down]
    lines += [f"    line = y[{i}, u : u + {width}]; {each('line[{j}] = s{i}_{j}', i)}" for i in down]
    return "\n".join(lines)


@cache
def tile(rows: int, width: int) -> Any:
    """Returns the tile as a function that compiled code calls; the caller is compiled with ``straight_lines``."""
    space: dict[str, Any] = {"__name__": __name__}
    exec(tile_text(rows, width), space)
    return inner(space["tile"], fastmath={"contract"})


@cache
def vector_bytes() -> int:
    """Returns the size of a vector register in bytes: 64 with AVX-512, 32 with AVX2, else 16.

    The processor is this one, or that of the environment's NUMBA_CPU_FEATURES.
    """
    told = numba.config.CPU_FEATURES
    features = llvm.get_host_cpu_features().flatten() if told is None else told
    return 64 if "+avx512f" in features else 32 if "+fma" in features else 16


def tile_shape(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Returns the filters and pixels of a tile that suit the processor's registers.

    LLVM keeps a step's weights in registers too, so a tile of R filters by V vectors takes R * V + V + R of them:
    8 x 2 takes 26 of the 32 of AVX-512 and NEON, 3 x 3 takes 15 of the 16 of AVX2, where 6 x 2 would take 20.
    """
    rows, vectors = (3, 3) if vector_bytes() == 32 else (8, 2)
    return rows, vectors * vector_bytes() // np.dtype(dtype).itemsize


def packed(w: np.ndarray, groups: int, rows: int) -> np.ndarray:
    """Returns the weights in the order in which tiles read them, (panels, depth, rows), the depth being (d, r, s).

    Each group is filled up with filters of zeros to whole panels.
    """
    filters = len(w) // groups
    panels = -(-filters // rows)
    depth = w[0].size
    whole = np.zeros((groups, panels * rows, depth), w.dtype)
    whole[:, :filters] = w.reshape(groups, filters, depth)
    order = whole.reshape(groups * panels, rows, depth).transpose(0, 2, 1)
    return np.ascontiguousarray(order)


def started(b: np.ndarray, groups: int, rows: int, images: int, points: int) -> np.ndarray:
    """Returns sums to begin with, (images, groups, filters, points), each the bias; filters make whole panels."""
    filters = len(b) // groups
    whole = np.zeros((groups, -(-filters // rows) * rows), b.dtype)
    whole[:, :filters] = b.reshape(groups, filters)
    sums = np.empty((images, *whole.shape, points), b.dtype)
    sums[...] = whole[:, :, None]
    return sums
