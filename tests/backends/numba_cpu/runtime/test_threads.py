"""These tests call the backend `numba` from threads and processes: results are right, and processes end silently."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import fastconv
import fastconv.torch.functional as fct
from fastconv.backends.compiler.processor import architecture
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.runtime import pool_state
from fastconv.backends.numba_cpu.runtime import thread_pool as pools
from tests.backends.numba_cpu.runtime.stress import GEOMETRIES, results, stress

X = np.arange(2 * 16 * 28 * 28, dtype=np.float32).reshape(2, 16, 28, 28) % 7
W = np.arange(24 * 16 * 9, dtype=np.float32).reshape(24, 16, 3, 3) % 5


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Set at least two threads, on any machine, and restore the number after the test."""
    before = fastconv.get_num_threads()
    fastconv.set_num_threads(max(2, before))
    yield
    fastconv.set_num_threads(before)


def sums() -> float:
    """Return a number that stands for the result of a convolution that several threads do."""
    return float(fastconv.conv2d(X, W, padding=1, backend="numba").sum(dtype=np.float64))


def expected() -> float:
    y = torch.nn.functional.conv2d(torch.from_numpy(X).double(), torch.from_numpy(W).double(), padding=1)
    return float(y.sum())


SETUP = """
import numpy as np, fastconv
x, w = np.ones((2, 16, 28, 28), np.float32), np.ones((24, 16, 3, 3), np.float32)
"""


def run(program: str, before: str = "", **environment: str | None) -> str:
    """Return what a program prints in a new interpreter, which must end without error and leave stderr empty."""
    variables = {**os.environ, "FASTCONV_NUM_THREADS": "3", **environment}
    env = {name: value for name, value in variables.items() if value is not None}
    command = [sys.executable, "-c", f"{before}\n{SETUP}\n{program}"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_eight_threads_at_once() -> None:
    count, wrong = stress(2.0)
    assert not wrong
    assert count > 8


def test_beside_numbas_own_threads() -> None:
    """This runs in a process of its own, since some of Numba's layers don't allow callers from two threads."""
    layer = "import numba; numba.config.THREADING_LAYER = 'omp'\n"
    count, wrong = run(
        f"{layer}from tests.backends.numba_cpu.runtime.stress import stress; print(*stress(1, 4, 1))"
    ).split()
    assert int(count) > 4
    assert wrong == "[]"


def test_helpers_take_part() -> None:
    """Helpers must exist, or the other tests here test nothing."""
    sums()
    helpers = [thread for thread in threading.enumerate() if thread.name.startswith("fastconv-")]
    assert len(helpers) >= 1
    assert all(helper.daemon for helper in helpers)


def test_called_from_inside_a_job() -> None:
    """A caller that finds the pool taken does all of the work; here the state says that it is taken."""
    words = pools.pool._words
    status = words[pool_state.STATUS]
    words[pool_state.STATUS] = status + pool_state.CLAIMED
    try:
        assert sums() == expected()
    finally:
        words[pool_state.STATUS] = status


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def _exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@needs_fork
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_fork() -> None:
    """A child process has none of its parent's helpers, and starts its own."""
    right = expected()
    assert sums() == right
    child = os.fork()
    if child == 0:
        fine = False
        try:
            fine = all(sums() == right for _ in range(20)) and pools.pool._asked
        finally:
            os._exit(0 if fine else 1)
    assert _exit_code(child) == 0
    assert sums() == right


@needs_fork
def test_fork_while_others_compute() -> None:
    """Forks come at any moment of a job, with locks held by threads that the child doesn't have."""
    program = """
import os, threading
right = fastconv.conv2d(x, w, backend="numba").tobytes()
stop = False
def work():
    while not stop:
        assert fastconv.conv2d(x, w, backend="numba").tobytes() == right
others = [threading.Thread(target=work) for _ in range(3)]
for other in others: other.start()
codes = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        fine = all(fastconv.conv2d(x, w, backend="numba").tobytes() == right for _ in range(3))
        os._exit(0 if fine else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop = True
for other in others: other.join()
print(set(codes), fastconv.conv2d(x, w, backend="numba").tobytes() == right)
"""
    assert run(program, PYTHONWARNINGS="ignore") == "{0} True\n"


@needs_fork
def test_a_forked_child_that_ends_the_usual_way() -> None:
    program = """
import os, sys
fastconv.conv2d(x, w, backend="numba")
child = os.fork()
fastconv.conv2d(x, w, backend="numba")
if child:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(program, PYTHONWARNINGS="ignore") == "0\n"


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_multiprocessing(method: str) -> None:
    sums()
    with multiprocessing.get_context(method).Pool(2) as processes:
        assert processes.starmap(sums, [()] * 4) == [expected()] * 4


class Convolved(torch.utils.data.Dataset):
    """A dataset that computes each item in the process that fetches it."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        return fct.conv2d(torch.from_numpy(X + index), torch.from_numpy(W), backend="numba").sum(dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_inside_torchs_data_loader() -> None:
    items = Convolved()
    alone = [float(items[index]) for index in range(len(items))]
    fetched = torch.utils.data.DataLoader(items, batch_size=None, num_workers=2)
    assert [float(item) for item in fetched] == alone


def test_inside_torchs_backward_threads() -> None:
    """Several backward passes run at once, each on the thread that asked for it."""
    outcomes: list[bool] = []

    def gradient(function: Any, **more: Any) -> tuple[np.ndarray, ...]:
        leaves = torch.from_numpy(X).requires_grad_(), torch.from_numpy(W).requires_grad_()
        function(*leaves, padding=1, **more).sum().backward()
        return tuple(leaf.grad.numpy() for leaf in leaves if leaf.grad is not None)

    right = gradient(torch.nn.functional.conv2d)

    def work() -> None:
        for _ in range(10):
            found = gradient(fct.conv2d, backend="numba")
            outcomes.append(all(np.array_equal(a, b) for a, b in zip(found, right, strict=True)))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert outcomes == [True] * 40


@pytest.mark.parametrize("rest", ["", "time.sleep(0.05)"], ids=["helpers_look_for_work", "helpers_sleep"])
def test_the_interpreter_ends_in_silence(rest: str) -> None:
    for _ in range(3):
        run(f"import time\nfastconv.conv2d(x, w, backend='numba')\n{rest}")


def test_the_interpreter_ends_while_a_daemon_computes() -> None:
    program = """
import threading
fastconv.conv2d(x, w, backend="numba")
def work():
    while True: fastconv.conv2d(x, w, backend="numba")
threading.Thread(target=work, daemon=True).start()
"""
    for _ in range(3):
        run(program)


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({"FASTCONV_NUM_THREADS": "5", "OMP_NUM_THREADS": "2"}, 5),
        ({"FASTCONV_NUM_THREADS": None, "NUMBA_NUM_THREADS": "4"}, 4),
        ({"FASTCONV_NUM_THREADS": "many", "NUMBA_NUM_THREADS": None, "OMP_NUM_THREADS": "3,2"}, 3),
        ({"FASTCONV_NUM_THREADS": "0", "NUMBA_NUM_THREADS": None, "OMP_NUM_THREADS": "6"}, 6),
    ],
)
def test_the_environment_says_how_many(variables: dict[str, str | None], threads: int) -> None:
    assert run("print(fastconv.get_num_threads())", **variables) == f"{threads}\n"


