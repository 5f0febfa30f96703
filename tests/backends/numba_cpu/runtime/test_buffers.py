"""These tests see that a result's memory is used again when no array refers to it any more, and not before."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime.buffers import SMALLEST, Store

SHAPE = (3, 100, 1000)
"""Shape of an array that is large enough for the store: 1.2 MB of float32."""


@pytest.fixture(autouse=True)
def few_objects() -> Iterator[None]:
    """Let collections pass over what imports and other tests have made: it takes two seconds each time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return a new store that replaces the process's store during the test."""
    own = Store(1 << 26)
    monkeypatch.setattr(buffers, "_store", own)
    return own


def test_a_result_is_a_plain_array() -> None:
    result = buffers.empty(SHAPE, np.float32)
    assert type(result) is np.ndarray
    assert (result.shape, result.dtype) == (SHAPE, np.float32)
    assert result.flags.c_contiguous
    assert result.flags.writeable
    assert result.flags.aligned
    assert result.ctypes.data % 4096 == 0
    result.fill(3)
    assert result.sum() == 3 * result.size


def test_memory_comes_back() -> None:
    result = buffers.empty(SHAPE, np.float32)
    address = result.ctypes.data
    del result
    assert buffers.empty(SHAPE, np.float64).ctypes.data != address  # twice as large
    assert buffers.empty(SHAPE[::-1], np.int32).ctypes.data == address


