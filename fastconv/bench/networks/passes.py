"""What is run of a network, and what it must give: a forward pass in eval mode, or a step of training.

A step is forward pass, loss, backward pass and SGD. The loss is cross-entropy for outputs of the form (N, classes),
the mean square for others, and their sum where there are several, as GoogLeNet has in training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

INFERENCE, TRAINING = "inference", "training"
MODES = (INFERENCE, TRAINING)

RATE = 1e-4
"""Learning rate: too small to change a model much in some thousand steps on one batch."""

OUTPUT_ERROR = 1e-4
"""Relative error, root mean square, of an output and of a loss. Plain torch in float32 is 1e-7 to 1e-5 off float64."""

GRADIENT_ERROR = 0.1
"""The same for a parameter's gradient. Where rounding lets a rectifier or a maximum decide otherwise, a gradient is
another; through resnet18 to densenet121 at batch 8, torch's own in float32 are up to 2.6% off those in float64. A wrong
one is all of its size off."""

FLOOR = 0.01
"""Share of the root mean square of all gradients below which a gradient is rounding, as of a bias before a norm."""


@dataclass(frozen=True)
class Material:
    """What every contestant begins with: weights, a batch and its labels, and what is right."""

    state: dict[str, Any]
    x: Tensor
    labels: Tensor
    expected: list[Tensor]


@dataclass(frozen=True)
class Pass:
    """``results`` gives the tensors to be checked; ``call`` is what gets timed."""

    results: Callable[[], list[Tensor]]
    call: Callable[[], object]


def inference(forward: Callable[[Tensor], Any], x: Tensor) -> Pass:
    """A forward pass without gradients."""

    @torch.no_grad()
    def call() -> Any:
        return forward(x)

    return Pass(lambda: tensors(call()), call)


def training(model: nn.Module, forward: Callable[[Tensor], Any], x: Tensor, labels: Tensor) -> Pass:
    """A step of ``model``, which ``forward`` runs; its results are the loss and the gradient of every parameter."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=RATE)

    def backward() -> Tensor:
        optimizer.zero_grad()
        found = loss(forward(x), labels)
        found.backward()
        return found

    def results() -> list[Tensor]:
        found = backward().detach()
        return [found, *(torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)]

    def call() -> None:
        backward()
        optimizer.step()

    return Pass(results, call)


def tensors(output: Any) -> list[Tensor]:
    """All tensors of a network's output, in order, whatever they are packed in."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, Sequence) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def loss(output: Any, labels: Tensor) -> Tensor:
    """One number for all that a network gives."""
    parts = [each for each in tensors(output) if each.is_floating_point()]
    losses = [cross_entropy(y, labels % y.shape[1]) if y.ndim == 2 else y.square().mean() for y in parts]
    return torch.stack(losses).sum()


def fault(found: Sequence[Tensor], expected: Sequence[Tensor], mode: str) -> tuple[float, str | None]:
    """The largest relative error, and what is wrong or None. Of training, the loss comes first, then gradients."""
    if len(found) != len(expected):
        return float("nan"), f"{len(found)} results, {len(expected)} expected"
    gradients = expected[1:] if mode == TRAINING else []
    squares = sum(float(each.double().square().sum()) for each in gradients)
    floor = FLOOR * (squares / max(1, sum(each.numel() for each in gradients))) ** 0.5
    worst = 0.0
    for number, (mine, right) in enumerate(zip(found, expected, strict=True)):
        if mine.shape != right.shape:
            return float("nan"), f"shape {tuple(mine.shape)}, {tuple(right.shape)} expected"
        if not right.numel():
            continue
        gradient = mode == TRAINING and number > 0
        off = float((mine.detach().double() - right.double()).square().mean().sqrt())
        size = float(right.double().square().mean().sqrt()) + (floor if gradient else 0.0)
        error = off / size if off else 0.0 if off == 0 else off
        allowed, what = (GRADIENT_ERROR, f"gradient {number}") if gradient else (OUTPUT_ERROR, "")
        what = what or ("the loss" if mode == TRAINING else f"output {number + 1}")
        if not error <= allowed:  # so that NaN fails
            return error, f"{what} has a relative error of {error:.1e}, {allowed:.0e} allowed"
        worst = max(worst, error)
    return worst, None
