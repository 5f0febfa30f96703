"""Which calls of a graph run together, and which only look as if they did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.probes import by_fast_way
from tests.torch.graphs.compiling import assert_alike, captured, chained, compiled, steps_of, twins, without_networks
from tests.torch.graphs.networks import MODELS

STEPS = {
    "Sequential": ["step"],
    "Tutorial": ["step", "log_softmax"],
    "Residual": ["network"],
    "Shared": ["network", "getitem", "getitem", "flip", "step"],
}
"""The calls of each model's graph in eval mode."""


@pytest.mark.parametrize("model", STEPS)
def test_what_runs_together(model: str) -> None:
    theirs, mine = twins(MODELS[model]().eval())
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    with captured() as graphs, torch.no_grad(), chained() as runs:
        assert_alike(compiled(mine)(x), theirs(x))
    assert steps_of(graphs) == STEPS[model]
    assert len(runs) == by_fast_way(STEPS[model].count("step"))


def _read_twice(conv: nn.Module, x: Tensor) -> Tensor:
    y = conv(x)
    return F.relu(y) + y.mean()


def _between(conv: nn.Module, x: Tensor) -> Tensor:
    y = conv(x)
    x.mul_(2.0)
    return F.relu(y)


def _view(conv: nn.Module, x: Tensor) -> Tensor:
    y = conv(x)
    z = y[0]
    F.relu(y, inplace=True)
    return z


PLAIN = None, None
APART: dict[str, tuple[Callable[[Any, Tensor], Any], list[Any]]] = {
    "read twice": (_read_twice, [PLAIN]),
    "something between": (_between, [PLAIN]),
    "a view of it": (_view, [PLAIN]),
    "returned too": (lambda conv, x: (y := conv(x), F.relu(y)), [PLAIN]),
    "its own weight": (lambda conv, x: F.conv2d(y := conv(x), y[:1, :, :3, :3]), [PLAIN]),
    "itself as its weight": (lambda conv, x: F.conv2d(y := conv(x), y), [PLAIN, PLAIN]),
    "its own bias": (lambda conv, x: F.conv2d(y := conv(x), torch.ones(4, 4, 1, 1), y[0, :, 0, 0]), [PLAIN]),
    "another slope": (lambda conv, x: F.leaky_relu(conv(x), 0.2), [PLAIN]),
    "tanh behind a pool": (lambda conv, x: torch.tanh(F.max_pool2d(conv(x), 2)), [(None, "max")]),
    "relu behind an average": (lambda conv, x: F.relu(F.avg_pool2d(conv(x), 2)), [(None, "avg")]),
    "windows of 3": (lambda conv, x: F.max_pool2d(conv(x), 3), [PLAIN]),
    "windows that overlap": (lambda conv, x: F.max_pool2d(conv(x), 2, 1), [PLAIN]),
    "windows that overhang": (lambda conv, x: F.max_pool2d(conv(x), 2, ceil_mode=True), [PLAIN]),
    "windows with a margin": (lambda conv, x: F.max_pool2d(conv(x), 2, padding=1), [PLAIN]),
    "indices": (lambda conv, x: F.max_pool2d(conv(x), 2, return_indices=True), [PLAIN]),
    "another divisor": (lambda conv, x: F.avg_pool2d(conv(x), 2, divisor_override=3), [PLAIN]),
    "statistics of the batch": (lambda conv, x: F.relu(F.batch_norm(conv(x), None, None, training=True)), [PLAIN]),
    "one image flattened": (lambda conv, x: F.linear(conv(x[:1]).flatten(), torch.ones(1, 4 * 7 * 8)), [PLAIN]),
    "pixels as features": (lambda conv, x: F.linear(conv(x).flatten(2), torch.ones(1, 7 * 8)), [PLAIN]),
    "linear of columns": (lambda conv, x: F.linear(conv(x), torch.ones(3, 8)), [PLAIN]),
}


@pytest.mark.parametrize("name", APART)
def test_what_does_not_run_together(name: str) -> None:
    """The last call of each looks like one that does."""
    function, blocks = APART[name]
    conv = nn.Conv2d(3, 4, 3)
    x = torch.randn(2, 3, 9, 10)
    with chained() as runs, without_networks():
        expected = function(conv, x.clone())
        assert_alike(compiled(lambda x: function(conv, x))(x), expected, 1e-5)
    assert [(block.activation, block.pool) for run in runs for block in run.chain.blocks] == by_fast_way(blocks)


