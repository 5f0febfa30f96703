"""Plans give what `conv2d` gives, for arrays and tensors, in new memory or in the caller's."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch

import fastconv
from fastconv.backends.numba_cpu.calls import objects
from fastconv.backends.numba_cpu.calls.planned import PlannedConvolution
from fastconv.backends.numba_cpu.conv.plan import Convolution
from fastconv.planning import Conv2dPlan
from fastconv.torch import functional as ours
from tests import oracle
from tests.cases import CONVOLUTIONS, ConvCase, named
from tests.probes import needs_fast_way
from tests.tolerance import assert_equal

pytestmark = pytest.mark.usefixtures("no_simulated_gpu")


def array(*shape: int, dtype: str = "float32") -> np.ndarray:
    """Returns standard normal numbers."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=named)
def test_plans_compute_every_case(case: ConvCase, backend: str, dtype: str, draw) -> None:
    w, b = draw(*case.w), draw(case.w[0]) if case.bias else None
    x, again = draw(*case.x), draw(*case.x)
    plan = fastconv.plan_conv2d(case.x, w, b, **case.how, backend=backend)
    assert (plan.backend, plan.dtype, plan.input_shape) == (backend, dtype, case.x)
    for image in (x, again):
        y = plan(image)
        assert y.dtype == dtype
        assert y.shape == plan.output_shape
        assert_equal(y, oracle.conv2d(image, w, b, case.how))
    out = np.full(plan.output_shape, np.nan, dtype)
    assert plan(x, out=out) is out
    np.testing.assert_array_equal(out, plan(x))


LAYERS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "direct": ((1, 6, 14, 14), (16, 6, 5, 5), {}),
    "winograd": ((1, 8, 8, 8), (8, 8, 3, 3), {"padding": 1}),
    "winograd, few patches": ((1, 256, 6, 6), (256, 256, 3, 3), {"padding": 1}),
    "winograd, pieces": ((1, 70, 9, 9), (66, 35, 5, 4), {"groups": 2, "backend": "numba:winograd(4x4)"}),
    "gemm": ((1, 64, 9, 9), (32, 64, 3, 3), {"stride": 2, "backend": "numba:gemm"}),
    "batch": ((32, 6, 8, 8), (8, 6, 5, 5), {}),
    "matrix": ((1, 64, 7, 7), (64, 64, 1, 1), {}),
    "depthwise": ((1, 8, 9, 9), (8, 1, 3, 3), {"groups": 8}),
    "mosaics": ((2, 64, 32, 32), (64, 64, 3, 3), {"padding": 4, "dilation": 4, "backend": "numba:winograd"}),
    "parts": ((4, 128, 8, 8), (64, 128, 3, 3), {"padding": 6, "dilation": 6}),
    "dense": ((1, 16, 5, 5), (120, 16, 5, 5), {}),
    "two threads": ((2, 32, 28, 28), (64, 32, 3, 3), {"padding": 1}),
}


def plain(how: dict[str, Any]) -> dict[str, Any]:
    """Returns those arguments that torch knows."""
    return {name: value for name, value in how.items() if name != "backend"}


