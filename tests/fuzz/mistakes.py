"""Calls with one argument replaced by anything: mostly mistakes, sometimes as good as before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from .calls import Call, Draw
from .functions import FORWARD

few = st.integers(-2, 4)

anything = st.one_of(
    few,
    st.lists(few, max_size=5),
    st.lists(few, max_size=5).map(tuple),
    st.sampled_from(
        [None, True, False, 0.5, 2.0, "same", "valid", "full", np.int64(2), [None, 1], (2.0, 2.0), ("1", "2")]
    ),
)

shapes = st.lists(st.integers(0, 4), max_size=5).map(tuple)

TYPES = ("float32", "float64", "float16", "int32", "int64", "uint8", "bool", "complex64")


@dataclass(frozen=True)
class Mistake:
    """A call, and the argument that was replaced in it."""

    call: Call
    argument: str

    @property
    def value(self) -> Any:
        return {**self.call.operands, **self.call.arguments}[self.argument]


@st.composite
def _near(draw: Draw, array: np.ndarray) -> np.ndarray:
    """The operand with another shape or type; shapes one off are the interesting ones."""
    if draw(st.booleans()):
        return array.astype(draw(st.sampled_from(TYPES)))
    shape = list(array.shape)
    if draw(st.booleans()):
        shape[draw(st.integers(0, array.ndim - 1))] = draw(st.integers(0, 5))
    else:
        shape = list(draw(shapes))
    return np.zeros(shape, array.dtype)


@st.composite
def mistakes(draw: Draw, function: str) -> Mistake:
    call = draw(FORWARD[function])
    operands = {
        name: array.astype(np.float32) if array is not None and array.dtype.kind == "f" else array
        for name, array in call.operands.items()
    }
    call = call.on(**operands)
    argument = draw(st.sampled_from([*operands, *call.arguments]))
    if argument in call.arguments:
        return Mistake(replace(call, arguments={**call.arguments, argument: draw(anything)}), argument)
    given = operands[argument]
    wrong = st.none() if given is None else st.one_of(_near(given), st.sampled_from([None, 1.0, [[[1.0]]]]))
    return Mistake(call.on(**{**operands, argument: draw(wrong)}), argument)
