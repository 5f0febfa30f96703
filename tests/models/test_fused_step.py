"""A step of the optimizer as one call: the same bits as torch's own step, checkpoints and all."""

from __future__ import annotations

import copy
from collections.abc import Callable
from unittest import mock

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from fastconv.models.training.fused_step import FusedStep

OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "adam": lambda m: AdamW(m.parameters(), 0.01, weight_decay=0.0, fused=True),
    "adam with decay": lambda m: AdamW(m.parameters(), 0.01, weight_decay=0.1, fused=True),
    "sgd": lambda m: SGD(m.parameters(), 0.1, 0.9, weight_decay=0.01, fused=True),
    "sgd without momentum": lambda m: SGD(m.parameters(), 0.1, fused=True),
    "not fused": lambda m: AdamW(m.parameters(), 0.01),
    "of another class": lambda m: Adam(m.parameters(), 0.01, fused=True),
}
ONE_CALL = [name for name in OPTIMIZERS if name not in ("not fused", "of another class")]


def _network(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(7, 33), nn.Tanh(), nn.Linear(33, 5)).to(dtype)


def _train(model: nn.Module, optimizer: Optimizer, step: FusedStep | None, first: int, last: int) -> None:
    for at in range(first, last):
        optimizer.param_groups[0]["lr"] = 0.01 / (1 + at)
        x = torch.randn(6, 7, generator=torch.Generator().manual_seed(at)).to(next(model.parameters()).dtype)
        (optimizer.zero_grad if step is None else step.clear)()
        assert all(p.grad is None for p in model.parameters())
        loss = model(x).square().sum()
        if at == 3:  # a step in which a parameter has no gradient
            loss = model[0](x).square().sum()  # type: ignore[index]
        loss.backward()
        (optimizer.step if step is None else step)()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_bits(name: str, dtype: torch.dtype) -> None:
    """With another rate in each step, and with a checkpoint loaded between two of them."""
    mine = _network(dtype)
    theirs = copy.deepcopy(mine)
    optimizers = OPTIMIZERS[name](mine), OPTIMIZERS[name](theirs)
    step, genuine = FusedStep(optimizers[0]), optimizers[0].step
    with mock.patch.object(optimizers[0], "step", side_effect=genuine) as own:
        _train(mine, optimizers[0], step, 0, 6)
    assert own.call_count == (2 if name in ONE_CALL else 6)  # the first, and the one without a gradient
    _train(theirs, optimizers[1], None, 0, 6)
    optimizers[0].load_state_dict(copy.deepcopy(optimizers[1].state_dict()))
    _train(mine, optimizers[0], step, 6, 9)
    _train(theirs, optimizers[1], None, 6, 9)
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
        for key, value in optimizers[1].state[other].items():
            assert value is None or torch.equal(optimizers[0].state[one][key], value), key


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_least_averages_become_zero_and_parameters_keep_their_bits(decay: float) -> None:
    """A unit that dies after some steps: its averages shrink to denormal numbers in torch, a thousand steps later."""
    models = [nn.Linear(9, 40) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [AdamW(model.parameters(), 1e-3, weight_decay=decay, fused=True) for model in models]
    step = FusedStep(optimizers[0])
    tiny = torch.finfo(torch.float32).tiny
    for at in range(1100):
        x = torch.randn(5, 9, generator=torch.Generator().manual_seed(at))
        for model, take in zip(models, (step, optimizers[1].step), strict=True):
            alive = torch.ones(40) if at < 20 else (torch.arange(40) % 2).float()
            model.zero_grad()
            (model(x) * alive).square().sum().backward()
            take()
    for mine, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(mine, theirs)
        average, other = (
            optimizer.state[p]["exp_avg"] for optimizer, p in zip(optimizers, (mine, theirs), strict=True)
        )
        assert ((other != 0) & (other.abs() < tiny)).any()
        assert (average[::2] == 0).all()
        assert torch.equal(average[1::2], other[1::2])
