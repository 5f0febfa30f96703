"""When a result of a fuzz test is right: to the bit, but for the functions that round.

The operands are small whole numbers, so sums and products are exact in every data type. Divisions, roots and float16
results are rounded; what remains is counted in units of the data type's last place at 1, or at the largest element.
"""

from __future__ import annotations

import numpy as np

ROUNDINGS = {"avg": 4, "adaptive_avg": 4, "lp": 64, "conv": 64}
"""By the function's family, the others being exact.

An average is one division, and its gradient a sum of a few. A power and a root of single precision err by some units
each, and the root of a sum of powers near 0 makes more of them. A convolution is exact, but for minimal filtering of
more than three taps in a row, whose factors are thirds and sixths: in 64 units no whole number is mistaken for another.
"""


def tolerance(function: str, dtype: str) -> float:
    family = "conv" if function.startswith("conv") else function.partition("_pool")[0]
    units = ROUNDINGS.get(family, 0) + (1 if dtype == "float16" else 0)
    return units * float(np.finfo(dtype).eps)


def assert_right(actual: np.ndarray, exact: np.ndarray, tolerance: float, what: str = "result") -> None:
    """The shape of ``exact``, NaN and infinities where it has them, all else within ``tolerance``."""
    assert actual.shape == exact.shape, f"{what}: shape {actual.shape}, expected {exact.shape}"
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(actual[~finite], exact[~finite], err_msg=what)
    scale = max(1.0, float(np.abs(exact[finite]).max(initial=0.0)))
    right = np.abs(actual[finite].astype(np.float64) - exact[finite]) <= tolerance * scale
    assert right.all(), f"{what}: {actual} where {exact} is right"
