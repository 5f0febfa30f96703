"""Every algorithm of the backend `numba`, asked for by name, on all calls that it takes."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import fastconv
from fastconv import registry

from . import calls
from .agreement import assert_right, tolerance
from .calls import Call
from .effort import examples
from .reference import expected
from .test_special_values import results, seeds, shares, sprinkled

CALLS = {
    "conv2d": calls.convolution(2),
    "conv2d_input": calls.convolution_gradient("conv2d_input"),
    "conv2d_weight": calls.convolution_gradient("conv2d_weight"),
}

FORMS = registry.get("numba").options


def returned(call: Call, dtype: str, form: str) -> np.ndarray:
    """The call's result by that form alone; a call that it refuses is none for it."""
    result = None
    with suppress(fastconv.UnsupportedError):
        (result,) = results(call, dtype, f"numba:{form}")
    assume(result is not None)
    return result


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize("form", FORMS)
def test_values(form: str, function: str) -> None:
    @examples(60)
    @given(CALLS[function], st.sampled_from(["float32", "float64"]))
    def agrees(call: Call, dtype: str) -> None:
        assert_right(returned(call, dtype, form), expected(call)[0], tolerance(function, dtype))

    agrees()


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize("form", FORMS)
def test_special_values(form: str, function: str) -> None:
    @examples(40)
    @given(CALLS[function], seeds, shares, st.sampled_from(["float32", "float64"]))
    def agrees(call: Call, seed: int, share: float, dtype: str) -> None:
        call = sprinkled(call, seed, share)
        summed, exact = returned(call, dtype, form), expected(call)[0]
        finite = np.isfinite(exact)
        np.testing.assert_array_equal(summed[~finite], exact[~finite])
        assert np.isfinite(summed[finite]).all()

    agrees()
