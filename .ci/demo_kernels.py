"""This program compiles the kernels of `make demo` while pip installs torch, so that the demo compiles none."""

from __future__ import annotations

from fastconv import registry
from fastconv.backends.numba_cpu.warmup import warm_lenet

if __name__ == "__main__":
    warm_lenet(registry.resolve("numba"))
    registry.resolve("naive").warmup()