HOLDERS: dict[str, Callable[[np.ndarray], Any]] = {
    "itself": lambda a: a,
    "slice": lambda a: a[1:, ::2],
    "one_element": lambda a: a[-1:, -1:, -1:],
    "transposed": lambda a: a.T,
    "reshaped": lambda a: a.reshape(-1),
    "other_type": lambda a: a.view(np.int32),
    "broadcast": lambda a: np.broadcast_to(a, (2, *a.shape)),
    "view_of_a_view": lambda a: a[1:][:, 2:].reshape(2, -1)[1:],
    "iterator": lambda a: a.flat,
    "memoryview": memoryview,
    "frombuffer": lambda a: np.frombuffer(a, np.float32),
    "tensor": torch.from_numpy,
    "part_of_a_tensor": lambda a: torch.from_numpy(a)[0, 1:],
    "dlpack": torch.from_dlpack,
    "tensor_and_back": lambda a: torch.from_numpy(a).permute(2, 0, 1).numpy(),
    "autograd": lambda a: torch.from_numpy(a).requires_grad_().square(),
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_nothing_in_use_is_handed_out(hold: Callable[[np.ndarray], Any]) -> None:
    result = buffers.empty(SHAPE, np.float32)
    address = result.ctypes.data
    held = hold(result)
    del result
    gc.collect()
    others = [buffers.empty(SHAPE, np.float32) for _ in range(3)]
    assert address not in [other.ctypes.data for other in others]
    del held
    gc.collect()
    assert buffers.empty(SHAPE, np.float32).ctypes.data == address


def test_results_that_live_together_share_nothing() -> None:
    results = [buffers.empty(SHAPE, np.float32) for _ in range(6)]
    del results[::2]
    results += [buffers.empty(SHAPE, np.float32) for _ in range(6)]
    spans = sorted((result.ctypes.data, result.ctypes.data + result.nbytes) for result in results)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_scratch_memory_is_used_again() -> None:
    memory = buffers.scratch(1 << 16)
    assert memory.nbytes >= SMALLEST
    address = memory.ctypes.data
    assert buffers.scratch(1 << 16).ctypes.data != address
    buffers.give_back(memory)
    del memory
    assert buffers.scratch(SMALLEST).ctypes.data == address


def test_little_scratch_memory_is_numpys_own(store: Store) -> None:
    for size in (0, 10, 1 << 15):
        memory = buffers.scratch(size)
        assert size + (-memory.ctypes.data % 64) <= memory.nbytes < SMALLEST
        buffers.give_back(memory)
    assert store.kept == 0


def test_small_results_are_numpys_own(store: Store) -> None:
    buffers.empty((SMALLEST // 8 - 1,), np.float64)
    assert store.kept == 0
    assert buffers.empty((0, 3), np.float64).shape == (0, 3)


def test_what_is_kept_is_bounded(store: Store) -> None:
    store.most = 10 << 20
    results = [buffers.empty((size << 18,), np.float32) for size in range(1, 8)]
    while results:
        results.pop()
        assert store.kept <= store.most
        assert store.kept == sum(piece.nbytes for piece in store._pieces.values())
    assert store.kept > 0


def test_a_piece_larger_than_all_that_may_be_kept_is_freed(store: Store) -> None:
    store.most = 1 << 20
    buffers.empty((1 << 20,), np.float32)
    assert (store.kept, store._pieces) == (0, {})


def test_no_piece_is_much_larger_than_its_result(store: Store) -> None:
    buffers.empty((1 << 20,), np.float32)  # dies at once
    kept = store.kept
    buffers.scratch(1 << 20)
    assert store.kept == kept


def test_a_piece_of_the_same_size_goes_before_a_larger_one(store: Store) -> None:
    same, larger = store.take(SMALLEST), store.take(SMALLEST + 4096)
    store.give(same)
    store.give(larger)
    assert store.take(SMALLEST) is same
    assert store.take(SMALLEST) is larger


def test_bytes_are_counted_only_near_the_limit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr(Store, "kept", property(lambda self: counted.append(1) or 0))
    for _ in range(600):
        store.give(store.take(SMALLEST))
    assert 0 < len(counted) <= 4  # the limit is 256 times as much


def test_what_finds_pieces_by_their_size_is_bounded(store: Store) -> None:
    store.most_pieces = 8
    for turn in range(100):
        store.give(store.take(SMALLEST + 64 * turn))
        store.give(store.take(SMALLEST))
    assert len(store._by_size) <= 17
    assert sum(map(len, store._by_size.values())) == len(store._pieces)


def test_the_number_of_a_piece_that_is_gone_is_no_longer_its_own(store: Store) -> None:
    """An array may begin where another one ended, and then has its number."""
    other = store.take(2 * SMALLEST)
    store.give(other)
    store._by_size[SMALLEST] = [id(other)]
    assert store.take(SMALLEST).nbytes == SMALLEST
    assert store.take(2 * SMALLEST) is other


def test_the_number_of_pieces_is_bounded(store: Store) -> None:
    store.most_pieces = 8
    results = [buffers.empty((SMALLEST,), np.uint8) for _ in range(20)]
    del results
    assert len(store._pieces) == 8


def test_an_array_that_dies_in_the_middle_of_a_take_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage collector may end an array at any moment."""
    results = [buffers.empty(SHAPE, np.float32)]
    address = results[0].ctypes.data
    allocate = np.empty

    def empty(*arguments: Any) -> np.ndarray:
        results.clear()
        return allocate(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(np, "empty", empty)
        other = store.take(2 * SMALLEST)
    assert store.take(int(np.prod(SHAPE)) * 4).ctypes.data == address
    assert other.ctypes.data != address


def test_the_interpreters_end_takes_no_name_from_an_array() -> None:
    result = buffers.empty(SHAPE, np.float32)
    names = vars(buffers).copy()
    vars(buffers).clear()
    try:
        del result
    finally:
        vars(buffers).update(names)


def test_threads_never_hold_the_same_memory() -> None:
    """Each thread writes its own number, and must find it again after others have run."""
    wrong: list[int] = []

    def work(me: int) -> None:
        for turn in range(200):
            mine = buffers.empty((1 + me % 2, 1 << 17), np.float32)
            mine.fill(me)
            part = mine[:, ::7]
            if turn % 3 == 0:
                del mine
            if not (part == me).all():
                wrong.append(me)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
