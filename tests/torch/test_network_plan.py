"""Plans of networks give what the model gives, for every image of their shape."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastconv.errors import ArgumentError, ArgumentTypeError
from fastconv.torch import plan_network
from tests.torch.graphs.compiling import assert_alike
from tests.torch.graphs.networks import MODELS

X = torch.randn(2, 1, 14, 14, dtype=torch.float64)


class Written(nn.Module):
    """A convolution, and what a function makes of it and of the images."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(1, 4, 3, padding=1).double(), function

    def forward(self, *images: Tensor) -> Any:
        return self.function(self.conv, *images)


@pytest.mark.parametrize("name", MODELS)
def test_models_however_written(name: str) -> None:
    model = MODELS[name]().double().eval()
    plan = plan_network(model, X)
    assert plan.input_shapes == [(2, 1, 14, 14)]
    for x in (X, torch.randn_like(X), X.expand(1, 2, 1, 14, 14)[0], torch.randn_like(X).requires_grad_()):
        found = plan(x)
        assert_alike(found, model(x), 1e-12)
        assert not found.requires_grad


RESULTS: dict[str, Callable[..., Any]] = {
    "dictionary": lambda conv, x: {"a": F.relu(conv(x)), "b": [conv(x), 3, None]},
    "image too": lambda conv, x: (x, F.relu(conv(x))),
    "weight too": lambda conv, x: (F.relu(conv(x)), conv.weight),
    "twice": lambda conv, x: [y := conv(x).sigmoid(), y],
    "in place": lambda conv, x: conv(x.clone().mul_(2)).relu_(),
    "by shape": lambda conv, x: conv(x).relu() * x.shape[0] if x.shape[0] > 1 else conv(x),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_of_all_forms(name: str) -> None:
    model = Written(RESULTS[name]).eval()
    plan = plan_network(model, X)
    for x in (X, torch.randn_like(X)):
        found, expected = plan(x), model(x)
        leaves, structure = torch.utils._pytree.tree_flatten(found)
        theirs, wanted = torch.utils._pytree.tree_flatten(expected)
        assert structure == wanted
        for mine, other in zip(leaves, theirs, strict=True):
            if isinstance(other, Tensor):
                assert_alike(mine, other, 1e-12)
            else:
                assert mine == other


def test_an_image_that_is_the_result() -> None:
    x = torch.randn_like(X)
    assert plan_network(nn.Identity().eval(), X)(x) is x


def test_several_images() -> None:
    model = Written(lambda conv, x, y: conv(x).relu() - conv(y) * 2).eval()
    plan = plan_network(model, X, X)
    x, y = torch.randn_like(X), torch.randn_like(X)
    assert_alike(plan(x, y), model(x, y), 1e-12)
    assert_alike(plan(y, x), model(y, x), 1e-12)
    with pytest.raises(ArgumentError, match="images: got 1, but the plan is for 2"):
        plan(x)


def test_weights_that_change_are_seen() -> None:
    model = MODELS["Residual"]().double().eval()
    plan = plan_network(model, X)
    plan(X)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for each in other.parameters():
            each.mul_(1.5)
    model.load_state_dict(other.state_dict())
    assert_alike(plan(X), other(X), 1e-12)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            X[:1],
            ArgumentError,
            r"images: got \(1, 1, 14, 14\), torch.float64, cpu, but the plan is for \(2, 1, 14, 14\)",
        ),
        (X.float(), ArgumentError, "torch.float32"),
        (X.numpy(), ArgumentTypeError, "images: got ndarray, but they must be tensors"),
    ],
)
def test_other_images(x: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plan_network(Written(lambda conv, x: conv(x).relu()).eval(), X)(x)


def test_what_has_no_plan() -> None:
    with pytest.raises(ArgumentTypeError, match=r"model: got function, but it must be a torch\.nn\.Module"):
        plan_network(lambda x: x, X)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="images: got list"):
        plan_network(nn.ReLU().eval(), [1.0])  # type: ignore[arg-type]
    model = MODELS["Residual"]().double().eval()
    model.get_submodule("norm2").train()
    with pytest.raises(ArgumentError, match=r"model: got norm2 in training mode, but a plan needs model.eval\(\)"):
        plan_network(model, X)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        plan_network(Written(lambda conv, x: conv(x) if x.sum() > 0 else x).eval(), X)
    with pytest.raises(ArgumentError, match="compute something"):
        plan_network(Written(lambda conv, x: x.shape[0]).eval(), X)


def _hooked(x: Any) -> nn.Module:
    model = MODELS["Sequential"]().double().eval()
    model.register_forward_hook(lambda module, images, result: result * 2)
    model.get_submodule("0").register_forward_hook(lambda module, images, result: result + 1)
    return model


def _hooked_before(x: Any) -> nn.Module:
    model = MODELS["Sequential"]().double().eval()
    model.register_forward_pre_hook(lambda module, images: (images[0] * 2,))
    return model


@pytest.mark.parametrize("make", [_hooked, _hooked_before])
def test_hooks_run_in_each_call(make: Callable[[Any], nn.Module]) -> None:
    model = make(X)
    plan = plan_network(model, X)
    for x in (X, torch.randn_like(X)):
        assert_alike(plan(x), model(x), 1e-12)


@dataclass
class Held:
    """A result that torch can't take apart."""

    y: Tensor


@pytest.mark.parametrize("make", [lambda y: {y}, Held, lambda y: [Held(y)]], ids=["set", "object", "in a list"])
def test_results_that_hide_tensors_are_refused(make: Callable[[Tensor], Any]) -> None:
    model = Written(lambda conv, x: make(conv(x).relu())).eval()
    with pytest.raises(ArgumentError, match="a plan can't tell what images change"):
        plan_network(model, X)


def test_memory_is_given_back() -> None:
    model = MODELS["Residual"]().double().eval()
    plan = plan_network(model, X)
    plan(X)
    seen = weakref.ref(plan._graph), weakref.ref(model.conv1.weight)
    del plan, model
    gc.collect()
    assert [each() for each in seen] == [None, None]


def test_more_plans_than_torch_captures_by_itself() -> None:
    model = MODELS["Sequential"]().double().eval()
    images = [torch.randn(n, 1, 14, 14, dtype=torch.float64) for n in range(1, 12)]
    for plan, x in [(plan_network(model, x), x) for x in images]:
        assert_alike(plan(x), model(x), 1e-12)
    assert_alike(torch.compile(model, backend="eager", fullgraph=True)(images[0]), model(images[0]), 1e-12)


def test_several_threads() -> None:
    model = MODELS["Residual"]().double().eval()
    plan, wrong = plan_network(model, X), []

    def run() -> None:
        for _ in range(20):
            x = torch.randn_like(X)
            if float((plan(x) - model(x).detach()).abs().max()) > 1e-12:
                wrong.append(x)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
