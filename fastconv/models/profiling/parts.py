"""The parts of a training step, and which of torch's operators belong to which.

The names are those that torch's profiler records: operators of torch (``aten::``) and of fastconv, autograd's functions
on the way there and back, and the optimiser. An operator that is called by one of these belongs to it, under any name
of its own.
"""

from __future__ import annotations

import re
from typing import NamedTuple

DATA = "models::data"
"""The name under which the trainer records the fetch of a batch."""


class Part(NamedTuple):
    """A row of a profile: its name, and whether it is part of the backward pass."""

    name: str
    backward: bool = False

    def __str__(self) -> str:
        return f"{self.name}, backward" if self.backward else self.name


TAKING_DATA = "data"
OTHERS = "other operators"
PYTHON = "Python and dispatch"

OPERATORS = {
    TAKING_DATA: DATA,
    "layers in one step": r"_Chained\w*",
    "convolution": r"fastconv::(conv2d|unfold|fold)\w*|_(Conv2d|Block|Unfold|Fold)\w*"
    r"|aten::(_|mkldnn_|slow_|thnn_)?conv\w*|(Slow|Thnn)?Conv\w*Backward\d",
    "pooling": r"fastconv::(adaptive_)?(max|avg)_pool\w*|_(Adaptive)?(Max|Avg)Pool\w*"
    r"|aten::(adaptive_)?(max|avg)_pool[12]d\w*|(Adaptive)?(Max|Avg)Pool[12]D\w*Backward\d",
    "activations": r"aten::(relu|tanh|sigmoid)_?|(Relu|Tanh|Sigmoid)Backward\d",
    "linear layers": r"aten::(linear|addmm|mm)|(Linear|Addmm|Mm|T)Backward\d",
    "loss": r"aten::(cross_entropy_loss|nll_loss|log_softmax)\w*|(NllLoss|LogSoftmax|Nll)\w*Backward\d",
    "optimiser": r"Optimizer\..*|aten::(_fused_(adamw|sgd)|_foreach_add)_",
}
"""Patterns of the operators' whole names, for each part."""

_PATTERNS = {name: re.compile(pattern) for name, pattern in OPERATORS.items()}
_ENGINE = "autograd::engine::evaluate_function"


def part(names: list[str]) -> Part:
    """Returns the part to which an operator belongs; ``names`` are its own and those of its callers, from within."""
    backward = any(name.startswith(_ENGINE) for name in names)
    for name in names:
        for found, pattern in _PATTERNS.items():
            if pattern.fullmatch(name):
                return Part(found, backward)
    return Part(OTHERS, backward)


def order() -> list[Part]:
    """Returns all parts, as a table lists them."""
    both = [Part(name, backward) for name in (*OPERATORS, OTHERS) for backward in (False, True)]
    return [*both, Part(PYTHON)]
