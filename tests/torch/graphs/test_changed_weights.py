"""Weights that change between the calls of a network: the next call has the new ones."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastconv.torch.graphs import folding
from fastconv.torch.interface import tensor_interface
from tests.probes import by_fast_way
from tests.torch.graphs.compiling import assert_alike, compiled
from tests.torch.graphs.stretches import Model, images, ran


def _in_place(layer: nn.Conv2d) -> None:
    layer.weight.mul_(1.5)


def _one_element(layer: nn.Conv2d) -> None:
    """Change the second element, which isn't compared in a weight of 34 or more."""
    layer.weight.view(-1)[1] += 1


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


@pytest.mark.parametrize(
    "change", [_in_place, _one_element, _swapped, _by_numpy, _loaded, _replaced, _exchanged, _stepped]
)
@pytest.mark.parametrize("which", ["first", "second", "deep", "linear"])
@torch.no_grad()
def test_weights_that_change(change: Callable[[Any], None], which: str) -> None:
    """Packed, read in place, of single channels, of a linear layer: the next call has the new weight."""

    def function(m: Any, x: Tensor) -> Tensor:
        return m.linear(F.relu(m.deep(m.second(m.first(x)))).mean((2, 3)))

    model, x = Model(function).double().eval(), images(1)
    run = compiled(model)
    with ran() as runs:
        run(x)
        before = model(x)
        change(getattr(model.layers, which))
        after = model(x)
        assert float((before - after).abs().max()) > 1e-6
        assert_alike(run(x), after, 1e-12)
    # A change shows in a run, which is done again; before it only where torch's functions can't be called from there.
    shows = change is _by_numpy or tensor_interface() is not None
    assert runs == by_fast_way([True, False, True] if shows else [True] * 2)


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
        assert runs[-1:] == by_fast_way([True])


@torch.no_grad()
def test_packed_weights_are_given_up() -> None:
    """What was folded and packed isn't held twice; what is read in place is shared by the programs of all sizes."""
    norms = nn.BatchNorm2d(64), nn.BatchNorm2d(64)
    layers = nn.Conv2d(3, 64, 3), norms[0], nn.ReLU(), nn.MaxPool2d(3), nn.Conv2d(64, 64, 1), norms[1]
    model = nn.Sequential(*layers).eval()
    made: list[weakref.ref[Tensor]] = []
    genuine = folding.folded

    def folded(*arguments: Any) -> Any:
        found = genuine(*arguments)
        assert found is not None
        made.append(weakref.ref(found[0]))
        return found

    run = compiled(model)
    with ran() as runs, patch.object(folding, "folded", folded):
        for n in (1, 2, 3, 2):
            x = torch.randn(n, 3, 9, 9)
            assert_alike(run(x), model(x), 1e-5)
    gc.collect()
    assert runs == by_fast_way([True] * 4)
    if runs:
        shapes = [tuple(weight.shape) for reference in made if (weight := reference()) is not None]
        assert shapes == [(64, 64, 1, 1)] * 2  # Dynamo makes a graph of its own for the first size


@pytest.mark.parametrize("odd", ["row of zeros", "infinite", "NaN"])
@torch.no_grad()
def test_weights_that_minimal_filtering_cannot_take(odd: str) -> None:
    """Few patches would be transformed first, and the weight packed: the plan's fallback takes its place."""
    first = nn.Conv2d(8, 256, 3, padding=1)
    second = nn.Conv2d(256, 256, 3, padding=1)
    second.weight[:, :, 2] = 0
    if odd != "row of zeros":
        second.weight[3, 1, 0, 0] = float("inf" if odd == "infinite" else "nan")
    model = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(3, 1), second, nn.ReLU()).eval()
    run, other = compiled(model), torch.randn(1, 8, 8, 8)
    with ran() as runs:
        for x in (torch.randn(1, 8, 8, 8), other):
            torch.testing.assert_close(run(x), model(x), rtol=1e-4, atol=1e-4, equal_nan=True)
    assert runs == by_fast_way([True] * 2)
