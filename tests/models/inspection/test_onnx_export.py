"""ONNX: onnxruntime computes what torch does, for every network, and the file is usable alone."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import fastconv.torch
from fastconv.models import networks
from fastconv.models.errors import ModelsError
from fastconv.models.inspection import onnx_export
from fastconv.models.inspection.facts import Facts
from fastconv.models.inspection.onnx_export import to_onnx
from fastconv.models.inspection.trained import Trained, open_run
from fastconv.models.plain import plain
from fastconv.torch import ConvBlock2d

SHAPES = {"four_layer_cnn": (1, 64, 64), "sequential_cnn": (3, 28, 28)}


def session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", networks.names())
def test_every_network_computes_the_same(name: str) -> None:
    shape = SHAPES.get(name, (1, 28, 28))
    torch.manual_seed(0)
    model = networks.load(name).build(shape, 10, "torch").eval()
    facts = Facts(name, "torch", 0, "mnist", shape, tuple("0123456789"), 0.1, 0.3)
    running = session(to_onnx(Trained(Path("run"), facts, "torch", model)))
    for batch in (1, 3):
        images = torch.randn(batch, *shape)
        (scores,) = running.run(None, {"images": images.numpy()})
        assert scores.shape == (batch, 10)
        with torch.no_grad():
            np.testing.assert_allclose(scores, model(images), rtol=1e-5, atol=1e-5)


def test_a_trained_run_alone(run: Path) -> None:
    """From the file alone, pixels in and probabilities out as the run itself gives them."""
    opened = open_run(str(run))
    content = to_onnx(opened)
    onnx.checker.check_model(content, full_check=True)
    running = session(content)
    known = running.get_modelmeta().custom_metadata_map
    assert set(known) == {"network", "dataset", "mean", "deviation", "classes", "preprocessing"}
    assert json.loads(known["preprocessing"])["subject"] == "whole digit"
    assert (known["network"], known["dataset"]) == ("lenet5", "digits")
    assert json.loads(known["classes"]) == list("0123456789")
    assert running.get_inputs()[0].shape == ["batch", 1, 28, 28]
    assert running.get_outputs()[0].name == "scores"
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28), np.uint8)
    images = (pixels / np.float32(255) - np.float32(known["mean"])) / np.float32(known["deviation"])
    (scores,) = running.run(None, {"images": images.astype(np.float32)})
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(shares, opened.probabilities(opened.normalised(pixels)), atol=1e-5)


def test_nothing_of_this_machine_is_in_the_file(run: Path) -> None:
    content = to_onnx(open_run(str(run)))
    for word in (b"site-packages", b"models/", b".py", b"fx_node"):
        assert word not in content


def test_plain_layers_compute_the_same() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        ConvBlock2d(1, 4, 3, padding=1, activation="tanh", pool="avg", backend="naive"),
        ConvBlock2d(4, 4, 3, groups=2, bias=False, activation=None, pool="max", backend="naive"),
        nn.Sequential(ConvBlock2d(4, 6, 2, activation="relu", backend="naive")),
        fastconv.torch.Conv2d(6, 6, 1, padding_mode="reflect", backend="naive"),
        fastconv.torch.MaxPool2d(2, 1, ceil_mode=True, backend="naive"),
        fastconv.torch.AvgPool2d(2, count_include_pad=False, padding=1, backend="naive"),
    )
    before = [type(layer) for layer in model.modules()]
    copy = plain(model)
    images = torch.randn(2, 1, 33, 31)
    torch.testing.assert_close(copy(images), model(images))
    assert {type(layer).__module__.partition(".")[0] for layer in copy.modules()} == {"torch"}
    assert [type(layer) for layer in model.modules()] == before
    assert isinstance(copy[0][1], nn.Tanh)


def test_missing_packages_are_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxscript" else find_spec(name))
    with pytest.raises(ModelsError, match=r"^onnxscript not installed; pip install 'fastconv\[onnx\]'"):
        to_onnx(open_run(str(run)))
