"""Precision: what weights, images and layers are in, and that a training in it learns the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from fastconv.models.data.dataset import Dataset
from fastconv.models.training import train
from fastconv.models.training.loop import Training, begin
from fastconv.models.training.settings import settings

LAYERS_IN = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
ROUNDING = {"float32": 1e-5, "float64": 1e-4, "bfloat16": 0.05, "float16": 0.01}
"""Of the losses of six steps from those of float32, relative; float64's are float32's roundings."""


@pytest.mark.parametrize("name", ["numba", "torch"])
@pytest.mark.parametrize("precision", LAYERS_IN)
def test_layers_and_weights(
    digits: Dataset,
    console: Console,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    name: str,
) -> None:
    seen: set[torch.dtype] = set()

    def watched(*arguments: object) -> Training:
        training = begin(*arguments)  # type: ignore[arg-type]
        training.model.conv2.register_forward_hook(
            lambda layer, _, result: seen.add(result.dtype) if layer.training else None
        )
        return training

    reference = train.train(settings("lenet5", name, epochs=2), digits, console, tmp_path / "float32")
    monkeypatch.setattr("fastconv.models.training.run.begin", watched)
    chosen = settings("lenet5", name, epochs=2, precision=precision)
    run = train.train(chosen, digits, console, tmp_path / "run")
    assert seen == {LAYERS_IN[precision]}
    kept = torch.float64 if precision == "float64" else torch.float32
    assert {weight.dtype for weight in load_file(run.path / "weights.safetensors").values()} == {kept}
    for epoch, expected in zip(run.epochs, reference.epochs, strict=True):
        assert epoch.train_loss == pytest.approx(expected.train_loss, rel=ROUNDING[precision])
        assert epoch.test_loss == pytest.approx(expected.test_loss, rel=ROUNDING[precision])


def test_float16_scales_its_loss(digits: Dataset) -> None:
    """So that small gradients are kept; the others need no scale."""
    for precision in LAYERS_IN:
        training = begin(settings("lenet5", "torch", precision=precision), digits.shape, 10)
        assert (training.scaler is not None) == (precision == "float16")
