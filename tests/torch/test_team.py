"""Kernels on torch's own team of threads: the same bits as on fastconv's helpers, and none of it after a fork."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

import fastconv
from fastconv import threads
from fastconv.torch import functional as F

pytestmark = pytest.mark.skipif(threads.host_team is None, reason="torch's wheel brings no libgomp along here")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = fastconv.get_num_threads(), torch.get_num_threads()
    fastconv.set_num_threads(2)
    torch.set_num_threads(2)
    yield
    fastconv.set_num_threads(before[0])
    torch.set_num_threads(before[1])


def _results() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, 16, 30, 30, generator=generator).requires_grad_()
    w = torch.randn(32, 16, 3, 3, generator=generator).requires_grad_()
    y = F.max_pool2d(F.conv2d(x, w, padding=1, backend="numba"), 2, backend="numba")
    return [y.detach(), *torch.autograd.grad(y.square().sum(), (x, w))]


def test_bits_do_not_depend_on_whose_threads_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    with_team = _results()
    torch.set_num_threads(1)  # a team of the wrong size is not used
    alone = _results()
    monkeypatch.setattr(threads, "host_team", None)
    with_helpers = _results()
    for other in (alone, with_helpers):
        assert all(torch.equal(one, two) for one, two in zip(with_team, other, strict=True))


FORK = """
import os, torch
from fastconv import threads
from fastconv.torch import functional as F
torch.set_num_threads(2)
x, w = torch.randn(8, 16, 30, 30), torch.randn(32, 16, 3, 3)
y = F.conv2d(x, w, backend="numba")
child = os.fork()
if not child:
    # Compared by NumPy: torch's own operations on several threads would wait for ever here.
    same = (F.conv2d(x, w, backend="numba").numpy() == y.numpy()).all()
    os._exit(0 if threads.host_team is None and same else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert torch.equal(F.conv2d(x, w, backend="numba"), y)
"""


def test_a_forked_process_does_without() -> None:
    """The runtime would wait in it for threads that it doesn't have."""
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=120)
