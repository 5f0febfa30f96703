"""Every kernel compiles for real GPUs, through the assembler, and keeps within registers and shared memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from fastconv.backends.numba_cuda.storage import STORAGES

SHARED = 48 * 1024
"""Bytes that a block gets unasked."""

SPILLED = {"implicit_gemm.correlate": 192, "weight_gemm.weigh": 192}
"""Bytes that a family may spill: 64 sums leave 128 registers too few, and a step reaches for some (sm_90: 4 and 8)."""

RESIDENT_WARPS = 12
"""That a multiprocessor has room for at least, by its 65,536 registers."""


@pytest.fixture(scope="module", params=STORAGES)
def usages(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """What each kernel of an element type uses, on sm_80 and sm_90."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0"}
    command = [sys.executable, "-m", "tests.cuda.gate", request.param]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_kernels_fit(usages: list[dict[str, Any]]) -> None:
    families = {usage["name"].partition("(")[0] for usage in usages}
    assert {"implicit_gemm.correlate", "weight_gemm.weigh", "direct.correlate", "direct_weight.weigh"} < families
    assert {"definition.correlate", "shared_tiles.weigh", "depthwise.correlate", "max_pooling.pool"} < families
    assert {usage["capability"] for usage in usages} == {"sm_80", "sm_90"}
    for usage in usages:
        family = usage["name"].partition("(")[0]
        assert usage["spilled"] <= SPILLED.get(family, 0), usage
        assert usage["stack"] <= SPILLED.get(family, 0), usage
        assert usage["shared"] <= SHARED, usage
        warps = usage["threads"] // 32
        # registers are given out to warps in lots of 256
        lots = -(-usage["registers"] * 32 // 256) * 256
        assert 65536 // (lots * warps) * warps >= RESIDENT_WARPS, usage


def test_the_gate_sees_spills_and_arrays_in_memory() -> None:
    """An array that is indexed by a number known at run time can't be in registers: the gate must say so."""
    text = """
from tests.cuda import gate
from fastconv.backends.numba_cuda.kernels import Kernel
from fastconv.backends.numba_cuda.target import cuda, types

def faulty(x):
    kept = cuda.local.array(64, types.float32)
    shared = cuda.shared.array(100, types.float32)
    for i in range(64):
        kept[i] = x[i]
    shared[int(x[65])] = kept[int(x[64])]
    x[0] = shared[3] + kept[int(x[66])]

kernel = Kernel(faulty, 32, types.float32)
kernel.name = "faulty"
gate.report(kernel)
"""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0"}
    done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        usage = json.loads(line)
        assert usage["stack"] == 256
        assert usage["shared"] == 400
    assert len(done.stdout.splitlines()) == 2
