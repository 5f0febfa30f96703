"""The card: what it is, its peak rate of float32 multiply-adds, and how fast it copies.

The peak is that of the data sheet: lanes times clock, at the highest clock that the card goes to. What it keeps up is
less, with the clock that its power allows: a large matrix product by cuBLAS says how much, and stands beside it.
"""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from typing import Any

import torch

from fastconv import machine
from fastconv.bench.devices.events import Clock, Events
from fastconv.bench.environment import commit
from fastconv.bench.results import Limit

GIB = 2**30

FOOTPRINTS = (2**24, 2**27, 2 * GIB)
"""Bytes read and written together: in the L2 cache, hardly in it, and 1 GiB copied in memory."""

_LANES = {(7, 0): 64, (7, 2): 64, (7, 5): 64, (8, 0): 64}
"""float32 multiply-adds of a multiprocessor a clock, by compute capability; all others since 6.1 have 128."""

_SIDE = 8192
"""Of the square matrices: 1.1e12 operations, some 20 ms."""

_LAPS = 10


def measure() -> tuple[Limit, dict[str, str]]:
    """The current GPU's limits, and the environment of a run on it."""
    clock = Events()
    properties = torch.cuda.get_device_properties()
    limit = Limit(
        peak(properties.multi_processor_count, (properties.major, properties.minor), highest_clock(properties)),
        {footprint: copying(footprint, "cuda", clock) for footprint in FOOTPRINTS},
    )
    product = matrix_product(_SIDE, "cuda", clock)
    return limit, {**environment(properties), "float32 matrix product": f"{product / 1e12:.1f} TFLOP/s, by cuBLAS"}


def peak(processors: int, capability: tuple[int, int], clock: float) -> float:
    """Floating-point operations a second, a multiply-add counted as two."""
    return processors * _LANES.get(capability, 128) * 2 * clock


def highest_clock(properties: Any) -> float:
    """Of the multiprocessors, in 1/s: as torch tells, or where it doesn't, nvidia-smi ("1980 MHz")."""
    kilohertz = getattr(properties, "clock_rate", 0)
    return 1e3 * kilohertz if kilohertz else 1e6 * float(_asked("clocks.max.sm").split()[0])


def copying(footprint: int, device: str, clock: Clock) -> float:
    """Bytes a second by torch's copy of one half of the footprint to the other, read and written counted each."""
    source = torch.ones(footprint // 8, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return footprint / _best(lambda: target.copy_(source), max(1, GIB // footprint), clock)


def matrix_product(side: int, device: str, clock: Clock) -> float:
    """Floating-point operations a second in torch's product of two square matrices, without TF32."""
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    out = torch.empty_like(a)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        return 2 * side**3 / _best(lambda: torch.mm(a, b, out=out), 1, clock)
    finally:
        torch.set_float32_matmul_precision(before)


def environment(properties: Any) -> dict[str, str]:
    """What a reader needs to judge the figures; "processor" is the one that computes."""
    host = machine.describe()
    build = f"CUDA {torch.version.cuda}, cuDNN {_cudnn()}"
    memory = f"{properties.total_memory / GIB:.0f} GiB, L2 cache {properties.L2_cache_size / 2**20:.0f} MiB"
    return {
        **host,
        "processor": properties.name,
        "instruction set": f"compute capability {properties.major}.{properties.minor}",
        "cores": f"{properties.multi_processor_count} multiprocessors",
        "threads": "1",
        "GPU": f"{properties.name}, {memory}, driver {_asked('driver_version')}",
        "host": f"{host['processor']}, {host['cores']}",
        "contestants": f"torch {torch.__version__} ({build})",
        "timing": "events of the GPU, many launches a time; bursts are medians; L2 cache warm",
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def slug(name: str) -> str:
    """A card's name for files: "NVIDIA H200" is "nvidia-h200"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _best(call: Any, launches: int, clock: Clock) -> float:
    """Seconds of a call in the best lap; the first ones wake the card up."""
    clock.laps(call, 2, launches)
    return min(clock.laps(call, _LAPS, launches))


def _cudnn() -> str:
    version = torch.backends.cudnn.version()
    return "none" if version is None else f"{version // 10000}.{version // 100 % 100}.{version % 100}"


def _asked(what: str) -> str:
    """What nvidia-smi says about the first card; "unknown" where there is none."""
    command = ["nvidia-smi", "--id=0", f"--query-gpu={what}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
