"""What counts as equal, per data type, with the reason.

The oracle works in float64 on the same inputs, so only the rounding of the result under test is judged. The error
of a sum of n products grows like sqrt(n) for random signs, n at most some thousands here:

- float64: 2**-53 * sqrt(5000) * a few = 1e-14 relative to the largest sum; 1e-11 leaves room for cancellation.
- float32: 2**-24 * sqrt(5000) * a few = 1e-5.
- float16: the result is rounded once, by half a unit in the last place, 2**-11 = 4.9e-4 of its own size.
- bfloat16: likewise 2**-8 = 3.9e-3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SCALED = {"float64": 1e-11, "float32": 1e-5, "float16": 5e-4, "bfloat16": 4e-3}


def assert_equal(actual: Any, expected: np.ndarray, what: str = "result") -> None:
    """``actual`` agrees with the float64 ``expected`` in shape and, within its type's tolerance, in every element.

    NaN and infinities must stand in the same places. The tolerance is relative to the largest finite expected
    element, so numbers that are small altogether are judged as strictly as large ones; all zeros must be zeros.
    """
    actual = np.asarray(actual)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    tolerance = SCALED[actual.dtype.name]
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite].astype(np.float64), expected[~finite], err_msg=what)
    scale = float(np.abs(expected[finite]).max(initial=0.0))
    wrong = ~(np.abs(actual[finite].astype(np.float64) - expected[finite]) <= tolerance * scale)
    assert not wrong.any(), (
        f"{what}: {wrong.sum()} of {wrong.size} elements differ by more than {tolerance * scale:.1e}"
    )
