"""SimpleConvNet once more, with no torch at all: NumPy, fastconv's functions, and every backward pass by hand.

    python -m fastconv.models.numpy_convnet --data-dir my/mnist --epochs 1

Read it to see back-propagation through a convolution: each layer is two functions, forwards and backwards, and what
the second needs of the first is passed on by name. For a loss L and a layer y = f(x, w), backwards takes dL/dy and
gives dL/dx, for the layer before, and dL/dw, for the optimiser.

The network is that of K. Saito, "Deep Learning from Scratch" (2016), chapter 7: convolution of 30 filters, ReLU, max
pooling, dense, ReLU, dense, softmax; `fastconv.models.networks.simple_convnet` is the same in torch. The optimiser is
Adam, D. Kingma and J. Ba, "Adam: a method for stochastic optimization" (2014).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

import fastconv
from fastconv.models.data.folder import read_folder
from fastconv.models.data.mnist import mnist
from fastconv.models.data.split import Split
from fastconv.models.screen import screen

Array = np.ndarray
Weights = dict[str, Array]

FILTERS, KERNEL, HIDDEN = 30, 5, 100
DEVIATION = 0.01


def initial(size: int, rng: np.random.Generator, dtype: str = "float32", classes: int = 10) -> Weights:
    """Returns the initial weights, for square images of ``size`` pixels: normal with deviation 0.01, biases 0."""
    pooled = (size - KERNEL + 1) // 2
    shapes = {
        "conv.w": (FILTERS, 1, KERNEL, KERNEL),
        "conv.b": (FILTERS,),
        "dense1.w": (FILTERS * pooled * pooled, HIDDEN),
        "dense1.b": (HIDDEN,),
        "dense2.w": (HIDDEN, classes),
        "dense2.b": (classes,),
    }
    return {
        name: np.zeros(shape, dtype) if name.endswith("b") else (DEVIATION * rng.standard_normal(shape)).astype(dtype)
        for name, shape in shapes.items()
    }


def forward(weights: Weights, images: Array) -> tuple[Array, dict[str, Array]]:
    """Returns the scores (N, classes) of images (N, 1, H, W), and what the backward pass needs of the forward pass."""
    y = fastconv.conv2d(images, weights["conv.w"], weights["conv.b"])  # (N, 30, H - 4, W - 4)
    active = np.maximum(y, 0)
    pooled, indices = fastconv.max_pool2d(active, 2, return_indices=True)
    flat = pooled.reshape(len(images), -1)
    hidden = np.maximum(flat @ weights["dense1.w"] + weights["dense1.b"], 0)
    scores = hidden @ weights["dense2.w"] + weights["dense2.b"]
    return scores, {"images": images, "active": active, "indices": indices, "flat": flat, "hidden": hidden}


def loss_of(scores: Array, labels: Array) -> tuple[float, Array]:
    """Returns the mean cross-entropy of the softmax of the scores, and its gradient for the scores.

    L = -mean log p[label], p = softmax(scores); dL/dscores is as simple as (p - 1 at the label) / N.
    """
    shifted = scores - scores.max(axis=1, keepdims=True)  # softmax doesn't change, and exp can't overflow
    p = np.exp(shifted)
    p /= p.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = -float(np.log(p[rows, labels]).mean())
    p[rows, labels] -= 1
    return loss, p / len(labels)


def backward(weights: Weights, there: dict[str, Array], change: Array) -> Weights:
    """Returns the gradients of all weights, given that of the scores: the layers of `forward` from the last to the
    first."""
    gradients = {"dense2.w": there["hidden"].T @ change, "dense2.b": change.sum(axis=0)}
    change = change @ weights["dense2.w"].T
    change = change * (there["hidden"] > 0)  # ReLU lets through where it was open
    gradients |= {"dense1.w": there["flat"].T @ change, "dense1.b": change.sum(axis=0)}
    change = change @ weights["dense1.w"].T

    # pooling: each gradient goes back to the pixel that was the largest of its window, and to no other
    active, indices = there["active"], there["indices"]
    change = fastconv.max_pool2d_backward(change.reshape(indices.shape), indices, active.shape)
    change = change * (active > 0)
    # convolution: a filter's gradient is the correlation of the images with the gradient of what it gave
    _, for_w, for_b = fastconv.conv2d_backward(
        change, there["images"], weights["conv.w"], output_mask=(False, True, True)
    )
    return gradients | {"conv.w": for_w, "conv.b": for_b}


class Adam:
    """Adam's steps: the mean of past gradients, divided by the root of their mean square."""

    def __init__(self, rate: float = 0.001, decay: tuple[float, float] = (0.9, 0.999), least: float = 1e-8) -> None:
        self.rate, self.decay, self.least = rate, decay, least
        self.steps = 0
        self.means: Weights = {}
        self.squares: Weights = {}

    def step(self, weights: Weights, gradients: Weights) -> None:
        """Change the weights in place."""
        self.steps += 1
        first, second = self.decay
        for name, gradient in gradients.items():
            mean = self.means[name] = first * self.means.get(name, 0) + (1 - first) * gradient
            square = self.squares[name] = second * self.squares.get(name, 0) + (1 - second) * gradient**2
            # both began at 0, and are that much too small at first
            corrected = mean / (1 - first**self.steps)
            scale = np.sqrt(square / (1 - second**self.steps)) + self.least
            weights[name] -= (self.rate * corrected / scale).astype(weights[name].dtype)


