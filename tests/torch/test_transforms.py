"""Gradients of gradients, `torch.func`'s transforms and forward mode through converted layers, as through torch's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, stack_module_state, vmap

import fastconv.torch as fct
from fastconv.torch import functional as F

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*deprecated")  # torch's own, towards forward mode

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv2d(4, 6, 3, padding="same", groups=2),
    "strided, dilated, no bias": lambda: nn.Conv2d(4, 3, (2, 3), (2, 1), (1, 0), (1, 2), bias=False),
    "transposed": lambda: nn.ConvTranspose2d(4, 2, 3, 2, 1, 1, groups=2),
    "max pooling": lambda: nn.MaxPool2d(3, 2, 1),
    "average pooling": lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "adaptive average": lambda: nn.AdaptiveAvgPool2d((3, 2)),
    "adaptive maximum": lambda: nn.AdaptiveMaxPool2d((2, 3)),
    "run": lambda: nn.Sequential(nn.Conv2d(4, 3, 2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(3, 2, 1), nn.ReLU()),
}


def _images(*shape: int) -> torch.Tensor:
    return torch.randn(shape or (2, 4, 5, 5), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _pair(layer: str, backend: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    plain = LAYERS[layer]().double()
    return plain, fct.convert(copy.deepcopy(plain), backend, fuse=True)


def _assert_alike(layer: str, backend: str, find: Callable[[nn.Module], Any]) -> None:
    plain, mine = _pair(layer, backend)
    torch.testing.assert_close(find(mine), find(plain), rtol=1e-9, atol=1e-9)


def _cube(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: model(x).pow(3).sum()


BACKENDS = ["numba", "im2col"]


@pytest.mark.parametrize("by", BACKENDS)
@pytest.mark.parametrize("layer", LAYERS)
class TestEachLayer:
    def test_gradient_of_each_sample(self, layer: str, by: str) -> None:
        def find(model: nn.Module) -> Any:
            parameters = {name: each.detach() for name, each in model.named_parameters()}

            def loss(p: Any, x: torch.Tensor) -> torch.Tensor:
                return functional_call(model, p, (x[None],)).pow(3).sum()

            return vmap(grad(loss, argnums=(0, 1)), (None, 0))(parameters, _images())

        _assert_alike(layer, by, find)

    def test_ensemble(self, layer: str, by: str) -> None:
        """Gradients outside of vmap, of parameters that differ from model to model."""

        def find(model: nn.Module) -> Any:
            models = [copy.deepcopy(model) for _ in range(3)]
            for number, each in enumerate(models, 1):
                for parameter in each.parameters():
                    parameter.data *= number
            parameters, buffers = stack_module_state(models)  # type: ignore[arg-type]
            x = _images(3, 2, 4, 5, 5).requires_grad_()
            y = vmap(lambda p, b, x: functional_call(models[0], (p, b), (x,)))(parameters, buffers, x)
            y.pow(2).sum().backward()
            return y, x.grad, {name: each.grad for name, each in parameters.items()}

        _assert_alike(layer, by, find)

    def test_forward_mode(self, layer: str, by: str) -> None:
        def find(model: nn.Module) -> Any:
            x = _images()
            with forward_ad.dual_level():
                tangents = {name: each.detach().sin() for name, each in model.named_parameters()}
                duals = {
                    name: forward_ad.make_dual(each.detach(), tangents[name]) for name, each in model.named_parameters()
                }
                y = functional_call(model, duals, (forward_ad.make_dual(x, x.cos()),))
                return tuple(forward_ad.unpack_dual(y))

        _assert_alike(layer, by, find)

    def test_jacobians(self, layer: str, by: str) -> None:
        x = _images(1, 4, 4, 5)
        _assert_alike(layer, by, lambda model: (jacfwd(model)(x), jacrev(model)(x)))

    def test_second_derivatives(self, layer: str, by: str) -> None:
        x = _images(1, 4, 4, 5)
        _assert_alike(layer, by, lambda model: (hessian(_cube(model))(x), jacrev(jacrev(_cube(model)))(x)))

    def test_batched_gradients(self, layer: str, by: str) -> None:
        def find(model: nn.Module) -> Any:
            x = _images().requires_grad_()
            y = model(x)
            grads = torch.stack([torch.ones_like(y), y.detach(), y.detach().cos()])
            wanted = [x, *model.parameters()]
            first = torch.autograd.grad(y, wanted, grads, is_grads_batched=True, retain_graph=True)
            once = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)[0]
            ones = torch.stack([torch.ones_like(once), once.detach()])
            return first, torch.autograd.grad(once, x, ones, is_grads_batched=True)

        _assert_alike(layer, by, find)

    def test_vectorised_jacobian(self, layer: str, by: str) -> None:
        x = _images(1, 4, 4, 5)
        jacobian = torch.autograd.functional.jacobian
        # torch's own max pooling has no rule for batches of tangents.
        for strategy in ("reverse-mode",) if "max" in layer else ("reverse-mode", "forward-mode"):
            _assert_alike(layer, by, lambda model, how=strategy: jacobian(model, x, vectorize=True, strategy=how))


@pytest.mark.parametrize("axes", [(0, None, None), (None, 0, None), (0, 1, 0), (None, None, 0), (2, None, 0)])
def test_any_operand_may_be_batched(axes: tuple[int | None, ...]) -> None:
    operands = _images(2, 4, 5, 6), _images(6, 2, 3, 3), _images(6)
    batched = [
        each if axis is None else torch.stack([each, each.cos(), -each], axis)
        for each, axis in zip(operands, axes, strict=True)
    ]

    def run(conv2d: Any, **options: Any) -> torch.Tensor:
        return vmap(lambda x, w, b: conv2d(x, w, b, stride=(2, 1), padding=1, groups=2, **options), axes)(*batched)

    torch.testing.assert_close(run(F.conv2d, backend="numba"), run(nn.functional.conv2d))


def test_vmap_makes_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastconv import registry

    calls: list[Any] = []
    backend = registry.get("im2col")
    conv2d = backend.conv2d
    monkeypatch.setattr(backend, "conv2d", lambda *operands: calls.append(operands) or conv2d(*operands))
    vmap(lambda x, w: F.conv2d(x, w, backend="im2col"))(_images(7, 1, 4, 5, 5), _images(7, 2, 4, 3, 3))
    assert len(calls) == 1


@pytest.mark.parametrize("by", ["numba", "im2col", "torch"])
def test_tied_and_recurrent_layers(by: str) -> None:
    """The input depends on the weight, and the derivative by the one does not run through the other."""
    layer = fct.Conv2d(1, 1, 1, bias=False, backend=by).double()
    layer.weight.data.fill_(3)
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    (found,) = torch.autograd.grad(layer(layer(x)).sum(), layer.weight, create_graph=True)
    assert found.item() == 6
    (second,) = torch.autograd.grad(found, layer.weight, create_graph=True)
    assert second.item() == 2

    torch.manual_seed(0)
    plain = nn.Conv2d(3, 3, 3, padding=1).double()
    block = nn.Sequential(plain, nn.Tanh(), plain, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 4)).double()
    for model in (plain, block):
        mine = fct.convert(copy.deepcopy(model), by, fuse=True)
        found = []
        for each in (model, mine):
            tied = next(iter(each.parameters()))
            y = each(torch.tanh(_images(2, 3, 6, 6) * tied.sum()))
            first = torch.autograd.grad(y.pow(2).sum(), list(each.parameters()), create_graph=True)
            found.append((first, torch.autograd.grad(sum(g.pow(2).sum() for g in first), tied)))
        torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)
