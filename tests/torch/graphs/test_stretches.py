"""Stretches of a graph that run as one network: its results are torch's, and what it can't hold stays torch's."""

from __future__ import annotations

import copy
import gc
import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fastconv
from fastconv.backends.numba_cpu.fused.network import slabs
from fastconv.backends.numba_cpu.fused.network.plan import NumbaNetwork
from fastconv.torch.graphs.networks.stretches import as_a_function
from tests.torch.graphs.compiling import assert_alike, captured, compiled, steps_of


@contextmanager
def ran() -> Iterator[list[bool]]:
    """Collects, for each run of a network, whether it gave the result."""
    found: list[bool] = []
    genuine = NumbaNetwork.run

    def run(self: NumbaNetwork, *arrays: Any) -> bool:
        found.append(genuine(self, *arrays))
        return found[-1]

    with patch.object(NumbaNetwork, "run", run):
        yield found


class Layers(nn.Module):
    """Layers that the functions below use, each as often as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1, bias=False)
        self.third = nn.Conv2d(16, 8, 3, padding=1)
        self.down, self.deep = nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze, self.excite = nn.Conv2d(8, 3, 1), nn.Conv2d(3, 8, 1)
        self.up, self.grouped = nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ConvTranspose2d(8, 16, 3, 2, 1, 1, 4, False, 2)
        self.norm, self.wide = nn.BatchNorm2d(8), nn.BatchNorm2d(16)
        self.linear, self.head = nn.Linear(8, 21), nn.Linear(21, 5, bias=False)
        for norm in (self.norm, self.wide):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)


def _excited(m: Any, x: Tensor) -> Tensor:
    y = F.hardswish(m.norm(m.first(x)))
    factors = F.hardsigmoid(m.excite(F.relu(m.squeeze(F.adaptive_avg_pool2d(y, 1)))))
    return m.second(factors * y)


def _excited_in_place(m: Any, x: Tensor) -> Tensor:
    y = m.first(x)
    y *= torch.sigmoid(m.excite(F.silu(m.squeeze(y.mean((2, 3), keepdim=True)))))
    return m.second(y)


def _joined(m: Any, x: Tensor) -> Tensor:
    y = m.first(x)
    return m.third(torch.cat([F.relu(m.second(y)), m.deep(y)], 1))


def _dense(m: Any, x: Tensor) -> Tensor:
    one = m.first(x)
    two = m.second(F.relu(m.norm(torch.cat([one], 1)), inplace=True))
    three = m.third(F.relu(m.wide(torch.cat([one, two], 1)), inplace=True))
    return torch.cat([one, two, three], 1)


def _shuffled(m: Any, x: Tensor) -> Tensor:
    left, right = m.third(torch.cat([x, m.first(x)], 1)).chunk(2, dim=1)
    y = torch.cat((left, right, F.relu(right)), dim=1)
    N, C, H, W = y.shape
    y = y.view(N, 2, C // 2, H, W).transpose(1, 2).contiguous().view(N, C, H, W)
    return m.third(torch.cat([y, left], 1)) + m.first(torch.cat([right, left], 1))


def _pooled(m: Any, x: Tensor) -> Tensor:
    y = F.max_pool2d(m.first(x), 3, 2, ceil_mode=True)
    z = F.avg_pool2d(m.second(y), 3, 1, 1, count_include_pad=False)
    return F.adaptive_avg_pool2d(F.leaky_relu(z), (1, None))


def _enlarged(m: Any, x: Tensor) -> Tensor:
    """With a bias and without, in groups, with a normalisation and activations behind them."""
    y = F.relu(m.wide(m.grouped(m.second(x))))
    return m.up(F.leaky_relu(m.up(F.gelu(m.third(y)))))


def _split(m: Any, x: Tensor) -> Tensor:
    y = m.third(torch.cat([x, m.first(x)], 1))
    few, more = y.split([3, 5], 1)
    a, b, c = torch.split(y, [2, 2, 4], dim=-3)
    return m.third(torch.cat([torch.tanh(more), few, a, F.gelu(c, approximate="tanh"), b], 1))


def _classified(m: Any, x: Tensor) -> Tensor:
    y = F.dropout(torch.flatten(F.adaptive_avg_pool2d(m.down(x), (1, 1)), 1), 0.5, False)
    return m.head(F.relu(m.linear(y), inplace=True))


def _residual(m: Any, x: Tensor) -> Tensor:
    y = m.norm(m.first(x))
    y += m.second(x)
    z = F.max_pool2d(F.relu(y), 2)
    return F.relu(m.deep(z) + z)


def _activated_alone(m: Any, x: Tensor) -> Any:
    """The pooling gives its argument, and so does the flattening; each is activated where the argument is read too."""
    y = m.first(x)
    z = F.relu(F.adaptive_avg_pool2d(y, y.shape[2:]))
    small = F.adaptive_avg_pool2d(z, 1)
    return m.second(y), z, F.relu(small.flatten(1)), small * 2.0


def _several(m: Any, x: Tensor) -> Any:
    y = m.first(x)
    return F.relu(m.second(y)), y, m.deep(y).mean((2, 3))


ONE: dict[str, Callable[[Any, Tensor], Any]] = {
    "squeeze and excite": _excited,
    "squeeze and excite in place": _excited_in_place,
    "concatenation": _joined,
    "concatenations of concatenations": _dense,
    "channel shuffle": _shuffled,
    "poolings": _pooled,
    "transposed convolutions": _enlarged,
    "channels in several parts": _split,
    "linear layers": _classified,
    "residuals": _residual,
    "several results": _several,
}
"""Functions that are one network each."""


class Model(nn.Module):
    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.layers, self.function = Layers(), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.layers, x)


def _model(name: str) -> nn.Module:
    return Model({**ONE, "same": _activated_alone}[name]).double().eval()


def _images(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, 8, 11, 9, dtype=dtype)


@pytest.mark.parametrize("name", ONE)
@torch.no_grad()
def test_one_network(name: str) -> None:
    """The sizes of the batch change, and a batch of one has the parts of concatenations where they belong."""
    model = _model(name)
    run = compiled(model)
    with captured() as graphs, ran() as runs:
        for n in (1, 3, 2, 1):
            x = _images(n)
            before = x.clone()
            assert_alike(run(x), model(x), 1e-12)
            assert torch.equal(x, before)
    assert runs == [True] * 4
    assert all([name for name in steps_of([graph]) if name != "getitem"] == ["network"] for graph in graphs)


@pytest.mark.parametrize("name", ONE)
@torch.no_grad()
def test_a_graph_of_one_network_with_one_result_needs_no_code(name: str) -> None:
    with captured() as graphs:
        compiled(_model(name))(_images(2))
    several = "getitem" in steps_of(graphs)
    assert several or name != "several results"
    assert (as_a_function(graphs[0].graph) is None) == several


@torch.no_grad()
def test_what_gives_its_argument_is_a_value_of_its_own() -> None:
    model, x = _model("same"), _images(2)
    with ran() as runs:
        assert_alike(compiled(model)(x), model(x), 1e-12)
    assert runs == [True]


@pytest.mark.parametrize("name", ["squeeze and excite", "several results"])
@torch.no_grad()
def test_results_stay_as_they_are(name: str) -> None:
    """Neither a further call, nor what is written to another result, changes a result."""
    model = _model(name)
    run = compiled(model)
    kept = run(_images(2))
    before = copy.deepcopy(kept)
    other = run(_images(2))
    for each in [other] if isinstance(other, Tensor) else other:
        each.fill_(7.0)
    assert_alike(kept, before, 0)
    results = [each for found in (kept, other) for each in ([found] if isinstance(found, Tensor) else found)]
    assert len({each.untyped_storage().data_ptr() for each in results}) == len(results)


@pytest.mark.parametrize("name", ONE)
@torch.no_grad()
def test_any_number_of_threads_gives_the_same_bits(name: str) -> None:
    model, x = _model(name).float(), torch.randn(2, 8, 40, 40)
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


def _in_place(layer: nn.Conv2d) -> None:
    layer.weight.mul_(1.5)


def _swapped(layer: nn.Conv2d) -> None:
    layer.weight.data = torch.randn_like(layer.weight)


def _by_numpy(layer: nn.Conv2d) -> None:
    layer.weight.detach().numpy()[...] = 0.25


def _loaded(layer: nn.Conv2d) -> None:
    layer.load_state_dict({name: value + 0.5 for name, value in layer.state_dict().items()})


def _replaced(layer: nn.Conv2d) -> None:
    layer.weight = nn.Parameter(torch.randn_like(layer.weight))


def _exchanged(layer: nn.Conv2d) -> None:
    gc.collect()
    if weakref.getweakrefcount(layer.weight):
        pytest.skip("torch swaps no tensor with weak references, and what traced the model has one still")
    torch.utils.swap_tensors(layer.weight, nn.Parameter(torch.randn_like(layer.weight)))


def _stepped(layer: nn.Conv2d) -> None:
    layer.weight.grad = torch.ones_like(layer.weight)
    torch.optim.SGD(layer.parameters(), 0.1).step()


@pytest.mark.parametrize("change", [_in_place, _swapped, _by_numpy, _loaded, _replaced, _exchanged, _stepped])
@pytest.mark.parametrize("which", ["first", "second", "deep", "linear"])
@torch.no_grad()
def test_weights_that_change(change: Callable[[Any], None], which: str) -> None:
    """Packed, read in place, of single channels, of a linear layer: the next call has the new weight."""

    def function(m: Any, x: Tensor) -> Tensor:
        return m.linear(F.relu(m.deep(m.second(m.first(x)))).mean((2, 3)))

    model, x = Model(function).double().eval(), _images(1)
    run = compiled(model)
    with ran() as runs:
        run(x)
        before = model(x)
        change(getattr(model.layers, which))
        after = model(x)
        assert float((before - after).abs().max()) > 1e-6
        assert_alike(run(x), after, 1e-12)
    # What torch has no count of shows in a run, which is done again.
    assert runs == ([True, False, True] if change is _by_numpy else [True] * 2)


@pytest.mark.parametrize("place", [0, 1, 39])
@torch.no_grad()
def test_a_number_of_a_vector_that_changes_unseen_by_torch(place: int) -> None:
    """Statistics, biases and the other vectors are compared whole, for the sizes that were there and for new ones."""
    norm = nn.BatchNorm2d(40)
    layers = nn.Sequential(nn.Conv2d(3, 40, 3), norm, nn.ReLU(), nn.MaxPool2d(3), nn.Conv2d(40, 5, 1)).double().eval()
    run = compiled(layers)
    for number, vector in enumerate(each for each in layers.state_dict().values() if each.ndim == 1):
        run(torch.randn(2, 3, 9, 9, dtype=torch.float64))
        vector.numpy()[min(place, len(vector) - 1)] += 0.5
        with ran() as runs:
            for x in (torch.randn(2 + number % 2, 3, 9, 9, dtype=torch.float64), torch.randn(2, 3, 9, 9).double()):
                assert_alike(run(x), layers(x), 1e-12)
        assert runs[-1]


@pytest.mark.parametrize("size", [1, 30_000, 100_000])
@pytest.mark.parametrize("name", ONE)
@torch.no_grad()
def test_slabs(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs of one image, and of more images the further on: the results are those of the whole batch."""
    monkeypatch.setattr(slabs, "SLAB_BYTES", size)
    monkeypatch.setattr(slabs, "_BUSY", math.inf)
    model = _model(name)
    run = compiled(model)
    with ran() as runs:
        for n in (6, 5):
            x = _images(n)
            before = x.clone()
            assert_alike(run(x), model(x), 1e-12)
            assert torch.equal(x, before)
    assert runs == [True] * 2