@pytest.mark.parametrize(("x", "w", "how"), LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("biased", [False, True])
def test_plans_give_the_same_bits(x: Any, w: Any, how: dict[str, Any], biased: bool) -> None:
    """A weight that was packed before is the same packed weight, for any number of threads."""
    image, weight, bias = array(*x), array(*w), array(w[0]) if biased else None
    plan = fastconv.plan_conv2d(x, weight, bias, **how)
    expected = fastconv.conv2d(image, weight, bias, **how)
    threads = fastconv.get_num_threads()
    try:
        for count in (1, 2, 3):
            fastconv.set_num_threads(count)
            np.testing.assert_array_equal(plan(image), expected)
    finally:
        fastconv.set_num_threads(threads)


@pytest.mark.parametrize("name", LAYERS)
def test_the_weight_is_packed_once(name: str) -> None:
    """Depthwise convolutions and products of matrices read it in place."""
    x, w, how = LAYERS[name]
    planned = fastconv.plan_conv2d(x, array(*w), **how).planned
    few = name in ("winograd, few patches", "winograd, pieces")
    packs = few or name in ("direct", "winograd", "gemm", "batch", "parts", "two threads")
    assert isinstance(planned, PlannedConvolution)
    assert len(planned._panels) == packs
    (plan, _), *_ = planned._parts
    assert plan.cut.patches_first if few else getattr(plan.cut, "patches_first", False) is False
    steps = [step for step in (plan._first, plan._second) if step[1]] if isinstance(plan, Convolution) else []
    # Few patches are transformed by a step of their own in each call.
    assert not packs or planned._program().code[2] == (2 if few else len(steps) - 1)


@pytest.mark.parametrize(("x", "w", "how"), LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("where", ["input", "weight", "row of zeros"])
def test_numbers_that_spread(x: Any, w: Any, how: dict[str, Any], where: str) -> None:
    image, weight, b = array(*x), array(*w), array(w[0])
    if where == "input":
        image[0, 1, 2, 1] = np.inf
    elif where == "weight":
        weight[3, 0, 0, 0] = np.nan
    else:
        weight[:, :, -1] = 0
    plan = fastconv.plan_conv2d(x, weight, b, **how)
    assert_equal(plan(image), oracle.conv2d(image, weight, b, plain(how)))
    image[0, 1, 2, 1] = 0.5
    assert_equal(plan(image), oracle.conv2d(image, weight, b, plain(how)))


X, W, B = array(2, 4, 9, 8), array(6, 4, 3, 3), array(6)


def test_a_plan_keeps_its_weight() -> None:
    w, b = W.copy(), B.copy()
    plan, tensors = fastconv.plan_conv2d(X.shape, w, b), ours.plan_conv2d(X.shape, torch.from_numpy(w))
    expected, without = plan(X), tensors(torch.from_numpy(X))
    w[:] = b[:] = 0
    np.testing.assert_array_equal(plan(X), expected)
    assert torch.equal(tensors(torch.from_numpy(X)), without)


def test_unbatched_images() -> None:
    plan = fastconv.plan_conv2d(X.shape[1:], W, B, padding="same")
    assert plan.output_shape == (6, 9, 8)
    np.testing.assert_allclose(plan(X[0]), fastconv.conv2d(X[0], W, B, padding="same"), rtol=1e-5, atol=1e-5)
    assert plan(X[0], out=np.empty((6, 9, 8), "f4")).shape == (6, 9, 8)


def test_half_precision_is_rounded_once() -> None:
    x, w = X.astype("f2"), W.astype("f2")
    plan = fastconv.plan_conv2d(x.shape, w)
    assert plan(x).dtype == np.float16
    np.testing.assert_array_equal(plan(x), fastconv.conv2d(x, w))
    out = np.empty(plan.output_shape, "f2")
    np.testing.assert_array_equal(plan(x, out=out), fastconv.conv2d(x, w))


INPUTS = {
    "not contiguous": np.ascontiguousarray(X[..., ::-1])[..., ::-1],
    "channels last": np.ascontiguousarray(X.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "foreign byte order": X.astype(">f4"),
    "read-only": np.frombuffer(X.tobytes(), "f4").reshape(X.shape),
    "subclass": X.view(np.memmap),
    "unaligned": np.frombuffer(b"\0" + X.tobytes(), "f4", offset=1).reshape(X.shape),
}


@pytest.mark.parametrize("x", INPUTS.values(), ids=INPUTS)
def test_any_layout_in(x: np.ndarray) -> None:
    plan = fastconv.plan_conv2d(X.shape, W, B)
    np.testing.assert_array_equal(plan(x), plan(X))


def test_any_layout_out() -> None:
    plan = fastconv.plan_conv2d(X.shape, W, B)
    wide = np.zeros((2, 6, 7, 12), "f4")
    for out in (wide[..., ::2], wide[..., 5::-1], np.zeros((2, 7, 6, 6), "f4").transpose(0, 2, 1, 3), np.zeros_like):
        target = np.zeros(plan.output_shape, ">f4") if callable(out) else out
        assert plan(X, out=target) is target
        np.testing.assert_array_equal(target, plan(X))
    assert not wide[..., 7::2].any()


OVERLAPPING = {
    "depthwise": ((1, 3, 8, 8), (3, 1, 3, 3), {"padding": 1, "groups": 3}),
    "matrix": ((1, 8, 7, 9), (8, 8, 1, 1), {}),
    "winograd": ((1, 64, 30, 30), (64, 64, 3, 3), {"padding": 1}),
}


@pytest.mark.parametrize("shift", [0, 1, 37, 400])
@pytest.mark.parametrize(("shape", "w", "how"), OVERLAPPING.values(), ids=OVERLAPPING)
def test_out_may_overlap_the_input(shape: Any, w: Any, how: dict[str, Any], shift: int) -> None:
    plan, size = fastconv.plan_conv2d(shape, array(*w), **how), int(np.prod(shape))
    for first, second in ((0, shift), (shift, 0)):
        memory = array(size + 400)
        x, out = memory[first:][:size].reshape(shape), memory[second:][:size].reshape(shape)
        expected = plan(x.copy())
        plan(x, out=out)
        np.testing.assert_array_equal(out, expected)


def test_what_a_plan_refuses() -> None:
    plan = fastconv.plan_conv2d(X.shape, W, B)
    right = np.empty(plan.output_shape, "f4")
    for x in (X[:1], X[0], X[:, :3], np.zeros((2, 4, 8, 9), "f4")):
        with pytest.raises(RuntimeError, match=r"input: got shape .*the plan was made for \(2, 4, 9, 8\)"):
            plan(x)
    for kind in (X.astype("f8"), X.astype("f2"), X.astype("i4"), X.tolist(), None, np.ma.array(X), torch.from_numpy(X)):
        with pytest.raises(TypeError, match=r"input: got .*the plan was made for"):
            plan(kind)
    for out in (right[:1], right[0], right.reshape(2, 6, 6, 7)):
        with pytest.raises(RuntimeError, match="out: got shape"):
            plan(X, out=out)
    for out in (right.astype("f8"), right.tolist(), 0):
        with pytest.raises(TypeError, match="out: got"):
            plan(X, out=out)
    right.setflags(write=False)
    with pytest.raises(ValueError, match="out: got a read-only array"):
        plan(X, out=right)
    for shape, error in (
        ((2, 3, 9, 8), RuntimeError),
        ((2, 4), RuntimeError),
        (8, TypeError),
        ((2, 4, 1, 8), RuntimeError),
    ):
        with pytest.raises(error):
            fastconv.plan_conv2d(shape, W, B)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="bias"):
        fastconv.plan_conv2d(X.shape, W, B[:2])
    with pytest.raises(ValueError, match="no_such"):
        fastconv.plan_conv2d(X.shape, W, backend="no_such")
    for use in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="plan_conv2d"):
            use(plan)


def test_no_references_are_left_behind() -> None:
    plan, out = fastconv.plan_conv2d(X.shape, W, B), np.empty((2, 6, 7, 6), "f4")
    seen = X, out, plan, None, NotImplemented, np.dtype("f4")
    plan(X)
    tracemalloc.start()
    before, start = [sys.getrefcount(each) for each in seen], tracemalloc.get_traced_memory()[0]
    for _ in range(20_000):
        plan(X)
        plan(X, out=out)
    after, end = [sys.getrefcount(each) for each in seen], tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert max(abs(one - other) for one, other in zip(before, after, strict=True)) < 50
    assert end - start < 10_000


@pytest.mark.parametrize("name", ["direct", "winograd", "two threads"])
def test_threads_share_a_plan(name: str) -> None:
    x, w, how = LAYERS[name]
    plan = fastconv.plan_conv2d(x, array(*w), **how)
    images = [array(*x) + number for number in range(4)]
    expected, wrong = [plan(image) for image in images], list[int]()

    def call(me: int) -> None:
        out = np.empty(plan.output_shape, "f4")
        for turn in range(200):
            number = (me + turn) % 4
            found = plan(images[number], out=out) if turn % 2 else plan(images[number])
            if not np.array_equal(found, expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(me,)) for me in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@needs_fast_way
def test_the_slow_way_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = fastconv.plan_conv2d(X.shape, W, B)
    monkeypatch.setattr(objects, "has_lock", lambda: False)
    slow, out = fastconv.plan_conv2d(X.shape, W, B), np.empty((2, 6, 7, 6), "f4")
    assert quick._known(X, None) is not NotImplemented
    assert slow._known(X, None) is NotImplemented
    np.testing.assert_array_equal(slow(X), quick(X))
    np.testing.assert_array_equal(slow(X, out=out), quick(X))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors(dtype: torch.dtype) -> None:
    x, w, b = (torch.from_numpy(each).to(dtype) for each in (X, W, B))
    plan = ours.plan_conv2d(X.shape, torch.nn.Parameter(w), b, padding=1)
    assert isinstance(plan, Conv2dPlan)
    expected = ours.conv2d(x, w, b, padding=1)
    found, out = plan(x), torch.empty(plan.output_shape, dtype=dtype)
    assert found.dtype is dtype
    torch.testing.assert_close(found, expected)
    version = out._version
    assert plan(x, out=out) is out
    assert out._version > version
    assert torch.equal(out, found)
    last = x.contiguous(memory_format=torch.channels_last)
    assert plan(last).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plan(last), found)
    strided = torch.empty((*plan.output_shape[:3], 16), dtype=dtype)[..., ::2]
    assert torch.equal(plan(x, out=strided), found)
    with torch.inference_mode():
        assert torch.equal(plan(x.clone(), out=torch.empty_like(out)), found)
    with torch.no_grad():
        assert torch.equal(plan(x.clone().requires_grad_()), found)
    assert torch.equal(ours.plan_conv2d(X.shape[1:], w, b, padding=1)(x[0]), found[0])


def test_what_a_plan_of_tensors_refuses() -> None:
    x, w = torch.from_numpy(X), torch.from_numpy(W)
    plan = ours.plan_conv2d(X.shape, w)
    with pytest.raises(RuntimeError, match="record no gradients"):
        plan(x.clone().requires_grad_())
    with pytest.raises(RuntimeError, match="record no gradients"):
        torch.vmap(plan)(x[None])
    with pytest.raises(RuntimeError, match="record no gradients"):
        plan(x, out=torch.empty(plan.output_shape, requires_grad=True))
    for wrong in (X, x.double(), x.to_sparse(), x.to("meta"), None):
        with pytest.raises(TypeError, match="the plan was made for"):
            plan(wrong)
    with pytest.raises(RuntimeError, match="the plan was made for"):
        plan(x[:1])
    with pytest.raises(TypeError, match="weight"):
        ours.plan_conv2d(X.shape, w.to("meta"))
    with pytest.raises(TypeError, match="bias"):
        ours.plan_conv2d(X.shape, w, B)
