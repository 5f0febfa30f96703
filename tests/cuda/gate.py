"""Compiles every kernel for real GPUs, without one, and says what each uses; a process of its own, without simulator.

NUMBA_ENABLE_CUDASIM=0 python -m tests.cuda.gate float32   # a line of JSON for each kernel and compute capability
"""

from __future__ import annotations

import json
import sys

from numba.cuda import dispatcher

from fastconv.backends.numba_cuda import (
    average_pooling,
    columns,
    copies,
    definition,
    depthwise,
    direct,
    direct_weight,
    implicit_gemm,
    max_pooling,
    packing,
    planner,
    shared_tiles,
    sums,
    weight_gemm,
)
from fastconv.backends.numba_cuda.kernels import Kernel, assembled
from fastconv.backends.numba_cuda.storage import FLOAT32, FLOAT64, STORAGES, Storage, computed

CAPABILITIES = ((8, 0), (9, 0))


def kernels(stored: Storage) -> list[Kernel]:
    """All that the backend launches for an element type: of counts the least and the most, of all else everything."""
    found = [
        *[definition.correlate(stored, guarded) for guarded in (False, True)],
        *[definition.weigh(stored), shared_tiles.correlate(stored), shared_tiles.weigh(stored)],
        *[packing.pack(stored, rounds) for rounds in ((False, True) if stored is FLOAT32 else (False,))],
        *[depthwise.correlate(stored, images) for images in (1, 4)],
        *[max_pooling.pool(stored, indices) for indices in (False, True)],
        *[max_pooling.gather_backward(stored), max_pooling.scatter_backward(stored)],
        *[average_pooling.pool(stored), average_pooling.backward(stored)],
        *[columns.unfold(stored), columns.fold(stored)],
        *[sums.add_splits(stored), sums.channel_sum(stored), sums.add_bias(stored)],
        *[copies.copy(stored.memory), sums.clear(stored.computed)],
    ]
    for algorithm in ("gemm", "tf32") if stored is not FLOAT64 else ("gemm",):
        for tile, _ in planner.tiles(algorithm, stored):
            found += [implicit_gemm.correlate(tile, stored, stored, even) for even in (False, True)]
            found.append(weight_gemm.weigh(tile, stored))
            if computed(stored) is not stored:
                found.append(implicit_gemm.correlate(tile, stored, computed(stored), False))
    most = 8 if stored is FLOAT64 else 16
    for rows in (4, 8, most):
        found += [direct.correlate(stored, rows, images, inside) for images in (1, 4) for inside in (False, True)]
    for rows in (1, 4 if stored is FLOAT64 else 8):
        found += [direct_weight.weigh(stored, rows, taps) for taps in (1, 5, 8)]
    return list(dict.fromkeys(found))


def report(kernel: Kernel) -> None:
    """Print a line for each capability: compiled once, for the lesser one, and assembled for both."""
    ptx = kernel.ptx(CAPABILITIES[0])
    for capability in CAPABILITIES:
        usage = assembled(ptx, capability)[1]._asdict()
        name = "sm_{}{}".format(*capability)
        print(json.dumps({"name": kernel.name, "capability": name, "threads": kernel.threads, **usage}), flush=True)


class _Device:
    compute_capability = CAPABILITIES[0]


# Numba asks the current GPU what to compile device functions for, and there is none.
dispatcher.get_current_device = lambda: _Device

if __name__ == "__main__":
    for each in kernels(STORAGES[sys.argv[1]]):
        report(each)
