"""Whole networks, compiled: outputs, gradients of every parameter, and losses over several steps are torch's."""

from __future__ import annotations

import copy

import pytest
import torch

from fastconv.bench.networks import zoo
from fastconv.models import networks
from tests.probes import by_fast_way
from tests.torch.graphs.compiling import assert_alike, chained, compiled, steps_of_training, trained
from tests.torch.test_networks import NETWORKS, still


def _assert_same_network(model: torch.nn.Module, shape: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    theirs = still(model).double()
    mine = copy.deepcopy(theirs)
    # A larger rate lets rounding grow: after five steps of 0.01, gradients of torch's own resnext50 are 0.4 off for
    # images that are 1e-15 off.
    rate = 1e-4
    batches = [torch.randn(n, *shape, dtype=torch.float64) for n in sizes]
    with chained() as runs, trained() as passes:
        found = steps_of_training(mine, compiled(mine, fullgraph=False), batches, rate)
    has_convolutions = any(isinstance(layer, torch.nn.Conv2d) for layer in mine.modules())
    assert runs or passes or not by_fast_way(has_convolutions)
    assert_alike(found, steps_of_training(theirs, theirs, batches, rate), 1e-6)


LARGE = ("alexnet", "inception")


@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=[pytest.mark.long] if name in LARGE else []) for name in networks.names()]
)
def test_our_networks(network: str) -> None:
    subject = zoo.subject(zoo.OWN + network)
    _assert_same_network(zoo.build(subject), subject.shape, (2, 3))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # theirs, about themselves
@pytest.mark.parametrize("network", NETWORKS)
def test_networks_of_others(network: str) -> None:
    make, (n, *shape) = NETWORKS[network]
    _assert_same_network(make(), tuple(shape), (n, n + 1, n + 2, n))
