"""Compiles every kernel for real GPUs, without one, and says what each uses; a process of its own, without simulator.

python -m tests.cuda.gate 8 0       # one line of JSON a kernel, for compute capability 8.0
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
from fastconv.backends.numba_cuda.storage import FLOAT64, STORAGES, computed
from fastconv.backends.numba_cuda.target import types


def kernels() -> list[Kernel]:
    """All that the backend can launch: every rung, tile, element type and flag; of counts the least and the most."""
    found: list[Kernel] = [copies.copy(kind) for kind in (types.uint16, types.float32, types.float64, types.int64)]
    found += [sums.clear(kind) for kind in (types.float32, types.float64)]
    for stored in STORAGES.values():
        found += [definition.correlate(stored, guarded) for guarded in (False, True)]
        found += [definition.weigh(stored), shared_tiles.correlate(stored), shared_tiles.weigh(stored)]
        found += [packing.pack(stored, rounds) for rounds in (False, True) if not (rounds and stored is FLOAT64)]
        for algorithm in ("gemm", "tf32"):
            if planner.refuses(algorithm, None, stored, False):
                continue
            for tile, _ in planner.tiles(algorithm, stored):
                for even in (False, True):
                    found += [implicit_gemm.correlate(tile, stored, made, even) for made in {stored, computed(stored)}]
                found.append(weight_gemm.weigh(tile, stored))
        most = 8 if stored is FLOAT64 else 16
        for rows in {4, 8, most}:
            found += [direct.correlate(stored, rows, images, inside) for images in (1, 4) for inside in (False, True)]
        for rows in (1, 2, 4) if stored is FLOAT64 else (1, 2, 4, 8):
            found += [direct_weight.weigh(stored, rows, taps) for taps in (1, 3, 5, 8)]
        found += [depthwise.correlate(stored, images) for images in (1, 4)]
        found += [max_pooling.pool(stored, indices) for indices in (False, True)]
        found += [max_pooling.gather_backward(stored), max_pooling.scatter_backward(stored)]
        found += [average_pooling.pool(stored), average_pooling.backward(stored)]
        found += [columns.unfold(stored), columns.fold(stored)]
        found += [sums.add_splits(stored), sums.channel_sum(stored), sums.add_bias(stored)]
    return list(dict.fromkeys(found))


def main() -> None:
    """Print each kernel's name and what it uses."""
    capability = int(sys.argv[1]), int(sys.argv[2])

    class Device:
        compute_capability = capability

    # Numba asks the current GPU what to compile device functions for, and there is none.
    dispatcher.get_current_device = lambda: Device
    for kernel in kernels():
        usage = assembled(kernel.ptx(capability), capability)[1]
        print(json.dumps({"name": kernel.name, "threads": kernel.threads, **usage._asdict()}), flush=True)


if __name__ == "__main__":
    main()
