"""Tools that look layers up in a table by their exact class, as torch's fusion and counters of operations do."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.ao.quantization import convert as quantised
from torch.ao.quantization import fuse_modules, fuse_modules_qat, get_default_qconfig, prepare

import fastconv.torch as fct
from fastconv.torch import convert, revert
from fastconv.torch.swapping import _COUNTERPARTS
from tests.probes import by_fast_way
from tests.torch.networks import assert_as_torch, conversions, converted, images, network


class Own(nn.Conv2d):
    """A user's layer, with an entry of its own."""


TABLE = {**{kind: kind.__name__ for kind in _COUNTERPARTS}, Own: "Own"}


@pytest.mark.parametrize("kind", _COUNTERPARTS)
def test_a_class_is_found_in_a_table_by_the_class_it_stands_in_for(kind: Any) -> None:
    mine = _COUNTERPARTS[kind]
    assert TABLE.get(mine) == kind.__name__
    assert (mine == kind, kind == mine, mine != kind, mine is kind) == (True, True, False, False)
    assert [other for other in TABLE if other == mine] == [kind]
    assert type("Further", (mine,), {}) not in TABLE
    assert pickle.loads(pickle.dumps(mine)) is mine


def test_other_classes_are_not() -> None:
    assert fct.ConvBlock2d not in TABLE
    assert fct.Conv2d != "Conv2d"
    layer = convert(Own(1, 1, 1))
    assert TABLE[type(layer)] == "Own"
    assert type(layer) not in (nn.Conv2d, fct.Conv2d)


@conversions
def test_operations_are_counted_as_torchs_are(conversion: str) -> None:
    """By hooks on the layers of a table, as thop sets them."""

    def counted(model: nn.Module) -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []
        for layer in model.modules():
            name = TABLE.get(type(layer))
            if name is not None and layer is not model:
                layer.register_forward_hook(lambda _, x, y, name=name: seen.append((name, y.numel())))
        model(images())
        return seen

    found = counted(converted(conversion))
    assert found == counted(network())
    assert [name for name, _ in found] == ["Conv2d", "MaxPool2d", "Conv2d", "AvgPool2d"]


@conversions
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
@pytest.mark.filterwarnings("ignore:.*reduce_range:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("fuse", [fuse_modules, fuse_modules_qat])
def test_modules_are_fused_and_quantised_after_revert(conversion: str, fuse: Any) -> None:
    model = converted(conversion).train(fuse is fuse_modules_qat)
    model = fuse(model, [["0", "1"], ["3", "4", "5"]]).eval()
    assert_as_torch(model(images()))
    assert isinstance(model[0][0], fct.Conv2d)
    model.qconfig = get_default_qconfig("x86")
    with pytest.raises(RuntimeError, match=r"call fastconv\.torch\.revert"):
        prepare(model)
    if fuse is fuse_modules:
        prepared = prepare(revert(model).float())
        prepared(images().float())
        kinds = [type(layer).__name__ for layer in quantised(prepared)]
        assert (kinds[0], kinds[3]) == ("ConvReLU2d", "ConvReLU2d")


def test_a_run_begins_with_fastconvs_layers_only(ran: list[tuple[str, str]]) -> None:
    """torch's are equal to them, and have no backend."""
    model = fct.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), fct.Conv2d(2, 3, 1, backend="im2col"))
    after = fct.Sequential(fct.Conv2d(1, 2, 3, backend="numba"), nn.ReLU(), nn.MaxPool2d(2))
    x = torch.randn(1, 1, 8, 8)
    assert model(x).shape == (1, 3, 3, 3)
    assert after(x).shape == (1, 2, 3, 3)
    by_numba = "conv2d_block" if by_fast_way(True) else "conv2d"
    assert ran == [("im2col", "conv2d"), ("numba", by_numba)]
