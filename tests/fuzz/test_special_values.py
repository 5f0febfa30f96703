"""NaN, infinities and signed zeros sprinkled over the operands: they turn up where torch in float64 has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv

from .calls import Call
from .effort import examples
from .functions import EVERY
from .reference import expected, touched

SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0)

PICKING = tuple(name for name in EVERY if "max" in name or name == "unfold")
"""The functions that compute nothing: every bit must be torch's, the sign of zero too."""

SUMMING = tuple(name for name in EVERY if name not in PICKING and not name.startswith("lp"))


def sprinkled(call: Call, seed: int, share: float) -> Call:
    """A ``share`` of all floating-point elements made special."""
    rng = np.random.default_rng(seed)
    operands: dict[str, np.ndarray | None] = {}
    for name, values in call.operands.items():
        if values is None or values.dtype.kind == "i":
            operands[name] = values
        else:
            operands[name] = np.where(rng.random(values.shape) < share, rng.choice(SPECIAL, values.shape), values)
    return call.on(**operands)


seeds = st.integers(0, 2**32 - 1)
shares = st.sampled_from([0.03, 0.3, 1.0])


def results(call: Call, dtype: str, backend: str) -> tuple[np.ndarray, ...]:
    operands = {
        name: array.astype(dtype) if array is not None and array.dtype.kind == "f" else array
        for name, array in call.operands.items()
    }
    returned = getattr(fastconv, call.function)(**operands, **call.arguments, backend=backend)
    return returned if isinstance(returned, tuple) else (returned,)


@pytest.mark.parametrize("function", PICKING)
def test_what_is_picked_is_bit_for_bit_torchs(function: str, backend: str) -> None:
    @examples(40)
    @given(EVERY[function], seeds, shares, st.sampled_from(["float32", "float64"]))
    def agrees(call: Call, seed: int, share: float, dtype: str) -> None:
        call = sprinkled(call, seed, share)
        picked, exact = results(call, dtype, backend), expected(call)
        assert len(picked) == len(exact)
        np.testing.assert_array_equal(picked[0], exact[0])
        numbers = ~np.isnan(exact[0])
        np.testing.assert_array_equal(np.signbit(picked[0][numbers]), np.signbit(exact[0][numbers]))
        if len(exact) == 2:
            indices = np.where(touched(call), exact[1], -1) if function.startswith("max_pool") else exact[1]
            np.testing.assert_array_equal(picked[1], indices)

    agrees()


@pytest.mark.parametrize("function", SUMMING)
def test_sums_are_nan_and_infinite_where_torchs_are(function: str, backend: str) -> None:
    # torch's own convolutions of float32 leave the padding out, where those of float64 multiply it by the weights.
    yardstick = backend == "torch" and function.startswith("conv")

    @examples(40)
    @given(EVERY[function], seeds, shares, st.sampled_from(["float64"] if yardstick else ["float32", "float64"]))
    def agrees(call: Call, seed: int, share: float, dtype: str) -> None:
        call = sprinkled(call, seed, share)
        for summed, exact in zip(results(call, dtype, backend), expected(call), strict=True):
            finite = np.isfinite(exact)
            np.testing.assert_array_equal(summed[~finite], exact[~finite])
            assert np.isfinite(summed[finite]).all()

    agrees()
