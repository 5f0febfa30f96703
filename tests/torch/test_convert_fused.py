"""`convert(fuse=True)`: which of a model's layers run together then, and what stays as it was."""

from __future__ import annotations

import copy
import pickle

import torch
from torch import nn

from fastconv.torch import AvgPool2d, Conv2d, MaxPool2d, Sequential, convert, revert
from tests.probes import by_fast_way
from tests.runs import lengths


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2, stride=2),
        nn.Sequential(nn.Conv2d(8, 6, 1), nn.ReLU(), nn.MaxPool2d(3)),
        nn.Flatten(),
        nn.Linear(6 * 2 * 2, 3),
    )


def test_convert_lets_layers_run_together_and_revert_separates_them() -> None:
    mine = network()
    before, parameters = copy.deepcopy(mine), list(mine.parameters())
    x = torch.randn(2, 1, 30, 30)
    assert convert(mine, "numba", fuse=True) is mine
    assert isinstance(mine, Sequential)
    assert isinstance(mine[6], Sequential)
    assert lengths(mine, x) == by_fast_way([6, 2])
    assert list(mine.state_dict()) == list(before.state_dict())
    assert all(one is other for one, other in zip(mine.parameters(), parameters, strict=True))
    torch.testing.assert_close(mine(x), before(x))
    for again in (copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert lengths(again, x) == by_fast_way([6, 2])
        torch.testing.assert_close(again(x), before(x))
    convert(mine, "im2col", fuse=True)
    assert lengths(mine, x) == []
    torch.testing.assert_close(mine(x), before(x))
    assert revert(mine) is mine
    assert str(mine) == str(before)
    assert [type(each) for each in mine.modules()] == [type(each) for each in before.modules()]
    assert torch.equal(mine(x), before(x))


def test_convert_leaves_alone_sequences_of_their_own_kind() -> None:
    class Own(nn.Sequential):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return self[0](input)

    class Named(nn.Sequential):
        pass

    x = torch.randn(1, 1, 4, 4)
    own = convert(Own(nn.Conv2d(1, 1, 3), nn.ReLU()), "numba", fuse=True)
    assert type(own) is Own
    named = convert(Named(nn.Conv2d(1, 1, 3), nn.ReLU()), "numba", fuse=True)
    assert isinstance(named, Named)
    assert lengths(named, x) == by_fast_way([2])
    assert type(revert(named)) is Named
    assert type(convert(network(), "numba")) is nn.Sequential


def test_layers_that_the_filter_leaves_out_are_called() -> None:
    mine = convert(network(), "numba", filter=lambda name, _: name not in ("0", "5"), fuse=True)
    assert lengths(mine, torch.randn(2, 1, 30, 30)) == by_fast_way([2, 2])


def test_poolings_of_other_windows_end_a_run() -> None:
    x = torch.randn(2, 1, 9, 9)
    others = [nn.MaxPool2d(3), nn.MaxPool2d(2, 1), nn.MaxPool2d(2, padding=1), nn.MaxPool2d(2, ceil_mode=True)]
    others += [nn.MaxPool2d(2, dilation=2), nn.AvgPool2d(2, divisor_override=3), nn.AvgPool2d(2, padding=1)]
    for pool in others:
        plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), pool)
        mine = convert(copy.deepcopy(plain), "numba", fuse=True)
        assert lengths(mine, x) == by_fast_way([2]), pool
        torch.testing.assert_close(mine(x), plain(x))


def test_an_activation_behind_a_pooling_and_a_pooling_on_another_backend_end_a_run() -> None:
    x = torch.randn(2, 1, 9, 9)
    late = Sequential(Conv2d(1, 2, 3, backend="numba"), AvgPool2d(2, backend="numba"), nn.Tanh())
    assert lengths(late, x) == by_fast_way([2])
    torch.testing.assert_close(late(x), late[1](late[0](x)).tanh())
    elsewhere = Sequential(Conv2d(1, 2, 3, backend="numba"), nn.ReLU(), MaxPool2d(2, backend="im2col"))
    assert lengths(elsewhere, x) == by_fast_way([2])
    torch.testing.assert_close(elsewhere(x), elsewhere[2](elsewhere[0](x).relu()))
