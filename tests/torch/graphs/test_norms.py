"""Batch normalisations that train, in compiled models: which calls join them, and what they must leave alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.torch.graphs.compiling import (
    assert_alike,
    captured,
    compiled,
    steps_of,
    steps_of_training,
    twins,
    without_networks,
)
from tests.torch.graphs.networks import Residual


def norms_of(graphs: list[torch.fx.GraphModule]) -> list[tuple[Any, bool]]:
    """Returns the activation of each normalisation in the graphs, and whether it has a residual."""
    calls = [node for graph in graphs for node in graph.graph.nodes if getattr(node.target, "norm", None) is not None]
    return [(node.target.norm.activation, node.args[1] is not None) for node in calls]


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(n, 1, 16, 16, dtype=torch.float64, generator=generator) for n in (3, 4, 2)]


def test_residual_and_activation_join() -> None:
    theirs, mine = twins(Residual())
    with captured() as graphs, without_networks():
        found = steps_of_training(mine, compiled(mine), batches())
    training = [graph for graph in graphs if norms_of([graph])]
    # The second is followed by the branch; the branch's own takes the sum.
    assert norms_of(training[:1]) == [("relu", False), (None, False), ("relu", True)]
    assert "batch_norm" not in steps_of(training)
    assert_alike(found, steps_of_training(theirs, theirs, batches()))


class Odd(nn.Module):
    """Normalisations that share their statistics, keep none, average them all, or are read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.twice = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.without = nn.BatchNorm2d(4, track_running_stats=False, affine=False)
        self.average = nn.BatchNorm2d(4, momentum=None)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.twice(x)
        z = F.relu(self.twice(y + 1)) + y
        z = self.without(z)
        z += x[:, :1]  # of another shape
        return F.leaky_relu(self.average(z)).mean((2, 3))


@pytest.mark.filterwarnings("ignore")  # theirs: the average needs a graph of its own
@pytest.mark.parametrize("frozen", [False, True])
def test_odd_uses(frozen: bool) -> None:
    model = Odd()
    if frozen:
        model.twice.requires_grad_(False)
        model.conv.requires_grad_(False)
    theirs, mine = twins(model)
    assert_alike(
        steps_of_training(mine, compiled(mine, fullgraph=False), batches()),
        steps_of_training(theirs, theirs, batches()),
    )


def test_a_sum_in_place_of_what_others_read() -> None:
    """The residual is written into: that is no sum that a step may do."""
    norm = nn.BatchNorm2d(3)
    theirs, mine = twins(norm)

    def run(model: nn.Module, x: Tensor) -> Tensor:
        kept = x * 2
        kept += model(x)
        return F.relu(kept) + kept

    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    assert_alike(compiled(run)(mine, x), run(theirs, x))
    assert_alike(list(mine.buffers()), list(theirs.buffers()))


def test_autocast_and_checkpoints() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    mine = compiled(model)
    x = torch.randn(2, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mine(x), model(x))
    y = torch.utils.checkpoint.checkpoint(mine, x, use_reentrant=False)
    y.sum().backward()
    found = [p.grad.clone() for p in model.parameters()]  # type: ignore[union-attr]
    model.zero_grad()
    model(x).sum().backward()
    assert_alike(found, [p.grad for p in model.parameters()], 1e-4)