@torch.no_grad()
def test_numbers_that_are_not_finite() -> None:
    """A network sees where they would spread; then the calls run one by one."""
    model = _model("concatenation")
    run = compiled(model)
    for value in (float("inf"), float("nan")):
        x = _images(1)
        x[0, 0, 5, 5] = value
        assert_alike(run(x), model(x), 1e-12)
    model.layers.first.weight[0, 0, 1, 1] = float("inf")
    x = _images(1)
    assert_alike(run(x), model(x), 1e-12)


@torch.no_grad()
def test_a_weight_with_empty_rows_is_still_a_network() -> None:
    """Minimal filtering would show its rounding there, so such a weight is packed for another algorithm."""
    layers = nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.MaxPool2d(3)
    model, x = nn.Sequential(*layers).eval(), torch.randn(1, 32, 28, 28)
    layers[0].weight[:, :, 0] = 0.0
    with ran() as runs:
        assert_alike(compiled(model)(x), model(x), 1e-5)
    assert runs == [True]


def test_gradients_are_recorded_where_they_are_wanted() -> None:
    model, x = _model("squeeze and excite in place"), _images(2).requires_grad_()
    mine = copy.deepcopy(model)
    run = compiled(mine)
    with ran() as runs, torch.no_grad():
        assert_alike(run(x), model(x), 1e-12)
    assert runs == [True]
    for each, of in ((run, mine), (model, model)):
        (grad,) = torch.autograd.grad(each(x).square().sum(), x, create_graph=True)
        grad.square().sum().backward()
        assert x.grad is not None
        of.found = x.grad.clone(), {name: p.grad for name, p in of.named_parameters() if p.grad is not None}
        x.grad = None
    assert len(runs) == 1
    assert_alike(mine.found, model.found, 1e-9)


@torch.no_grad()
def test_gradients_that_a_model_records_by_itself() -> None:
    def function(m: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            return m.second(F.max_pool2d(m.down(m.first(x)), 3))

    model, x = Model(function).double().eval(), _images(2)
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
    model = _model("concatenation").float()
    run, x = compiled(model), _images(2, torch.float32)
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


ODD = [
    _written_to,
    _through_a_view,
    _images_written_to,
    _view_returned,
    _halves_returned,
    _sum_of_columns,
    _other_means,
]


@pytest.mark.parametrize("function", ODD)
@torch.no_grad()
def test_what_ends_a_stretch(function: Callable[[Any, Tensor], Any]) -> None:
    model, x = Model(function).double().eval(), _images(2)
    mine, theirs = x.clone(), x.clone()
    found, expected = compiled(model)(mine), model(theirs)
    assert_alike(found, expected, 1e-12)
    assert_alike(mine, theirs, 1e-12)
    if isinstance(found, tuple):
        shared = [len({each.untyped_storage().data_ptr() for each in several}) for several in (found, expected)]
        assert shared[0] == shared[1]
