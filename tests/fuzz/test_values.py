"""Every function on arrays of every layout and type: torch's values in new arrays, and inputs untouched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from fastconv.backends.base import INTEGERS

from .agreement import assert_right, tolerance
from .calls import Call
from .effort import examples
from .functions import EVERY
from .layouts import LAYOUTS, owner, repeated, repeated_first
from .reference import expected, touched


def laid_out(data: st.DataObject, call: Call, dtype: str) -> Call:
    """The same call with each operand in a memory layout of its own."""
    operands: dict[str, np.ndarray | None] = {}
    for name, values in call.operands.items():
        if values is None:
            operands[name] = None
            continue
        floating = values.dtype.kind == "f"
        # An index that is repeated is another problem: two values for one pixel.
        layouts = [layout for layout in LAYOUTS if floating or layout not in (repeated, repeated_first)]
        layout = data.draw(st.sampled_from(layouts), label=f"layout of {name}")
        operands[name] = layout(values.astype(dtype) if floating else values)
    return call.on(**operands)


def memory(call: Call) -> list[bytes]:
    """All bytes that belong to the operands, those between their elements too."""
    return [owner(array).tobytes() for array in call.operands.values() if array is not None]


def returned(call: Call, backend: str) -> list[np.ndarray]:
    results: Any = getattr(fastconv, call.function)(**call.operands, **call.arguments, backend=backend)
    return list(results) if isinstance(results, tuple) else [results]


@pytest.mark.parametrize("function", EVERY)
def test_values(function: str, backend: str) -> None:
    @examples(40)
    @given(st.data(), EVERY[function], st.sampled_from(["float32", "float64", "float16"]))
    def agrees(data: st.DataObject, call: Call, dtype: str) -> None:
        call = laid_out(data, call, dtype)
        before = memory(call)
        results = returned(call, backend)
        assert memory(call) == before
        exact = expected(call)
        assert len(results) == len(exact)
        for result, values in zip(results, exact, strict=True):
            assert result.dtype == (dtype if values.dtype.kind == "f" else np.int64)
            assert result.dtype.isnative
            assert not any(np.shares_memory(result, array) for array in call.operands.values() if array is not None)
        with np.errstate(over="ignore"):
            assert_right(results[0], exact[0], tolerance(function, dtype))
            if "pool" in function and len(exact) == 2:
                assert_indices(call, results[1], exact[1])
            else:
                for result, values in zip(results[1:], exact[1:], strict=True):
                    assert_right(result, values, tolerance(function, dtype))

    agrees()


@pytest.mark.parametrize("function", ["max_pool1d", "max_pool2d"])
def test_integers(function: str, backend: str) -> None:
    if backend == "cuda":
        pytest.skip("its max pooling is of floats alone")

    @examples(40)
    @given(st.data(), EVERY[function], st.sampled_from(INTEGERS))
    def agrees(data: st.DataObject, call: Call, dtype: str) -> None:
        # torch pools integers on a line only where it gives indices too.
        call = replace(call, arguments={**call.arguments, "return_indices": True})
        call = laid_out(data, call.on(input=np.abs(call.operands["input"])), dtype)
        before = memory(call)
        values, indices = returned(call, backend)
        assert memory(call) == before
        exact, hit = expected(call), touched(call)
        assert (values.dtype, indices.dtype) == (dtype, np.int64)
        np.testing.assert_array_equal(values, np.where(hit, exact[0], np.iinfo(dtype).min))
        assert_indices(call, indices, exact[1])

    agrees()


def assert_indices(call: Call, indices: np.ndarray, exact: np.ndarray) -> None:
    """torch's, and -1 for windows that touch no pixel."""
    if call.function.startswith("max"):
        exact = np.where(touched(call), exact, -1)
    np.testing.assert_array_equal(indices, exact)