def test_set_num_threads() -> None:
    fastconv.set_num_threads(np.int64(5))
    assert fastconv.get_num_threads() == 5
    assert type(fastconv.get_num_threads()) is int


@pytest.mark.parametrize("wrong", [0, -1, np.int32(0)])
def test_fewer_than_one_thread_is_refused(wrong: Any) -> None:
    before = fastconv.get_num_threads()
    with pytest.raises(ValueError, match=r"threads: got .*it must be at least 1"):
        fastconv.set_num_threads(wrong)
    assert fastconv.get_num_threads() == before


@pytest.mark.parametrize("wrong", [1.0, "2", None, True, [2]], ids=repr)
def test_what_is_no_integer_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"threads: got .*it must be an integer"):
        fastconv.set_num_threads(wrong)


def test_very_many_threads() -> None:
    """More threads are asked for than the pool ever starts; a job starts only those that it can use."""
    fastconv.set_num_threads(100_000)
    backend = NumbaCpu()
    assert [results(backend, index) for index in range(len(GEOMETRIES))]
    assert sums() == expected()


FLUSHED = """
import torch
fastconv.set_num_threads(3)
x, w = np.full((8, 16, 28, 28), 1e-30, np.float32), np.full((24, 16, 3, 3), 1e-10, np.float32)
results = set()
for flush in (True, False, True):
    torch.set_flush_denormal(flush)
    for _ in range(200):
        y = fastconv.conv2d(x, w, backend="numba:direct")
        results.add((flush, int(np.count_nonzero(y.view(np.int32)) == y.size), len(set(y.view(np.int32).flat))))
print(sorted(results))
"""


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor has no such mode")
def test_helpers_compute_in_the_callers_floating_point_mode() -> None:
    """All sums are denormal, so in each result either all numbers are zero or none is."""
    assert run(FLUSHED) == "[(False, 1, 1), (True, 0, 1)]\n"


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"NUMBA_CPU_NAME": "generic"}, "neon" if architecture() == "arm64" else "portable"),
        ({"NUMBA_CPU_FEATURES": "+avx2,+fma,-avx512f"}, "avx2"),
    ],
)
def test_kernels_are_written_for_what_numba_compiles_for(variables: dict[str, str], name: str) -> None:
    program = "from fastconv.backends.numba_cpu.simd import instruction_set; print(instruction_set.chosen().name)"
    assert run(program, FASTCONV_INSTRUCTION_SET=None, **variables) == f"{name}\n"
