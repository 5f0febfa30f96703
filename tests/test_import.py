"""Loading fastconv is quick and light: no torch, no CUDA, no compiler."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def _run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


CALLS = """
import numpy as np, fastconv
x = np.ones((1, 1, 2, 2))
with fastconv.use_backend("im2col"):
    fastconv.conv2d(x, x)
    fastconv.max_pool2d(x, 2)
fastconv.set_num_threads(fastconv.get_num_threads())
"""


@pytest.mark.parametrize("program", ["import fastconv", CALLS], ids=["import", "im2col"])
def test_what_is_loaded(program: str) -> None:
    loaded = json.loads(_run(f"{program}\nimport sys, json; print(json.dumps(list(sys.modules)))"))
    heavy = {"torch", "numba", "llvmlite", "cuda", "numba_cuda", "matplotlib", "scipy"}
    assert heavy.isdisjoint(loaded)


def test_listing_backends_loads_no_torch() -> None:
    assert "False" in _run("import fastconv, sys; fastconv.backends(); print('torch' in sys.modules)")


def test_tensors_before_fastconv_torch_is_imported() -> None:
    program = """
import torch, fastconv
try:
    fastconv.max_pool2d(torch.ones(1, 1, 2, 2), 2)
except TypeError as error:
    print(error)
import fastconv.torch
print(fastconv.max_pool2d(torch.ones(1, 1, 2, 2), 2).shape)
"""
    refusal, shape = _run(program).splitlines()
    assert refusal == "input: got torch.Tensor, but tensors are taken once fastconv.torch is imported"
    assert shape == "torch.Size([1, 1, 1, 1])"