def batches(count: int, size: int, rng: np.random.Generator) -> Iterator[Array]:
    """Yields the numbers below ``count`` in random order, ``size`` at a time."""
    order = rng.permutation(count)
    for first in range(0, count, size):
        yield order[first : first + size]


def accuracy(weights: Weights, images: Array, labels: Array) -> float:
    """Returns the share of the images whose greatest score is that of their label."""
    right = sum(
        int((forward(weights, images[i : i + 500])[0].argmax(axis=1) == labels[i : i + 500]).sum())
        for i in range(0, len(labels), 500)
    )
    return right / len(labels)


def prepared(train: Split, test: Split) -> tuple[Array, Array, Array, Array]:
    """Returns images as float32 (N, 1, H, W), shifted and scaled by the training pixels' mean and deviation, and
    labels."""
    mean, deviation = train.images.mean(), train.images.std() or 1.0
    first, second = (((split.images[:, None] - mean) / deviation).astype(np.float32) for split in (train, test))
    return first, train.labels.astype(np.int64), second, test.labels.astype(np.int64)


def main(arguments: list[str] | None = None) -> None:
    """Train, and print the loss and accuracy of each epoch."""
    parser = argparse.ArgumentParser(
        prog="python -m fastconv.models.numpy_convnet", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data-dir", type=Path, help="folder of MNIST's four files, or of another set like it")
    parser.add_argument("--epochs", type=int, default=1, help="passes over the training images (default: 1)")
    parser.add_argument("--batch-size", type=int, default=100, help="images a step (default: 100)")
    parser.add_argument("--backend", help="backend of fastconv's (default: the fastest)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first weights and the batches (default: 0)")
    given: Any = parser.parse_args(arguments)
    console = screen()
    if given.backend:
        fastconv.set_backend(given.backend)
    splits = read_folder(given.data_dir) if given.data_dir else mnist(None, console)
    images, labels, test_images, test_labels = prepared(*splits)
    rng = np.random.default_rng(given.seed)
    weights, adam = initial(images.shape[2], rng, classes=int(labels.max()) + 1), Adam()
    for epoch in range(1, given.epochs + 1):
        losses = []
        order = list(batches(len(labels), given.batch_size, rng))
        for batch in track(order, description=f"epoch {epoch}/{given.epochs}", console=console):
            scores, there = forward(weights, images[batch])
            loss, change = loss_of(scores, labels[batch])
            adam.step(weights, backward(weights, there, change))
            losses.append(loss)
        reached = accuracy(weights, test_images, test_labels)
        console.print(f"epoch {epoch}/{given.epochs}  loss {np.mean(losses):.4f}  test accuracy {reached:.2%}")


if __name__ == "__main__":
    main()
