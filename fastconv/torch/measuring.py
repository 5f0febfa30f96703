"""Times of calls that take turns, each verified against torch's first.

Contestants take turns in one process, a few calls each, and the best call of each counts: what else runs on the
machine hits all alike. Each call comes right after an operation of torch's, as in a model, since torch's idle threads
keep the cores busy for a while: a resnet18 of fastconv's layers loses a quarter of its time to that.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import nn

from fastconv.torch.internals import tree_leaves, tree_map
from fastconv.torch.observing import Call, Spec, fresh

Tensor = torch.Tensor

SECONDS = 0.15
"""Seconds of timed calls for each contestant; at least TURNS turns are taken."""
TURNS = 5
CALLS = 3
"""Calls of each contestant in a turn."""

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest error, as a share of the largest element. Rounding stays at a hundredth of it, faults lie far above."""

_BUSY = 2**17
"""Elements of an operation on which torch uses all its threads; a quarter would do."""


@dataclass
class Work:
    """A call to be timed, with its gradients or without."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    parameters: Sequence[Tensor]
    """Parameters whose gradients are computed, besides those of the arguments."""
    gradients: bool
    grad_outputs: list[Tensor] = field(default_factory=list)
    """The gradients of the results; drawn at the first call if none are given."""

    def prepared(self) -> Callable[[], list[Tensor]]:
        """Returns a function that makes the call on copies of the arguments and returns results and gradients."""
        args, kwargs = fresh((self.args, self.kwargs))
        leaves = tree_leaves((self.args, self.kwargs))
        wanted = [t for t in (*leaves, *self.parameters) if isinstance(t, Tensor) and t.requires_grad]
        if not self.gradients or not wanted:
            return lambda: _tensors(self.function(*args, **kwargs))

        def both() -> list[Tensor]:
            results = _tensors(self.function(*args, **kwargs))
            recorded = [result for result in results if result.requires_grad]
            if not recorded:
                return results
            if not self.grad_outputs:
                self.grad_outputs = [torch.randn_like(result) for result in recorded]
            found = torch.autograd.grad(recorded, wanted, self.grad_outputs, allow_unused=True)
            return [*results, *[gradient for gradient in found if gradient is not None]]

        return both


def works(
    modules: Sequence[nn.Module],
    call: Call,
    gradients: bool,
    layouts: Sequence[torch.memory_format | None] = (None, None),
) -> list[Work]:
    """Returns one call of each module, all on the same random numbers.

    Args:
        modules: the first is torch's, the last is fastconv's.
        call: how a model called it.
        gradients: whether they are computed.
        layouts: that of each module's images; None for the model's.

    Raises:
        RuntimeError: fastconv's values or gradients differ from torch's.
    """
    with torch.set_grad_enabled(gradients):
        torch.manual_seed(0)
        args, kwargs = tree_map(lambda leaf: leaf.tensor() if isinstance(leaf, Spec) else leaf, call.inputs)
        contestants: list[Work] = []
        results = []
        for module, layout in zip(modules, layouts, strict=True):
            laid = laid_out(args, layout), laid_out(kwargs, layout)
            work = Work(module.forward, laid[0], laid[1], list(module.parameters()), gradients)
            if contestants:
                work.grad_outputs = laid_out(contestants[0].grad_outputs, layout)
            torch.manual_seed(1)  # for a dropout inside
            results.append([result.detach() for result in work.prepared()()])
            contestants.append(work)
    same = _is_near if list(modules[0].children()) else _is_equal
    if not same(results[-1], results[0]):
        raise RuntimeError(
            f"layer {call.name!r}: fastconv's result differs from torch's on random numbers; this is an error of "
            "fastconv's that should be reported, with the layer and its input's shape"
        )
    return contestants


def laid_out(tree: Any, layout: torch.memory_format | None) -> Any:
    """Returns the arguments with their images in another layout; None leaves them as they are."""

    def lay(leaf: Any) -> Any:
        if layout is None or not isinstance(leaf, Tensor) or leaf.ndim != 4:
            return leaf
        return leaf.detach().contiguous(memory_format=layout).requires_grad_(leaf.requires_grad)

    return tree_map(lay, tree)


def _is_equal(results: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Returns True if each element of a layer's results and gradients equals torch's to rounding."""
    for mine, theirs in zip(results, expected, strict=True):
        finite = theirs[theirs.isfinite()].abs() if theirs.is_floating_point() else theirs[:0]
        allowed = TOLERANCE.get(theirs.dtype, 0) * (float(finite.max()) if finite.numel() else 0.0)
        if mine.shape != theirs.shape or not torch.allclose(mine, theirs, rtol=0, atol=allowed, equal_nan=True):
            return False
    return True


def _is_near(results: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Returns True if results and gradients of several layers together equal torch's on average.

    Single elements may differ: rounding decides whether a ReLU lets one through, or which element of a window is the
        largest, and the gradient of a bias before a normalisation is nothing but rounding errors.
    """
    wrong, size = 0.0, 0.0
    for mine, theirs in zip(results, expected, strict=True):
        wrong += float((mine - theirs).double().square().sum())
        size += float(theirs.double().square().sum())
    allowed: float = 10 * TOLERANCE.get(expected[0].dtype, 0)
    return wrong <= allowed**2 * size


def race(
    contestants: Sequence[Work], *, seconds: float = SECONDS, clock: Callable[[], float] = perf_counter
) -> list[float]:
    """Returns the seconds of each contestant's best call."""
    best = [math.inf] * len(contestants)
    spent, turns = 0.0, 0
    busy = torch.zeros(_BUSY)
    with torch.set_grad_enabled(contestants[0].gradients):
        for work in contestants:
            work.prepared()()
        while turns < TURNS or spent < seconds * len(contestants):
            turns += 1
            for number, work in enumerate(contestants):
                for _ in range(CALLS):
                    call = work.prepared()
                    busy.add_(1.0)
                    start = clock()
                    call()
                    elapsed = clock() - start
                    best[number] = min(best[number], elapsed)
                    spent += elapsed
    return best


class Progress:
    """Shows on stderr how far a measurement is, at most once a second and never in the first."""

    def __init__(self, doing: str, total: int) -> None:
        self._doing, self._total = doing, total
        self._done, self._shown, self._next = 0, False, perf_counter() + 1
        self._end = "\r" if sys.stderr.isatty() else "\n"

    def step(self, name: str) -> None:
        """Say that the part called ``name`` is next."""
        self._done += 1
        if perf_counter() >= self._next:
            line = f"{self._doing} {self._done} of {self._total}: {name}"
            print(f"{line:79.79}" if self._end == "\r" else line, end=self._end, file=sys.stderr, flush=True)
            self._shown, self._next = True, perf_counter() + 1

    def close(self) -> None:
        """Wipe the line."""
        if self._shown and self._end == "\r":
            print(" " * 79, end="\r", file=sys.stderr, flush=True)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
