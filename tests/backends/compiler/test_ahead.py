"""These tests see that helper processes compile what is planned, that they leave nothing behind, and what claims do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastconv.backends.compiler.ahead.claims import claim

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files have no such locks here")

KERNELS = """
from fastconv.backends.compiler import compiled, integers

@compiled
def add(number):
    def kernel(x):
        return x + number
    return integers(kernel)

def plan():
    for number in (1, 2, 3):
        add(number)
"""

USE = """
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
sys.path.insert(0, {path!r})
sys.executable = os.environ.get("EXECUTABLE", sys.executable)
from fastconv.backends.compiler import ahead
from kernels.kernel import add, plan
with ahead.expected(plan):
    add(1)
helpers = [each.pid for each in ahead._helpers.running]
print(*helpers, flush=True)
"""

ALL_COMPILED = """
while len([*Path(os.environ["NUMBA_CACHE_DIR"]).glob("*.o")]) < 3:
    time.sleep(0.01)
"""

LEFT_ALONE = """
assert all(os.getsid(helper) == helper for helper in helpers)
child = os.fork()
if child == 0:
    os._exit(len(ahead._helpers.running))
assert os.waitpid(child, 0)[1] == 0, "a forked process has no helpers"
while any(Path(f"/proc/{helper}").exists() for helper in helpers):
    time.sleep(0.05)
with ahead.expected(plan):
    add(4)
assert ahead._helpers.running[0].pid not in helpers
"""


def _started(folder: Path, program: str, **environment: str) -> subprocess.Popen[str]:
    """Return a process that runs a program after `USE`."""
    source = folder / "kernels"
    source.mkdir()
    (source / "__init__.py").write_text("")
    (source / "kernel.py").write_text(KERNELS)
    (folder / "use.py").write_text(USE.format(path=str(folder)) + program)
    env = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), "FASTCONV_NUM_THREADS": "2", **environment}
    command = [sys.executable, "-Werror", str(folder / "use.py")]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _printed(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    return output.strip()


def test_a_helper_compiles_what_is_planned(tmp_path: Path) -> None:
    assert _printed(_started(tmp_path, ALL_COMPILED)).isdigit()
    assert len([*(tmp_path / "cache").iterdir()]) == 3, "claims are removed"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are not listed here")
def test_a_helper_without_work_ends_and_leaves_no_process(tmp_path: Path) -> None:
    assert _printed(_started(tmp_path, ALL_COMPILED + LEFT_ALONE)).isdigit()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_helper_ends_with_the_process_that_it_helps(tmp_path: Path, ending: signal.Signals) -> None:
    with _started(tmp_path, "time.sleep(100)") as process:
        assert process.stdout is not None
        helper = int(process.stdout.readline())
        process.send_signal(ending)
        process.wait(timeout=20)
        assert _has_ended(helper)


def _has_ended(process: int) -> bool:
    for _ in range(500):
        state = Path(f"/proc/{process}/stat")
        # In a container the first process may be one that doesn't ask for the end of others.
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("reason", ["one thread", "no folder", "no interpreter"])
def test_there_are_no_helpers_where_they_would_not_help(tmp_path: Path, reason: str) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    environment = {
        "one thread": {"FASTCONV_NUM_THREADS": "1"},
        "no folder": {"NUMBA_CACHE_DIR": str(blocked)},
        "no interpreter": {"EXECUTABLE": "/bin/cat"},
    }[reason]
    with _started(tmp_path, "assert add(2)", **environment) as process:
        assert _printed(process) == ""


def test_one_process_at_a_time_has_a_claim(tmp_path: Path) -> None:
    with claim(tmp_path, "kernel.o", 0) as first:
        with claim(tmp_path, "kernel.o", 0.01) as second, claim(tmp_path, "other.o", 0) as other:
            assert (first, second, other) == (True, False, True)
        assert [each.name for each in tmp_path.iterdir()] == ["kernel.o.unfinished"]
    with claim(tmp_path, "kernel.o", 0) as third:
        assert third
    assert not [*tmp_path.iterdir()]


def test_a_claim_in_no_folder_or_one_that_can_not_be_written_is_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "file"):
        with claim(folder, "kernel.o", 0) as had:
            assert had


LISTED = """
from fastconv.backends.compiler import kernels
from fastconv.backends.numba_cpu.fused.chain import _plan
with kernels.listing() as found:
    _plan(numba, numba._simd(np.dtype(np.float32)), blocks, 2, True, None)
print(*{code.name for code in found})
"""

RUN = """
from fastconv.backends.chain import Gradients, Operands
from fastconv.backends.compiler import kernels
address, asked = kernels._address, []
def noted(make, constants):
    asked.append(kernels.Code(make, constants).name)
    return address(make, constants)
kernels._address = noted
chain = numba.chain(blocks, np.dtype(np.float32))
x = np.ones(blocks[0].geometry.input_shape, np.float32)
shapes = [shape for block in blocks for shape in (block.geometry.weight_shape, (block.geometry.K,))]
parameters = [np.ones(shape, np.float32) for shape in shapes]
result, saved = np.ones(blocks[-1].result_shape, np.float32), np.zeros(chain.saved_bytes, np.uint8)
at = Operands(x, parameters, result, saved)
assert chain.forward(at) and chain.backward(at, Gradients(result.copy(), None, parameters))
print(*asked)
"""

BLOCKS = """
import numpy as np
from fastconv import registry, set_num_threads
from fastconv.backends.block import Block
from fastconv.geometry import ConvGeometry
set_num_threads(2)
numba = registry.get("numba")
blocks = (
    Block(ConvGeometry(100, 1, 28, 28, 6, 5, 5, padding=(2,) * 4), "tanh", "avg"),
    Block(ConvGeometry(100, 6, 14, 14, 16, 5, 5), "tanh", "avg"),
    Block(ConvGeometry(100, 16, 5, 5, 120, 5, 5), "tanh", None),
    Block(ConvGeometry(100, 120, 1, 1, 10, 1, 1), None, None),
)
"""


def test_a_plan_lists_all_kernels_that_its_training_step_takes() -> None:
    found = []
    for program in (LISTED, RUN):
        command = [sys.executable, "-c", BLOCKS + program]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append(set(done.stdout.split()))
    listed, taken = found
    assert len(taken) > 20
    # Tensors know their addresses.
    assert {name.partition("_")[0] for name in taken - listed} <= {"held"}