def _inner(x: Tensor, channel: int = 0) -> Tensor:
    """Returns pixels of a channel as an image of the convolution's size."""
    return x[:, channel : channel + 1, 2:, 2:].contiguous()


def _written(conv: nn.Module, x: Tensor) -> Tensor:
    y = _inner(x) * 2
    z = y.view(y.shape)
    y += conv(x)
    return z


SUMS: dict[str, tuple[Callable[[Any, Tensor], Any], list[tuple[str | None, bool]]]] = {
    "sum": (lambda conv, x: (z := _inner(x), F.silu(conv(x) + z))[1], [("silu", True)]),
    "the other way round": (lambda conv, x: F.relu6(_inner(x) + conv(x)), [("relu6", True)]),
    "without activation": (lambda conv, x: torch.add(_inner(x), conv(x)), [(None, True)]),
    "pooled": (lambda conv, x: F.max_pool2d(F.hardswish(_inner(x) + conv(x)), 2), [("hardswish", True)]),
    "of other strides": (lambda conv, x: F.relu(conv(x) + x[:, :1, 2:, 2:]), [(None, False)]),
    "of several shapes": (lambda conv, x: F.relu(conv(x) + x[:, :1, :1, :1]), [(None, False)]),
    "of its own": (lambda conv, x: F.relu((y := conv(x)) + y), [(None, False)]),
    "in another's memory": (_written, [(None, False)]),
    "with a factor": (lambda conv, x: torch.add(conv(x), _inner(x), alpha=2), [(None, False)]),
    "after the activation": (lambda conv, x: F.relu(conv(x)) + _inner(x), [("relu", False)]),
    "twice": (lambda conv, x: _inner(x) + conv(x) + _inner(x, 1), [(None, True)]),
    "something between": (lambda conv, x: F.relu(conv(x) + _inner(x)), [(None, False)]),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_run_together_with_their_convolution(name: str) -> None:
    function, blocks = SUMS[name]
    conv = nn.Conv2d(2, 1, 3)
    x = torch.randn(2, 2, 9, 10).requires_grad_()
    with chained() as runs:
        y = compiled(lambda x: function(conv, x.clone()))(x)
    expected = function(conv, x.clone())
    assert_alike(y, expected, 1e-5)
    grad = torch.randn_like(expected)
    leaves = [x, *conv.parameters()]
    assert_alike(torch.autograd.grad(y, leaves, grad), torch.autograd.grad(expected, leaves, grad), 1e-5)
    assert [(block.activation, block.residual) for run in runs for block in run.chain.blocks] == by_fast_way(blocks)


FORMS: dict[str, tuple[Callable[[Tensor], Tensor], Any]] = {
    "F.relu": (F.relu, ("relu", None)),
    "F.relu, in place": (lambda y: F.relu(y, inplace=True), ("relu", None)),
    "F.relu, True": (lambda y: F.relu(y, True), ("relu", None)),
    "F.relu_": (F.relu_, ("relu", None)),
    "torch.relu": (torch.relu, ("relu", None)),
    "torch.relu_": (torch.relu_, ("relu", None)),
    "relu": (lambda y: y.relu(), ("relu", None)),
    "relu_": (lambda y: y.relu_(), ("relu", None)),
    "F.tanh": (F.tanh, ("tanh", None)),
    "torch.tanh": (torch.tanh, ("tanh", None)),
    "torch.tanh_": (torch.tanh_, ("tanh", None)),
    "tanh": (lambda y: y.tanh(), ("tanh", None)),
    "tanh_": (lambda y: y.tanh_(), ("tanh", None)),
    "nn.ReLU": (nn.ReLU(), ("relu", None)),
    "nn.Tanh": (nn.Tanh(), ("tanh", None)),
    "F.relu6": (F.relu6, ("relu6", None)),
    "F.relu6, in place": (lambda y: F.relu6(y, True), ("relu6", None)),
    "nn.ReLU6": (nn.ReLU6(), ("relu6", None)),
    "nn.Hardtanh": (nn.Hardtanh(0.0, 6.0), ("relu6", None)),
    "F.silu": (F.silu, ("silu", None)),
    "nn.SiLU": (nn.SiLU(inplace=True), ("silu", None)),
    "nn.Hardswish": (nn.Hardswish(), ("hardswish", None)),
    "nn.Hardsigmoid": (nn.Hardsigmoid(inplace=True), ("hardsigmoid", None)),
    "nn.LeakyReLU": (nn.LeakyReLU(), ("leaky_relu", None)),
    "F.leaky_relu": (F.leaky_relu, ("leaky_relu", None)),
    "nn.Sigmoid": (nn.Sigmoid(), ("sigmoid", None)),
    "F.gelu": (F.gelu, ("gelu", None)),
    "F.gelu, none": (lambda y: F.gelu(y, approximate="none"), ("gelu", None)),
    "nn.GELU": (nn.GELU(), ("gelu", None)),
    "nn.GELU, tanh": (nn.GELU("tanh"), ("gelu_tanh", None)),
    "F.max_pool2d": (lambda y: F.max_pool2d(y, (2, 2), [], 0), (None, "max")),
    "torch.max_pool2d": (lambda y: torch.max_pool2d(y, 2, stride=[2, 2]), (None, "max")),
    "nn.MaxPool2d": (nn.MaxPool2d(2, 2), (None, "max")),
    "F.avg_pool2d": (lambda y: F.avg_pool2d(y, 2), (None, "avg")),
    "F.avg_pool2d, divided by 4": (lambda y: F.avg_pool2d(y, 2, divisor_override=4), (None, "avg")),
    "nn.AvgPool2d": (nn.AvgPool2d(2, count_include_pad=False), (None, "avg")),
    "dropout": (lambda y: F.relu(F.dropout(y, 0.5, training=False)), ("relu", None)),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_what_follows(form: str) -> None:
    function, block = FORMS[form]
    conv, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 10, 9)
    with torch.no_grad(), chained() as runs:
        assert_alike(compiled(lambda x: function(conv(x)))(x), function(conv(x)), 1e-5)
    assert [(block.activation, block.pool) for run in runs for block in run.chain.blocks] == by_fast_way([block])


FLATTENINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.flatten": lambda y: torch.flatten(y, 1),
    "flatten": lambda y: y.flatten(start_dim=1),
    "nn.Flatten": nn.Flatten(),
    "view": lambda y: y.view(-1, 4 * 8 * 7),
    "view of the batch": lambda y: y.view(y.size(0), -1),
    "reshape": lambda y: y.reshape(y.shape[0], -1),
    "torch.reshape": lambda y: torch.reshape(y, (len(y), 4 * 8 * 7)),
}


