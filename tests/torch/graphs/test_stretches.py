"""Stretches of a graph that run as one network: its results are torch's, and what it can't hold stays torch's."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fastconv
from fastconv.backends.numba_cpu.fused.network import slabs
from fastconv.torch.graphs.networks.stretches import as_a_function
from tests.probes import by_fast_way
from tests.torch.graphs.compiling import assert_alike, captured, compiled, steps_of
from tests.torch.graphs.stretches import ONE, Model, images, model_of, ran


@pytest.mark.parametrize("name", ONE)
@torch.no_grad()
def test_one_network(name: str) -> None:
    """The sizes of the batch change, and a batch of one has the parts of concatenations where they belong."""
    model = model_of(name)
    run = compiled(model)
    with captured() as graphs, ran() as runs:
        for n in (1, 3, 2, 1):
            x = images(n)
            before = x.clone()
            assert_alike(run(x), model(x), 1e-12)
            assert torch.equal(x, before)
    assert runs == by_fast_way([True] * 4)
    assert all([name for name in steps_of([graph]) if name != "getitem"] == ["network"] for graph in graphs)


@pytest.mark.parametrize("name", ONE)
@torch.no_grad()
def test_a_graph_of_one_network_with_one_result_needs_no_code(name: str) -> None:
    with captured() as graphs:
        compiled(model_of(name))(images(2))
    several = "getitem" in steps_of(graphs)
    assert several or name != "several results"
    assert (as_a_function(graphs[0].graph) is None) == several


@torch.no_grad()
def test_what_gives_its_argument_is_a_value_of_its_own() -> None:
    model, x = model_of("same"), images(2)
    with ran() as runs:
        assert_alike(compiled(model)(x), model(x), 1e-12)
    assert runs == by_fast_way([True])


@pytest.mark.parametrize("name", ["squeeze and excite", "several results"])
@torch.no_grad()
def test_results_stay_as_they_are(name: str) -> None:
    """Neither a further call, nor what is written to another result, changes a result."""
    model = model_of(name)
    run = compiled(model)
    kept = run(images(2))
    before = copy.deepcopy(kept)
    other = run(images(2))
    for each in [other] if isinstance(other, Tensor) else other:
        each.fill_(7.0)
    assert_alike(kept, before, 0)
    results = [each for found in (kept, other) for each in ([found] if isinstance(found, Tensor) else found)]
    assert len({each.untyped_storage().data_ptr() for each in results}) == len(results)


@pytest.mark.parametrize("name", ONE)
@torch.no_grad()
def test_any_number_of_threads_gives_the_same_bits(name: str) -> None:
    model, x = model_of(name).float(), torch.randn(2, 8, 40, 40)
    run = compiled(model)
    found = []
    before = fastconv.get_num_threads()
    try:
        for threads in (1, 2, 3):
            fastconv.set_num_threads(threads)
            found.append(run(x))
    finally:
        fastconv.set_num_threads(before)
    for other in found[1:]:
        assert_alike(other, found[0], 0)


@pytest.mark.parametrize("size", [1, 30_000, 100_000])
@pytest.mark.parametrize("name", ONE)
@torch.no_grad()
def test_slabs(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs of one image, and of more images the further on: the results are those of the whole batch."""
    monkeypatch.setattr(slabs, "SLAB_BYTES", size)
    monkeypatch.setattr(slabs, "_BUSY", math.inf)
    model = model_of(name)
    run = compiled(model)
    with ran() as runs:
        for n in (6, 5):
            x = images(n)
            before = x.clone()
            assert_alike(run(x), model(x), 1e-12)
            assert torch.equal(x, before)
    assert runs == by_fast_way([True] * 2)


@torch.no_grad()
def test_numbers_that_are_not_finite() -> None:
    """A network sees where they would spread; then the calls run one by one."""
    model = model_of("concatenation")
    run = compiled(model)
    for value in (float("inf"), float("nan")):
        x = images(1)
        x[0, 0, 5, 5] = value
        assert_alike(run(x), model(x), 1e-12)
    model.layers.first.weight[0, 0, 1, 1] = float("inf")
    x = images(1)
    assert_alike(run(x), model(x), 1e-12)


@torch.no_grad()
def test_a_weight_with_empty_rows_is_still_a_network() -> None:
    """Minimal filtering would show its rounding there, so such a weight is packed for another algorithm."""
    layers = nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.MaxPool2d(3)
    model, x = nn.Sequential(*layers).eval(), torch.randn(1, 32, 28, 28)
    layers[0].weight[:, :, 0] = 0.0
    with ran() as runs:
        assert_alike(compiled(model)(x), model(x), 1e-5)
    assert runs == by_fast_way([True])


def test_gradients_are_recorded_where_they_are_wanted() -> None:
    model, x = model_of("squeeze and excite in place"), images(2).requires_grad_()
    mine = copy.deepcopy(model)
    run = compiled(mine)
    with ran() as runs, torch.no_grad():
        assert_alike(run(x), model(x), 1e-12)
    assert runs == by_fast_way([True])
    for each, of in ((run, mine), (model, model)):
        (grad,) = torch.autograd.grad(each(x).square().sum(), x, create_graph=True)
        grad.square().sum().backward()
        assert x.grad is not None
        of.found = x.grad.clone(), {name: p.grad for name, p in of.named_parameters() if p.grad is not None}
        x.grad = None
    assert len(runs) == by_fast_way(1)
    assert_alike(mine.found, model.found, 1e-9)


