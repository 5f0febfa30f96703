"""Converted models under torch's tracers: the graphs are those of torch's layers, and compute the same."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from fastconv.torch import ConvBlock2d, convert, revert
from tests.torch.networks import assert_as_torch, conversions, converted, images, network

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def no_graphs_left() -> Iterator[None]:
    yield
    torch._dynamo.reset()


@conversions
def test_torch_fx_keeps_layers_whole(conversion: str) -> None:
    traced = torch.fx.symbolic_trace(converted(conversion))
    nodes = [(node.op, node.target) for node in traced.graph.nodes]
    assert nodes == [(node.op, node.target) for node in torch.fx.symbolic_trace(network()).graph.nodes]
    assert_as_torch(traced(images()))
    assert_as_torch(torch.fx.symbolic_trace(traced)(images()))
    assert_as_torch(pickle.loads(pickle.dumps(traced))(images()))


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "Conv1d": (nn.Conv1d(3, 4, 3, 2, 1), (2, 3, 11)),
    "Conv2d": (nn.Conv2d(3, 4, 3, padding="same"), (2, 3, 7, 6)),
    "Conv2d reflect": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (2, 3, 7, 6)),
    "ConvTranspose1d": (nn.ConvTranspose1d(3, 4, 3, 2, 1, 1), (2, 3, 11)),
    "ConvTranspose2d": (nn.ConvTranspose2d(3, 4, 3, 2), (2, 3, 5, 6)),
    "MaxPool1d": (nn.MaxPool1d(3, 2, 1), (2, 3, 11)),
    "MaxPool2d": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 3, 7, 8)),
    "AvgPool1d": (nn.AvgPool1d(3, 2, 1), (2, 3, 11)),
    "AvgPool2d": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 3, 7, 8)),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d((3, None)), (2, 3, 7, 8)),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d(3), (2, 3, 7, 8)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_in_a_graph_and_as_one(name: str) -> None:
    """A layer traced by itself becomes torch's function; inside a model it is a node; torch.jit.trace and vmap work."""
    theirs, shape = LAYERS[name]
    layer = convert(copy.deepcopy(theirs).double(), "im2col")
    x = torch.randn(shape, dtype=torch.float64)
    expected = copy.deepcopy(theirs).double()(x)
    graphs: list[Any] = [torch.fx.symbolic_trace(nn.Sequential(layer)), torch.jit.trace(layer, x)]
    given = {"output_size": None} if "Transpose" in name else None
    graphs.append(torch.fx.symbolic_trace(layer, concrete_args=given))
    for graph in graphs:
        torch.testing.assert_close(graph(x), expected)
    torch.testing.assert_close(vmap(layer)(x[:, None])[:, 0], expected)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_tensors_alone(name: str) -> None:
    """As torch's, where functions would take arrays of NumPy's for poolings, and blame a convolution's weight."""
    layer, shape = LAYERS[name]
    with pytest.raises(TypeError, match=r"input: got ndarray, but a layer takes a torch.Tensor"):
        convert(copy.deepcopy(layer))(torch.randn(shape).numpy())


@conversions
@pytest.mark.parametrize("recording", [True, False])
def test_torch_jit_trace(conversion: str, recording: bool) -> None:
    """The traced model is torch's own, is saved as such, and has gradients for the input and the parameters."""
    with torch.set_grad_enabled(recording):
        traced = torch.jit.trace(converted(conversion), images())
    assert not [node for node in traced.inlined_graph.nodes() if "fastconv" in node.kind() or "PythonOp" in node.kind()]
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    again, theirs = torch.jit.load(file), network()
    assert_as_torch(again(images()))
    found, wanted = images().requires_grad_(), images().requires_grad_()
    again(found).sum().backward()
    theirs(wanted).sum().backward()
    torch.testing.assert_close(found.grad, wanted.grad)
    torch.testing.assert_close(dict(again.named_parameters())["0.weight"].grad, theirs[0].weight.grad)


@conversions
def test_torch_jit_script_says_what_to_do(conversion: str) -> None:
    model = converted(conversion)
    with pytest.raises(RuntimeError, match=r"call fastconv\.torch\.revert\(model\) first"):
        torch.jit.script(model)
    assert_as_torch(torch.jit.script(revert(model))(images()))


@conversions
@pytest.mark.filterwarnings("ignore:.*Function.*should not be instantiated:DeprecationWarning")
def test_torch_compile_in_one_graph(conversion: str) -> None:
    model = torch.compile(converted(conversion), backend="eager", fullgraph=True)
    for copies in (1, 2, 3):
        assert_as_torch(model(images().repeat(copies, 1, 1, 1))[:2])


@conversions
def test_gradients_of_each_image(conversion: str) -> None:
    """torch.func's functional_call, grad and vmap, together as people write it."""

    def gradients(model: nn.Module) -> Any:
        def loss(parameters: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
            return functional_call(model, parameters, (image[None],)).pow(2).sum()

        return vmap(grad(loss), (None, 0))(dict(model.named_parameters()), images())

    torch.testing.assert_close(gradients(converted(conversion)), gradients(network()))


@pytest.mark.parametrize("pool", ["max", "avg", None])
@pytest.mark.parametrize("activation", ["relu", "tanh", None])
def test_a_block_in_a_graph(activation: Any, pool: Any) -> None:
    block = ConvBlock2d(3, 4, 3, activation=activation, pool=pool, backend="im2col").double()
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    traced, written = torch.jit.trace(block, x), torch.fx.symbolic_trace(block)
    for graph in (traced, written, torch.fx.symbolic_trace(nn.Sequential(block))):
        torch.testing.assert_close(graph(x), block(x))
    assert "fastconv" not in written.code
    assert not [node for node in traced.graph.nodes() if "PythonOp" in node.kind()]
    torch.testing.assert_close(vmap(block)(x[:, None])[:, 0], block(x))
