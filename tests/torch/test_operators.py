"""The operators of torch.library: schema, fake kernels, tracing."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import fastconv
import fastconv.torch as fct
from fastconv.torch import functional as F
from fastconv.torch import library

CONV = ((2, 1), (1, 0, 2, 1), (1, 2), 2)
POOL = ((3, 2), (2, 2), (1, 1), (1, 1), True)


def _x(*shape: int, layout: torch.memory_format = torch.contiguous_format) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(memory_format=layout)


def _operands(layout: torch.memory_format) -> dict[str, tuple[Any, ...]]:
    x, w, grad = _x(2, 4, 7, 6, layout=layout), _x(6, 2, 3, 2), _x(2, 6, 3, 7, layout=layout)
    pooled = _x(2, 4, 4, 4, layout=layout)
    places = torch.arange(2 * 4 * 16).reshape(2, 4, 4, 4) % 42
    return {
        "conv2d": (x, w, _x(6), *CONV),
        "conv2d_input": (x.shape, w, grad, *CONV),
        "conv2d_weight": (x, w.shape, grad, *CONV),
        "max_pool2d": (x, *POOL),
        "max_pool2d_values": (x, *POOL),
        "max_pool2d_backward": (pooled, places, (7, 6)),
        "avg_pool2d": (x, *POOL, False, None),
        "avg_pool2d_backward": (pooled, x.shape, *POOL, True, 3),
        "adaptive_max_pool2d": (x, (3, 4)),
        "adaptive_max_pool2d_values": (x, (3, 4)),
        "adaptive_max_pool2d_gradient": (pooled, places, x.shape),
        "adaptive_avg_pool2d": (x, (3, 4)),
        "adaptive_avg_pool2d_backward": (pooled, x.shape),
        "unfold": (x, (3, 2), (2, 1), (1, 1, 0, 0), (1, 2), 1),
        "fold": (_x(2, 24, 16), (7, 6), (3, 2), (2, 1), (1, 1, 0, 0), (1, 2), 1),
    }


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("operator", _operands(torch.contiguous_format))
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_opcheck(operator: str, layout: torch.memory_format, backend: str) -> None:
    torch._dynamo.reset()
    arguments = (*_operands(layout)[operator], backend)
    results = torch.library.opcheck(getattr(torch.ops.fastconv, operator).default, arguments)
    assert set(results.values()) == {"SUCCESS"}
    assert len(results) == 4


class Network(nn.Module):
    """One of each layer."""

    def __init__(self, backend: str | None) -> None:
        super().__init__()
        self.images = nn.Sequential(
            fct.Conv2d(1, 4, 3, padding="same", backend=backend),
            nn.ReLU(),
            fct.ConvTranspose2d(4, 4, 3, 2, 1, 1, backend=backend),
            fct.MaxPool2d(2, backend=backend),
            fct.AvgPool2d(2, 1, backend=backend),
            fct.AdaptiveAvgPool2d((3, 4), backend=backend),
            fct.AdaptiveMaxPool2d(2, backend=backend),
        )
        self.lines = nn.Sequential(
            fct.Conv1d(4, 3, 3, backend=backend),
            fct.ConvTranspose1d(3, 3, 2, backend=backend),
            fct.MaxPool1d(2, 1, backend=backend),
            fct.AvgPool1d(2, 1, backend=backend),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lines(self.images(x).flatten(2))


@pytest.mark.parametrize(("dynamic", "named"), [(False, True), (True, False)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:torch._dynamo")
def test_compiles_to_one_graph(dynamic: bool, named: bool, backend: str, ran) -> None:
    """With the backend named in the layers, or chosen around the call."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = Network(backend if named else None)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    with nullcontext() if named else fastconv.use_backend(backend):
        for batch in (2, 3):
            x = _x(batch, 1, 9, 10)
            eager = network(x)
            torch.testing.assert_close(compiled(x), eager)
            wanted = torch.autograd.grad(eager.sum(), list(network.parameters()))
            found = torch.autograd.grad(compiled(x).sum(), list(network.parameters()))
            torch.testing.assert_close(found, wanted)
    assert {name for name, _ in ran} == {backend}


@pytest.mark.parametrize("layer", [fct.AdaptiveAvgPool2d((4, None)), fct.AdaptiveMaxPool2d(4)], ids=str)
@pytest.mark.parametrize(("dynamic", "graphs"), [(True, 1), (None, 2)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_adaptive_pooling_is_one_dynamic_graph(layer: nn.Module, dynamic: bool | None, graphs: int) -> None:
    """As torch's: whether windows are uniform, and how long, is no part of a graph."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, fullgraph=True, backend=counter, dynamic=dynamic)
    for height, width in ((9, 10), (12, 14), (11, 33), (57, 45), (3, 8)):
        x = _x(2, 3, height, width).requires_grad_()
        eager = layer(x)
        torch.testing.assert_close(compiled(x), eager)
        (found,), (wanted,) = (torch.autograd.grad(y.sum(), x) for y in (compiled(x), eager))
        torch.testing.assert_close(found, wanted)
    assert counter.frame_count == graphs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_compiles_through_inductor(backend: str) -> None:
    torch._dynamo.reset()
    layer = nn.Sequential(fct.Conv2d(1, 2, 3, backend=backend), nn.Tanh())
    x = _x(2, 1, 6, 6)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True)(x), layer(x))


def test_torch_func(backend: str) -> None:
    x, w = _x(2, 3, 6, 6), _x(4, 3, 3, 3)
    found = torch.func.grad(lambda weight: F.conv2d(x, weight, backend=backend).square().sum())(w)
    w.requires_grad_()
    (expected,) = torch.autograd.grad(nn.functional.conv2d(x, w).square().sum(), w)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_export(backend: str) -> None:
    layer = fct.Conv2d(1, 2, 3, backend=backend).eval()
    x = _x(2, 1, 6, 6)
    program = torch.export.export(layer, (x,))
    assert any("fastconv.conv2d" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), layer(x))


IMPORTED_AGAIN = """
import gc, sys, torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

x, layers = torch.randn(1, 2, 8, 8, requires_grad=True), []
for number in range(3):
    import fastconv.torch
    from fastconv.backends.im2col import Im2col
    ran = []
    class Own(Im2col):
        def conv2d(self, *operands):
            ran.append(number)
            return super().conv2d(*operands)
    names = [f"import {each}" for each in range(number + 1)]
    for name in names:
        fastconv.register_backend(Own(name))
    layers.append(fastconv.torch.convert(nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2)), names[-1]))
    for layer in layers:
        with FlopCounterMode(display=False) as counted:
            y = layer(x)
        found = torch.autograd.grad(y.sum(), x)[0]
        plain = nn.functional.max_pool2d(nn.functional.conv2d(x, layer[0].weight, layer[0].bias), 2)
        torch.testing.assert_close(found, torch.autograd.grad(plain.sum(), x)[0])
        assert counted.get_total_flops() == 2 * (2 * 3 * 9 * 36)
    assert ran == [number] * len(layers)
    for name in [name for name in sys.modules if name.startswith("fastconv")]:
        del sys.modules[name]
    gc.collect()
"""


def test_modules_that_are_dropped_and_imported_again() -> None:
    """The operators compute by the latest import's backends, for layers of the first one too."""
    subprocess.run([sys.executable, "-c", IMPORTED_AGAIN], check=True, timeout=120)


def test_an_operator_has_one_schema_a_process() -> None:
    with pytest.raises(RuntimeError, match="fastconv::conv2d: another version of fastconv"):
        library.define("conv2d(Tensor input) -> Tensor", torch.clone, torch.clone, lambda rule: rule)
