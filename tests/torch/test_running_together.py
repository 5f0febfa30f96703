"""When layers run together, and when each must be called by itself."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest
import torch
from torch import nn

import fastconv
from fastconv import registry
from fastconv.torch import Sequential, chain_autograd, chains
from tests.probes import needs_fast_way
from tests.runs import lengths
from tests.torch.together import images, model, runs_together

LISTENERS: dict[str, Callable[[nn.Module], object]] = {
    "forward hook": lambda layer: layer.register_forward_hook(lambda *_: None),
    "forward pre-hook": lambda layer: layer.register_forward_pre_hook(lambda *_: None),
    "backward hook": lambda layer: layer.register_full_backward_hook(lambda *_: None),
    "backward pre-hook": lambda layer: layer.register_full_backward_pre_hook(lambda *_: None),
}


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("which", [0, 1, 4])
def test_layers_that_somebody_listens_to_are_called(which: int, listener: str) -> None:
    mine = model("lenet5", "numba")
    x = images("lenet5").requires_grad_()
    together = mine(x)
    called: list[nn.Module] = []
    forward = type(mine[which]).forward
    LISTENERS[listener](mine[which])
    with mock.patch.object(type(mine[which]), "forward", lambda self, x: called.append(self) or forward(self, x)):
        y = mine(x)
    assert mine[which] in called
    torch.testing.assert_close(y, together)


@needs_fast_way
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*deprecated")  # torch's own, on the way to forward mode
def test_where_layers_are_called_one_by_one() -> None:
    mine = model("lenet5", "numba", torch.float32)
    x = images("lenet5", torch.float32)
    expected = mine(x)
    assert runs_together(expected)
    apart = torch.stack([x, x], -1)[..., 0]  # not contiguous: the first layer's result is
    assert not chains.is_plain(apart)
    assert lengths(mine, apart) == [6]
    torch.testing.assert_close(mine(apart), expected)
    with mock.patch.object(chain_autograd, "apply", side_effect=AssertionError("they ran together")):
        with torch.autocast("cpu", torch.bfloat16):
            assert mine(x).dtype == torch.bfloat16
        parameters = dict(mine.named_parameters())
        found = torch.func.grad(lambda p: torch.func.functional_call(mine, p, (x,)).square().sum())(parameters)
        with torch.autograd.forward_ad.dual_level():
            mine(torch.autograd.forward_ad.make_dual(x, x))
    reference = torch.autograd.grad(expected.square().sum(), list(mine.parameters()))
    for one, other in zip(found.values(), reference, strict=True):
        torch.testing.assert_close(one, other)
    mine[0].padding_mode = "circular"  # torch pads, and the convolution of what it gives is a run of its own
    assert lengths(mine, x) == [1, 6]
    short = Sequential(mine[0], mine[1])
    mine[0].padding_mode = "zeros"
    assert short(x[0]).shape == (16, 5, 5)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # torch's own, while it compiles a Function
def test_a_graph_that_is_compiled_has_the_layers_operators() -> None:
    mine = model("max pooling, no bias", "numba", torch.float32)
    x = images("max pooling, no bias", torch.float32)
    torch.testing.assert_close(torch.compile(mine, backend="aot_eager", fullgraph=True)(x), mine(x))
    exported = torch.export.export(mine, (x,))
    names = {str(node.target) for node in exported.graph.nodes}
    assert {"fastconv.conv2d.default", "fastconv.max_pool2d.default"} <= names, names
    torch.testing.assert_close(exported.module()(x), mine(x))


@needs_fast_way
def test_a_run_ends_where_the_backend_changes() -> None:
    mine = model("lenet5", "numba")
    expected = mine(images("lenet5"))
    mine[1].backend = "im2col"
    with mock.patch.object(chain_autograd, "apply", wraps=chain_autograd.apply) as runs:
        y = mine(images("lenet5"))
    assert [call.args[0].layers for call in runs.call_args_list] == [1, 5]
    torch.testing.assert_close(y, expected)


def test_a_forced_algorithm_is_kept_to() -> None:
    mine = model("lenet5", "numba:gemm")
    torch.testing.assert_close(mine(images("lenet5")), model("lenet5", "numba")(images("lenet5")))
    refused = model("strides, groups, dilation", "numba:winograd")
    with pytest.raises(fastconv.UnsupportedError, match="winograd"):
        refused(images("strides, groups, dilation"))


@pytest.mark.parametrize(
    ("shape", "error"),
    [((2, 2, 28, 28), RuntimeError), ((2, 1, 27, 4), RuntimeError), ((2, 1, 32, 32), RuntimeError)],
)
def test_images_that_do_not_fit_are_refused_by_the_layer(shape: tuple[int, ...], error: type[Exception]) -> None:
    mine = model("lenet5", "numba")
    x = torch.randn(shape, dtype=torch.float64)
    with pytest.raises(error) as theirs:
        nn.Sequential(*mine)(x)
    with pytest.raises(error) as found:
        mine(x)
    assert str(found.value) == str(theirs.value)


def test_empty_batches_and_other_types() -> None:
    mine = model("lenet5", "numba")
    assert mine(torch.empty(0, 1, 28, 28, dtype=torch.float64)).shape == (0, 5)
    with pytest.raises(RuntimeError):
        mine(torch.randn(1, 1, 28, 28))
    assert mine.bfloat16()(torch.randn(1, 1, 28, 28, dtype=torch.bfloat16)).dtype == torch.bfloat16


@needs_fast_way
def test_auto_runs_layers_together_too() -> None:
    mine = model("lenet5", "auto")
    assert runs_together(mine(images("lenet5"))) == (registry.get("numba").unavailable() is None)
