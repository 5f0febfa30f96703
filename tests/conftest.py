"""Fixtures that every test may use: random arrays, poisoned memory, and a record of which backend ran."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import fastconv
from fastconv import known, registry
from fastconv.backends.base import OPERATIONS, Backend
from fastconv.backends.chain import Gradients, Operands
from fastconv.backends.compiler.processor import features
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.fused.chain import NumbaChain
from fastconv.backends.numba_cpu.runtime.buffers import Store
from fastconv.backends.numba_cpu.simd import instruction_set
from fastconv.backends.numba_cuda.backend import NumbaCuda
from fastconv.backends.numba_cuda.target import SIMULATED
from tests import CHOSEN, probes, simulator

if SIMULATED:
    simulator.install()
if probes.FAIL:
    probes.fail_all()
if not CHOSEN:
    os.environ.pop("NUMBA_ENABLE_CUDASIM", None)  # processes that tests start are without

BACKENDS = [info.name for info in fastconv.backends() if info.available and info.name != "auto"]

Draw = Callable[..., np.ndarray]

POISON = 0xFFF7FFF7FFF7FFF7
"""NaN as a float64 and as two float32, and no index as an int64."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that asks for a ``backend`` runs on each."""
    if "backend" in metafunc.fixturenames:
        without = {"cuda"} if "no_simulated_gpu" in metafunc.fixturenames else set()
        metafunc.parametrize("backend", [name for name in BACKENDS if name not in without])


LONG = (
    "tests/cuda/",
    "tests/fuzz/",
    "tests/gpu/",
    "tests/ladder/test_planted_faults.py",
    "tests/models/test_kill.py",
    "tests/opinfo/",
    "tests/test_large.py",
)
"""Folders and files whose tests sweep over many cases, or take long for each: `make test-long` runs them.

Of the simulated GPU `make test` runs the contract of backends alone, in tests/backends."""


OWN = instruction_set.best(features()).name
"""This machine's own instruction set, which `make test` tests."""


def _is_other(names: list[str]) -> bool:
    """Returns True for a test of an instruction set that only `make test-long` tests.

    Compiling all kernels once more takes a minute or two. `make test` also has all but float64 on the set with the
    smallest vectors and the fewest registers.
    """
    others = instruction_set.ALL.keys() - {OWN}
    return not others.isdisjoint(names) and ("portable" not in names or "float64" in names)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that take long; leave to `tests/gpu` what no simulated GPU can do in reasonable time."""
    kept = pytest.mark.skip(reason="too large for a simulated GPU; tests/gpu does it")
    closed = pytest.mark.skip(reason="failing probes close the way that it tests")
    for item in items:
        names = item.name.partition("[")[2].rstrip("]").split("-")
        simulates = SIMULATED and "cuda" in names and not item.nodeid.startswith("tests/backends/")
        if simulates or item.nodeid.startswith(LONG) or _is_other(names):
            item.add_marker(pytest.mark.long)
        if probes.FAIL and item.nodeid.startswith(probes.FAST_WAYS):
            item.add_marker(closed)
        arguments = getattr(item, "callspec", None)
        params = arguments.params if arguments is not None else {}
        cases = [part for value in params.values() for part in (value if isinstance(value, tuple) else (value,))]
        simulated = SIMULATED and params.get("backend") == "cuda"
        if simulated and any(getattr(case, "large", False) is True for case in cases):
            item.add_marker(kept)


KERNELS = {*BACKENDS, *instruction_set.ALL}
"""What stands in a test's name where it needs the kernels of a backend, or of one set of vector instructions."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests of the same kernels go to the same worker: two would compile them at the same time."""
    from xdist.scheduler import LoadScopeScheduling

    class SameKernels(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            names = test.partition("[")[2].rstrip("]").split("-")
            forced = not instruction_set.ALL.keys().isdisjoint(names)
            kept = [name for name in names if name in KERNELS or (forced and name in ("float32", "float64"))]
            return "-".join([file, *kept])

    config.option.loadscopereorder = False  # by the number of tests, which says nothing of their time
    return SameKernels(config, log)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """The data types that backends compute in."""
    return request.param


@pytest.fixture
def draw(dtype: str) -> Draw:
    """Arrays of standard normal numbers, the same in every run."""
    rng = np.random.default_rng(20)
    return lambda *shape: rng.standard_normal(shape).astype(dtype)


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """New memory is full of NaN, so an element that a kernel forgets to write can't pass by chance."""
    genuine = np.empty

    def empty(*args: Any, **kwargs: Any) -> np.ndarray:
        array = genuine(*args, **kwargs)
        if array.dtype.kind in "fi":
            array.fill(np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).min)
        return array

    monkeypatch.setattr(np, "empty", empty)

    take = Store.take

    def poisoned_take(store: Store, size: int) -> np.ndarray:
        piece = take(store, size)
        piece[: piece.nbytes // 8 * 8].view(np.uint64).fill(POISON)
        return piece

    monkeypatch.setattr(Store, "take", poisoned_take)


@pytest.fixture(autouse=True)
def unknown_calls() -> None:
    """Compiled code knows no call of another test again: it would pass by what this test puts into a backend."""
    known.forget()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """torch on one thread: the problems are tiny, and on a busy machine threads only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def spy(backend: Backend, record: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the backend write (its name, operation) to the record whenever a primitive of its own runs."""

    def spied(operation: str, primitive: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            record.append((backend.name, operation))
            return primitive(*args)

        return call

    for operation in OPERATIONS:
        monkeypatch.setattr(backend, operation, spied(operation, getattr(backend, operation)))
    if isinstance(backend, NumbaCpu):
        spy_chains(backend, record, monkeypatch)


def spy_chains(backend: Backend, record: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let chains write what their blocks come to: "conv2d" and its gradients, or "conv2d_block" and its gradient."""
    forward, backward = NumbaChain.forward, NumbaChain.backward

    def spied_forward(self: NumbaChain, at: Operands) -> bool:
        plain = [block.activation is block.pool is None for block in self.blocks]
        record.extend((backend.name, "conv2d" if each else "conv2d_block") for each in plain)
        return forward(self, at)

    def spied_backward(self: NumbaChain, at: Operands, gradients: Gradients) -> bool:
        for number, block in reversed(list(enumerate(self.blocks))):
            if block.activation is block.pool is None:
                x = self if number else gradients.x
                wanted = {"conv2d_input": x, "conv2d_weight": gradients.parameters[2 * number]}
                record.extend((backend.name, operation) for operation, want in wanted.items() if want is not None)
            else:
                record.append((backend.name, "conv2d_block_backward"))
        return backward(self, at, gradients)

    monkeypatch.setattr(NumbaChain, "forward", spied_forward)
    monkeypatch.setattr(NumbaChain, "backward", spied_backward)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The primitives that ran, as (backend, operation), in order."""
    record: list[tuple[str, str]] = []
    for name in BACKENDS:
        spy(registry.get(name), record, monkeypatch)
    return record


@pytest.fixture
def no_simulated_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend `cuda` can't run: for tests of whole runs, which would take a simulated GPU minutes."""
    monkeypatch.setattr(NumbaCuda, "unavailable", lambda self: "the simulated GPU is put away")
    monkeypatch.delitem(registry._ready, "cuda", raising=False)


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers or chooses is gone after it."""
    monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
    monkeypatch.setattr(registry, "_ready", dict(registry._ready))
    monkeypatch.setattr(registry, "_plugins", dict(registry._discovered()))
    monkeypatch.setattr(registry, "_default", registry._default)