@pytest.mark.parametrize("form", FLATTENINGS)
def test_forms_of_flattening(form: str) -> None:
    """For sizes that change too."""
    conv, linear = nn.Conv2d(3, 4, 3), nn.Linear(4 * 8 * 7, 5)

    def forward(x: Tensor) -> Tensor:
        return linear(FLATTENINGS[form](conv(x)))

    with torch.no_grad(), chained() as runs:
        run = compiled(forward)
        for n in (2, 3, 4):
            x = torch.randn(n, 3, 10, 9)
            assert_alike(run(x), forward(x), 1e-5)
    assert [len(run.chain.blocks) for run in runs] == by_fast_way([2, 2, 2])


@pytest.mark.parametrize("signs", [1, -1], ids=["positive", "negative"])
def test_a_rectifier_behind_max_pooling_is_one_before_it(signs: int) -> None:
    """Values and gradients are the same, of windows without a positive element and of NaN too."""
    conv, weight = nn.Conv2d(1, 2, 1, bias=False), torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1) * signs
    conv.weight.data.copy_(weight)
    x = torch.tensor(
        [[1.0, -2.0, 0.0, -0.0], [1.0, 3.0, -1.0, 0.0], [-4.0, -3.0, float("nan"), 5.0], [-3.0, -3.0, 2.0, 1]]
    )
    x = x.reshape(1, 1, 4, 4).requires_grad_()

    def forward(x: Tensor) -> Tensor:
        return F.relu(F.max_pool2d(conv(x), 2))

    with chained() as runs:
        y = compiled(forward)(x)
    expected = forward(x)
    assert_alike(y, expected)
    grad = torch.randn_like(expected)
    assert_alike(torch.autograd.grad(y, x, grad), torch.autograd.grad(expected, x, grad))
    assert [(block.activation, block.pool) for run in runs for block in run.chain.blocks] == by_fast_way(
        [("relu", "max")]
    )
