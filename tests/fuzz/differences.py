"""Where fastconv refuses other calls than torch, or by another type of exception: on purpose, each with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .mistakes import Mistake

Refusal = Exception | None


class Difference(NamedTuple):
    reason: str
    applies: Callable[[Mistake, Refusal], bool]
    """Told the mistake, and what torch said to it."""


def _is_sequence(value: Any, *lengths: int) -> bool:
    return isinstance(value, (tuple, list)) and len(value) in lengths


def _has(mistake: Mistake, *functions: str) -> bool:
    return mistake.call.function.startswith(functions)


def _unequal_sides(mistake: Mistake, _: Refusal) -> bool:
    lines = mistake.call.function.endswith("1d")
    return _has(mistake, "conv") and _is_sequence(mistake.call.arguments["padding"], 2 if lines else 4)


def _spread(mistake: Mistake, said: Refusal) -> bool:
    return (
        said is not None and _has(mistake, "fold", "unfold", "lp_pool", "max_unpool") and _is_sequence(mistake.value, 1)
    )


def _kept_size(mistake: Mistake, said: Refusal) -> bool:
    value = mistake.value
    return _has(mistake, "adaptive") and (value is None or (isinstance(value, list) and None in value))


def _wrong_type(mistake: Mistake, _: Refusal) -> bool:
    kind = "i" if mistake.argument == "indices" else "f"
    return isinstance(mistake.value, np.ndarray) and mistake.value.dtype.kind != kind


def _no_array(mistake: Mistake, _: Refusal) -> bool:
    return mistake.argument in mistake.call.operands and not isinstance(mistake.value, np.ndarray)


def _types_of_nothing(mistake: Mistake, said: Refusal) -> bool:
    arrays = [array for array in mistake.call.operands.values() if isinstance(array, np.ndarray)]
    return said is None and len({array.dtype for array in arrays}) > 1 and any(array.size == 0 for array in arrays)


def _pooled_from_nothing(mistake: Mistake, said: Refusal) -> bool:
    return said is None and _has(mistake, "adaptive") and 0 in mistake.call.operands["input"].shape


def _unchecked_beside_a_word(mistake: Mistake, said: Refusal) -> bool:
    return said is None and _has(mistake, "conv") and isinstance(mistake.call.arguments["padding"], str)


def _no_dilation_of_nothing(mistake: Mistake, said: Refusal) -> bool:
    arrays = [array for array in mistake.call.operands.values() if isinstance(array, np.ndarray)]
    refused = said is None and _has(mistake, "conv") and mistake.argument == "dilation"
    return refused and 0 in np.atleast_1d(mistake.value) and any(array.size == 0 for array in arrays)


def _shrunk_to_nothing(mistake: Mistake, said: Refusal) -> bool:
    return said is None and _has(mistake, "conv_transpose")


def _unpooled_anyhow(mistake: Mistake, said: Refusal) -> bool:
    window = mistake.argument in ("kernel_size", "stride", "padding")
    return _has(mistake, "max_unpool") and (window or (mistake.argument == "input" and isinstance(said, ValueError)))


def _no_window(mistake: Mistake, said: Refusal) -> bool:
    return _has(mistake, "lp_pool2d") and mistake.argument == "kernel_size" and isinstance(said, ValueError)


def _accident(mistake: Mistake, said: Refusal) -> bool:
    return isinstance(said, (IndexError, AttributeError))


def _word_for_a_size(mistake: Mistake, said: Refusal) -> bool:
    return isinstance(said, ValueError) and isinstance(mistake.value, str)


DIFFERENCES = (
    Difference("beyond torch: padding of unequal sides", _unequal_sides),
    Difference("beyond torch: a 1-sequence is spread over the axes by every function, not by most", _spread),
    Difference(
        "beyond torch: None keeps the size in all adaptive poolings, as in the two where torch has it", _kept_size
    ),
    Difference("beyond torch: NumPy's integers are integers everywhere", lambda m, _: isinstance(m.value, np.integer)),
    Difference(
        "operands that aren't of floats, and indices that are, are a TypeError, whatever torch says", _wrong_type
    ),
    Difference("what is no array is a TypeError, where torch looks for its attributes", _no_array),
    Difference("torch doesn't compare the types of operands where one is empty", _types_of_nothing),
    Difference(
        "torch lets no channels, and the mean of no pixels, through some adaptive poolings", _pooled_from_nothing
    ),
    Difference('torch doesn\'t check all arguments beside "same" and "valid"', _unchecked_beside_a_word),
    Difference("torch lets a dilation of 0 through where an operand is empty", _no_dilation_of_nothing),
    Difference("torch lets a transposed convolution cut all of its result off", _shrunk_to_nothing),
    Difference(
        "torch doesn't check an unpooling's window and axes, only the size that follows from them", _unpooled_anyhow
    ),
    Difference(
        "torch fails to unpack a kernel size, a ValueError; elsewhere it is a RuntimeError or TypeError", _no_window
    ),
    Difference("torch indexes a shape that is too short; elsewhere it is a RuntimeError", _accident),
    Difference("torch counts the letters of a word given for a size; elsewhere it is a TypeError", _word_for_a_size),
)
