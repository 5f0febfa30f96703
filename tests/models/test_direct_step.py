"""A step's loss and gradients without autograd: the same bits as with it, and autograd's where that has more to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fastconv.models import networks
from fastconv.models.backends import assign, parse
from fastconv.models.training.batches import Batch
from fastconv.models.training.direct_step import loss_and_gradients
from fastconv.models.training.loop import Training, begin
from fastconv.models.training.settings import settings
from fastconv.torch.internals import has_gradient_hooks

SHAPE = (1, 28, 28)
CHAINS = ["lenet5", "simple_convnet", "two_layer_cnn"]

pytestmark = pytest.mark.skipif(has_gradient_hooks(torch.zeros(1)), reason="probes fail, so autograd does every step")


def _network(name: str, dtype: torch.dtype = torch.float32, backend: str = "numba") -> nn.Module:
    torch.manual_seed(5)
    choice = parse(backend)
    model = networks.load(name).build(SHAPE, 10, choice.rest)
    assign(model, choice)
    return model.to(dtype)


def _batch(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    images = torch.rand(count, *SHAPE, generator=generator, dtype=torch.float32)
    return images.to(dtype), torch.randint(10, (count,), generator=generator)


def _gradients(model: nn.Module) -> list[Tensor | None]:
    return [p.grad for p in model.parameters()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", CHAINS)
def test_the_same_bits(name: str, dtype: torch.dtype) -> None:
    """Batches of two sizes; what autograd leaves in the other model is what it must leave in this one."""
    mine, theirs = _network(name, dtype), _network(name, dtype)
    for count in (5, 3):
        images, labels = _batch(count, dtype)
        loss = loss_and_gradients(mine, images, labels)
        assert loss is not None
        assert not loss.requires_grad
        expected = cross_entropy(theirs(images), labels)
        expected.backward()  # type: ignore[no-untyped-call]
        assert torch.equal(loss, expected)
        for found, wanted in zip(_gradients(mine), _gradients(theirs), strict=True):
            assert found is not None
            assert wanted is not None
            assert torch.equal(found, wanted)
        theirs.zero_grad()


@pytest.mark.parametrize("name", CHAINS)
def test_gradients_are_torchs(name: str) -> None:
    mine, theirs = _network(name, torch.float64), _network(name, torch.float64, "torch")
    images, labels = _batch(4, torch.float64)
    loss = loss_and_gradients(mine, images, labels)
    expected = cross_entropy(theirs(images), labels)
    expected.backward()  # type: ignore[no-untyped-call]
    assert loss is not None
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(_gradients(mine), _gradients(theirs), rtol=1e-9, atol=1e-12)


def _freeze(model: nn.Module) -> None:
    next(model.parameters()).requires_grad_(False)


def _share(model: nn.Module) -> None:
    model.dense2 = model.dense1
    model.dense1.weight = nn.Parameter(torch.zeros(120, 120))
    model.dense1.bias = nn.Parameter(torch.zeros(120))


def _spoil(model: nn.Module) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(torch.inf)


FOR_AUTOGRAD: dict[str, Callable[[nn.Module], object]] = {
    "a frozen parameter": _freeze,
    "a shared layer": _share,
    "a hook for a gradient": lambda model: next(model.parameters()).register_hook(lambda grad: 2 * grad),
    "a hook after a gradient": lambda model: next(model.parameters()).register_post_accumulate_grad_hook(
        lambda p: None
    ),
    "a hook of the model": lambda model: model.register_forward_hook(lambda *_: None),
    "a hook of a layer": lambda model: next(model.children()).register_full_backward_hook(lambda *_: None),
    "a forward method of its own": lambda model: setattr(model, "forward", model.forward),
    "another layer behind": lambda model: model.append(nn.LogSoftmax(1)),  # type: ignore[operator]
    "numbers that aren't finite": _spoil,
}


@pytest.mark.parametrize("what", FOR_AUTOGRAD)
def test_left_to_autograd(what: str) -> None:
    model = _network("lenet5")
    FOR_AUTOGRAD[what](model)
    assert loss_and_gradients(model, *_batch(3)) is None
    assert _gradients(model) == [None] * len(list(model.parameters()))


def test_left_to_autograd_in_a_mode() -> None:
    images, labels = _batch(3)
    model = _network("lenet5")
    with pytest.warns(UserWarning, match="Anomaly"), torch.autograd.detect_anomaly(check_nan=False):
        assert loss_and_gradients(model, images, labels) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert loss_and_gradients(model, images, labels) is None
    assert loss_and_gradients(model, images.requires_grad_(), labels) is None


def _learned(training: Training) -> list[Tensor]:
    for count in (6, 6, 4):
        training.learn(Batch(*_batch(count), count, 0))
    return list(training.model.parameters())


def test_the_trainer_takes_it() -> None:
    """A trainer records nothing for autograd, and learns what it learns with a hook that changes nothing."""
    mine, theirs = (begin(settings("simple_convnet", "numba"), SHAPE, 10) for _ in range(2))
    first = next(theirs.model.parameters())
    first.register_hook(lambda grad: grad.clone())
    assert mine.learn(Batch(*_batch(2), 2, 0)).grad_fn is None
    assert theirs.learn(Batch(*_batch(2), 2, 0)).grad_fn is not None
    for one, other in zip(_learned(mine), _learned(theirs), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_autocast_is_followed(precision: str) -> None:
    training = begin(settings("lenet5", "numba", precision=precision), SHAPE, 10)
    assert training.learn(Batch(*_batch(2), 2, 0)).grad_fn is not None
