"""Converted models under torch's exporters, quantisation and counter of operations."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.ao.quantization import (
    QConfig,
    QConfigMapping,
    default_observer,
    default_weight_observer,
    prepare,
    quantize_dynamic,
)
from torch.ao.quantization.quantize_fx import prepare_fx
from torch.utils.flop_counter import FlopCounterMode

from fastconv.torch import ConvBlock2d, convert, revert
from tests.torch.networks import assert_as_torch, conversions, converted, images, network

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*legacy TorchScript-based ONNX export:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated"),
]


@conversions
@pytest.mark.parametrize("dynamo", [True, False])
def test_onnx_files_hold_onnx_operations(conversion: str, dynamo: bool, tmp_path: Path) -> None:
    file, x = str(tmp_path / "model.onnx"), images().float()
    torch.onnx.export(converted(conversion).float(), (x,), file, dynamo=dynamo, verbose=False)
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert {"Conv", "MaxPool", "AveragePool"} <= set(kinds)
    session = onnxruntime.InferenceSession(file)
    (result,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(result), network().float()(x), rtol=1e-4, atol=1e-5)


@conversions
def test_torch_export_keeps_fastconvs_operators(conversion: str) -> None:
    program = torch.export.export(converted(conversion), (images(),), dynamic_shapes=({0: torch.export.Dim("N")},))
    called = [str(node.target) for node in program.graph.nodes if "fastconv" in str(node.target)]
    assert called == [f"fastconv.{name}.default" for name in ("conv2d", "max_pool2d", "conv2d", "avg_pool2d")]
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again = torch.export.load(file).module()
    assert_as_torch(again(images()))
    assert again(images().repeat(2, 1, 1, 1)).shape == (4, 4)


def _counted(model: nn.Module, x: torch.Tensor) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter:
        y = model(x.clone().requires_grad_())
        forward = counter.get_total_flops()
        y.sum().backward()
    return {"forward": forward, "both": counter.get_total_flops()}


COUNTED: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "network": (network(), (2, 3, 16, 16)),
    "groups": (nn.Conv2d(4, 8, 3, 2, 1, groups=2), (2, 4, 9, 8)),
    "one axis": (nn.Conv1d(4, 6, 3, dilation=2), (2, 4, 12)),
    "transposed": (nn.ConvTranspose2d(4, 6, (3, 2), 2), (2, 4, 5, 6)),
    "transposed, one axis": (nn.ConvTranspose1d(4, 6, 3, 2, groups=2), (2, 4, 9)),
}


@pytest.mark.parametrize("name", COUNTED)
def test_flops_are_counted_as_for_torchs_layers(name: str) -> None:
    model, shape = COUNTED[name]
    x = torch.randn(shape, dtype=torch.float64)
    wanted = _counted(model.double(), x)
    assert wanted["forward"] > 0
    assert _counted(convert(model, "im2col", fuse=True), x) == wanted
    revert(model)


def test_flops_of_a_block() -> None:
    x = torch.randn(2, 4, 9, 8)
    for groups in (1, 2):
        theirs = nn.Conv2d(4, 8, 3, 2, 1, groups=groups)
        mine = ConvBlock2d(4, 8, 3, 2, 1, groups=groups, activation="relu", pool="max", backend="numba")
        assert _counted(mine, x) == _counted(theirs, x)


@conversions
def test_quantisation_says_what_to_do(conversion: str) -> None:
    """torch looks layers up by their exact class, so it would leave fastconv's out without a word."""
    how: Any = QConfig(activation=default_observer, weight=default_weight_observer)
    refused = pytest.raises(RuntimeError, match=r"can't quantise fastconv's layers: call fastconv\.torch\.revert")
    model = converted(conversion).float()
    model.qconfig = how
    with refused:
        prepare(model)
    with refused:
        prepare_fx(converted(conversion).float(), QConfigMapping().set_global(how), (images().float(),))
    linear = quantize_dynamic(converted(conversion).float(), {nn.Linear})
    assert type(linear[8]) is not nn.Linear
    torch.testing.assert_close(linear(images().float()), network().float()(images().float()), rtol=0, atol=0.05)


def test_layers_prepared_for_quantisation_are_left_alone() -> None:
    model = network().float()
    model[0].qconfig = QConfig(activation=default_observer, weight=default_weight_observer)
    convert(model, "im2col")
    assert type(model[0]) is nn.Conv2d
    assert type(model[3]) is not nn.Conv2d
