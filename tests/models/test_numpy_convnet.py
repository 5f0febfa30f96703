"""The network without torch: its gradients are those that a small change of each weight shows, and it learns."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fastconv.models import networks, numpy_convnet
from fastconv.models.data.dataset import Dataset
from fastconv.models.data.idx_names import TEST_FILES, TRAIN_FILES


def test_gradients_are_what_a_small_change_shows() -> None:
    rng = np.random.default_rng(0)
    weights = numpy_convnet.initial(8, rng, "float64")
    weights = {name: weight + 0.3 * rng.standard_normal(weight.shape) for name, weight in weights.items()}
    images, labels = rng.standard_normal((3, 1, 8, 8)), np.array([1, 4, 9])

    def loss() -> float:
        return numpy_convnet.loss_of(numpy_convnet.forward(weights, images)[0], labels)[0]

    scores, there = numpy_convnet.forward(weights, images)
    gradients = numpy_convnet.backward(weights, there, numpy_convnet.loss_of(scores, labels)[1])
    assert gradients.keys() == weights.keys()
    step = 1e-6
    for name, weight in weights.items():
        for at in rng.choice(weight.size, min(weight.size, 12), replace=False):
            kept = weight.flat[at]
            weight.flat[at] = kept + step
            above = loss()
            weight.flat[at] = kept - step
            below = loss()
            weight.flat[at] = kept
            assert gradients[name].flat[at] == pytest.approx((above - below) / (2 * step), abs=1e-7), name


def test_it_is_simple_convnet() -> None:
    """The same weights give the scores of the network in torch."""
    rng = np.random.default_rng(1)
    weights = numpy_convnet.initial(28, rng)
    model = networks.load("simple_convnet").build((1, 28, 28), 10, "torch")
    names = {"conv1": "conv", "dense1": "dense1", "dense2": "dense2"}
    state = {}
    for name in model.state_dict():
        layer, _, kind = name.rpartition(".")
        weight = weights[f"{names[layer]}.{kind[0]}"]
        state[name] = torch.from_numpy(weight.T.copy() if name.startswith("dense") and kind == "weight" else weight)
    model.load_state_dict(state)
    images = rng.standard_normal((4, 1, 28, 28), np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(numpy_convnet.forward(weights, images)[0], expected, rtol=1e-4, atol=1e-7)


def test_adam_is_torchs() -> None:
    weights = {"w": np.array([1.0, -2.0]), "b": np.array([0.5])}
    theirs = [torch.tensor(weight, requires_grad=True) for weight in weights.values()]
    mine, torchs = numpy_convnet.Adam(0.01), torch.optim.Adam(theirs, lr=0.01)
    for gradient in (0.3, -0.1, 0.7):
        for weight in theirs:
            weight.grad = torch.full_like(weight, gradient)
        torchs.step()
        mine.step(weights, {name: np.full_like(weight, gradient) for name, weight in weights.items()})
    for weight, other in zip(weights.values(), theirs, strict=True):
        np.testing.assert_allclose(weight, other.detach().numpy(), rtol=1e-12)


def test_it_learns_digits(digits: Dataset) -> None:
    rng = np.random.default_rng(0)
    weights, adam = numpy_convnet.initial(28, rng), numpy_convnet.Adam()
    images, labels = digits.train_images.numpy(), digits.train_labels.numpy()
    for _ in range(15):
        for batch in numpy_convnet.batches(len(labels), 50, rng):
            scores, there = numpy_convnet.forward(weights, images[batch])
            adam.step(weights, numpy_convnet.backward(weights, there, numpy_convnet.loss_of(scores, labels[batch])[1]))
    assert numpy_convnet.accuracy(weights, digits.test_images.numpy(), digits.test_labels.numpy()) > 0.8


def test_it_runs_without_torch(idx_folder: Path) -> None:
    text = (
        "import sys; sys.modules['torch'] = None\n"
        "from models import numpy_convnet\n"
        f"numpy_convnet.main(['--data-dir', {str(idx_folder)!r}, '--epochs', '2', '--backend', 'im2col'])\n"
    )
    root = Path(numpy_convnet.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2  loss" in done.stdout


def test_it_tells_as_many_classes_apart_as_there_are(
    idx_folder: Path, to_idx: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """27: letters, counted from 1."""
    for (_, labels), count in ((TRAIN_FILES, 40), (TEST_FILES, 20)):
        (idx_folder / f"{labels}.gz").write_bytes(gzip.compress(to_idx(np.arange(count) % 26 + 1)))
    numpy_convnet.main(["--data-dir", str(idx_folder)])
    assert "epoch 1/1  loss 3.2" in capsys.readouterr().out  # the logarithm of 27 is 3.3
    assert numpy_convnet.initial(28, np.random.default_rng(0), classes=27)["dense2.b"].shape == (27,)