@torch.no_grad()
def test_gradients_that_a_model_records_by_itself() -> None:
    def function(m: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            return m.second(F.max_pool2d(m.down(m.first(x)), 3))

    model, x = Model(function).double().eval(), images(2)
    mine = copy.deepcopy(model)
    with ran() as runs:
        for each, of in ((compiled(mine), mine), (model, model)):
            found = each(x)
            with torch.enable_grad():
                found.square().sum().backward()
            of.found = {name: p.grad for name, p in of.named_parameters() if p.grad is not None}
    assert not runs
    assert len(mine.found) == 5
    assert_alike(mine.found, model.found, 1e-9)


@torch.no_grad()
def test_tensors_of_another_kind() -> None:
    """Images in channels_last, under autocast, and in half precision are torch's."""
    model = model_of("concatenation").float()
    run, x = compiled(model), images(2, torch.float32)
    with ran() as runs:
        assert_alike(run(x.to(memory_format=torch.channels_last)), model(x), 1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            assert run(x).dtype is torch.bfloat16
        model.bfloat16()
        assert run(x.bfloat16()).dtype is torch.bfloat16
    assert not runs


def _written_to(m: Any, x: Tensor) -> Any:
    y = m.first(x)
    z = m.second(y)
    y.mul_(2.0)
    return m.second(z) + y


def _through_a_view(m: Any, x: Tensor) -> Any:
    y = m.third(torch.cat([m.first(x), x], 1))
    left, right = y.chunk(2, 1)
    left += right
    return m.second(y)


def _images_written_to(m: Any, x: Tensor) -> Any:
    y = m.first(x)
    x += m.second(y)
    return m.second(x)


def _view_returned(m: Any, x: Tensor) -> Any:
    y = m.second(m.first(x))
    return y, y.flatten(1)


def _halves_returned(m: Any, x: Tensor) -> Any:
    return m.second(m.first(x)).chunk(2, 1)


def _sum_of_columns(m: Any, x: Tensor) -> Any:
    y = m.second(m.first(x))
    return m.second(y + y[:, :, :, :1])


def _other_means(m: Any, x: Tensor) -> Any:
    y = m.second(m.first(x))
    return y.mean((1, 2)), y.mean(), torch.cat([y, y], 2), y * y


def _anchors(m: Any, x: Tensor) -> Tensor:
    """Channels as two axes are no value of a network, and no call of the stretch makes one of them."""
    y = m.third(torch.cat([x, m.first(x)], 1))
    N, _, H, W = y.shape
    return y.view(N, 2, 4, H, W).permute(0, 1, 3, 4, 2)


def _gates(m: Any, x: Tensor) -> Tensor:
    """The parts share their memory."""
    one, other = m.third(torch.cat([x, m.first(x)], 1)).chunk(2, 1)
    return m.second(torch.cat([one * other, one], 1))


def _other_slices(m: Any, x: Tensor) -> Any:
    y = m.second(F.max_pool2d(m.first(x), 3))
    z = m.third(torch.cat([y, y], 1)[:, ::1, 1:])
    return m.second(z[..., 1:]), m.second(z[1:]), z[:, :8, :, 1].sum(), z[:, ::2].sum(), z[:, 3:3].sum()


def _written_to_a_slice(m: Any, x: Tensor) -> Any:
    y = m.second(F.max_pool2d(m.first(x), 3))
    y[:, 2:5] += 1.0
    return m.second(y)


def _argument_returned(m: Any, x: Tensor) -> Any:
    y = F.dropout(x, 0.5, False)
    return y, m.second(F.max_pool2d(m.first(y), 3))


ODD: dict[Callable[[Any, Tensor], Any], list[str]] = {
    _written_to: ["network", "mul_", "step"],
    _through_a_view: ["network", "chunk", "iadd", "step"],
    _images_written_to: ["step", "iadd", "step"],
    _view_returned: ["step", "flatten"],
    _halves_returned: ["step", "chunk"],
    _sum_of_columns: ["step", "add", "step"],
    _other_means: ["step", "mean", "mean", "cat", "mul"],
    _anchors: ["network", "view", "permute"],
    _gates: ["network", "chunk", "mul", "network"],
    _other_slices: ["network", "step", "step", "step", "sum", "sum", "sum"],
    _written_to_a_slice: ["network", "iadd", "setitem", "step"],
    _argument_returned: ["dropout", "network"],
}
"""Functions with calls that no network can hold, and the steps of their graphs."""


@pytest.mark.parametrize("function", ODD)
@torch.no_grad()
def test_what_ends_a_stretch(function: Callable[[Any, Tensor], Any]) -> None:
    model, x = Model(function).double().eval(), images(2)
    mine, theirs = x.clone(), x.clone()
    with captured() as graphs:
        found = compiled(model)(mine)
    expected = model(theirs)
    assert [name for name in steps_of(graphs) if name != "getitem"] == ODD[function]
    assert_alike(found, expected, 1e-12)
    assert_alike(mine, theirs, 1e-12)
    if isinstance(found, tuple):
        shared = [len({each.untyped_storage().data_ptr() for each in several}) for several in (found, expected)]
        assert shared[0] == shared[1]
