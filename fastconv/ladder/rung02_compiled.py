"""Rung 02: the same text, compiled.

Numba reads the function of rung 01, works out that x and w are arrays of floats and that all counters are integers,
and has LLVM make machine code of it. Nothing else changes: the same loops, the same order, the same sums.

What the processor now does for one product: the compare of i and j with the image's size, a load of x and one of w,
a conversion of both to float64 (the sum is a Python float, which is one), a multiplication, an addition. That addition
is what sets the pace: it needs the sum that the one before it made, and an addition takes 3 or 4 cycles from operands
to result. A core that could start 16 or 32 products in a cycle does one every 4.

    peak:  2 units x 8 or 16 lanes x 2 flops a cycle        this loop:  2 flops every 4 cycles

The compiler may not break the chain up by itself: (a + b) + c and a + (b + c) differ in their last bits, and it keeps
to what the text says.

Exercise: count the operations of one product in `fastconv ladder --rung 2 --asm`. Which of them would go if
the image had a border of zeros?
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.geometry import ConvGeometry
from fastconv.ladder.rung01_definition import correlate

IDEA = "the same text, compiled"

loops = jit(correlate)


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, C / groups, R, S) and b (K,)."""
    y = np.empty(g.output_shape, x.dtype)
    loops(x, w, b, y, g.stride, g.padding, g.dilation, g.groups)
    return y


def kernel(dtype: np.dtype[Any]) -> Any:
    """Returns the compiled function that the time goes into."""
    return loops
