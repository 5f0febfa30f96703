"""Models compiled with the backend, and compared with torch's own, step by step."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from fastconv.backends.numba_cpu.fused.network.training.plan import NumbaTrainableNetwork
from fastconv.torch import chain_autograd
from fastconv.torch.graphs import backend

genuine_backend = backend

if "fastconv" not in torch._dynamo.list_backends():  # an installation from before there was an entry point
    torch._dynamo.register_backend(backend, name="fastconv")


def compiled(model: Callable[..., Any], *, fullgraph: bool = True, **settings: Any) -> Callable[..., Any]:
    """Returns a model that runs by the backend; by default in a single graph."""
    return torch.compile(model, backend=backend, fullgraph=fullgraph, **settings)


def steps_of(graphs: list[torch.fx.GraphModule]) -> list[str]:
    """Returns the names of the functions that the graphs call, in order."""
    calls = [node for graph in graphs for node in graph.graph.nodes if node.op.startswith("call")]
    return [getattr(node.target, "__name__", str(node.target)) for node in calls]


@contextmanager
def captured() -> Iterator[list[torch.fx.GraphModule]]:
    """Collects the graphs that are rewritten meanwhile."""
    found: list[torch.fx.GraphModule] = []
    genuine = backend

    def collecting(graph: torch.fx.GraphModule, example_inputs: Any) -> Any:
        found.append(graph)
        return genuine(graph, example_inputs)

    with patch(f"{__name__}.backend", collecting):
        yield found


@contextmanager
def without_networks() -> Iterator[None]:
    """Leaves the steps in the graphs that are rewritten meanwhile, and puts no networks in their place."""
    with patch.object(sys.modules[genuine_backend.__module__], "put_networks", lambda graph, recorded: None):
        yield


@contextmanager
def trained() -> Iterator[list[bool]]:
    """Collects, for each forward and backward pass of a network that is trained, whether it gave the result."""
    found: list[bool] = []

    def noted(genuine: Callable[..., bool]) -> Callable[..., bool]:
        def run(*arguments: Any) -> bool:
            found.append(genuine(*arguments))
            return found[-1]

        return run

    passes: dict[str, Any] = {name: noted(getattr(NumbaTrainableNetwork, name)) for name in ("forward", "backward")}
    with patch.multiple(NumbaTrainableNetwork, **passes):
        yield found


@contextmanager
def chained() -> Iterator[list[chain_autograd.Run]]:
    """Collects the runs that are computed as one step meanwhile."""
    found: list[chain_autograd.Run] = []
    genuine = chain_autograd.apply

    def apply(run: chain_autograd.Run, x: Tensor) -> Tensor:
        found.append(run)
        return genuine(run, x)

    with patch.object(chain_autograd, "apply", apply):
        yield found


def twins(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Returns a model and its copy, in float64."""
    theirs = model.double()
    return theirs, copy.deepcopy(theirs)


def assert_alike(actual: Any, expected: Any, rounding: float = 1e-9) -> None:
    """Passes if nested tensors are equal but for ``rounding``, a share of each tensor's largest element."""
    if isinstance(expected, Tensor):
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        finite = expected.detach()[expected.isfinite()].abs()
        scale = float(finite.max()) if finite.numel() else 0.0
        torch.testing.assert_close(actual, expected, rtol=0, atol=rounding * (scale + 0.1), equal_nan=True)
    elif isinstance(expected, dict):
        assert list(actual) == list(expected)
        assert_alike(list(actual.values()), list(expected.values()), rounding)
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_alike(one, other, rounding)
    else:
        assert actual == expected


def steps_of_training(
    model: nn.Module, forward: Callable[..., Any], batches: list[Tensor], rate: float = 0.05
) -> list[Any]:
    """Returns losses, all gradients and buffers over a step of training on each batch, and the results in eval mode."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate, momentum=0.9)
    found: list[Any] = []
    for x in batches:
        model.train()
        optimizer.zero_grad()
        y = forward(x)
        loss = y.square().mean() + y.sin().mean()
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found.append((loss.detach(), gradients))
        optimizer.step()
        model.eval()
        with torch.no_grad():
            found.append(forward(x))
    found.append({name: value.clone() for name, value in model.state_dict().items()})
    return found
