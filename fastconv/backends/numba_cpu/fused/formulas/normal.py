"""The normal distribution's density and probability, which GELU needs, as formulas on `Lanes`.

With y = |x| and q = (y - k) / (y + k),

    exp(-x^2 / 2)       =  exp(-s) (1 - rest),      s + rest = x^2 / 2 without rounding
    P(X > y)            =  exp(-s) (1 - rest) R(q) / (y + k)
    P(X <= x)           =  P(X > y) below 0, and 1 - P(X > y) elsewhere

R(q) = (y + k) exp(y^2 / 2) P(X > y) is between 0.4 and 1.8, and so smooth that a polynomial of degree 9 has the digits
of float32, and one of degree 23 those of float64. So small probabilities are as exact as large ones, within 3 units in
the last place, where the usual (1 + erf(x / sqrt 2)) / 2 cancels. The coefficients are a Chebyshev series of R,
computed in 50 digits and cut off; k makes the series short.

The form is that of M. Shepherd and J. Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x" (1981).
"""

from __future__ import annotations

import math

from fastconv.backends.numba_cpu.fused.formulas.lanes import Lanes, exp

_K = 3.5

_SINGLE = (
    *(0.744416078, -0.565561752, 0.315424765, -0.116052861, 0.0174094897),
    *(0.00649284035, -0.00318671403, -0.000498744603, 0.000435557051, 0.000119690912),
)
_DOUBLE = (
    *(0.7444160754359381, -0.565561816053779, 0.315424969887952, -0.11605092871407707),
    *(0.01740783260207447, 0.006476218919831471, -0.0031891010488029918, -0.000445012949452695),
    *(0.0004766571060428892, 6.703322691909447e-05, -7.558467815977142e-05, -1.878887416353812e-05),
    *(1.1506676468325894e-05, 5.651846230265505e-06, -1.1650866167408805e-06, -1.4790467557840184e-06),
    *(-1.4317533340621254e-07, 2.9427261901849e-07, 1.2393234227802369e-07, -3.0022672298284953e-08),
    *(-3.637320554493355e-08, -3.90239261611911e-09, 4.923410799679888e-09, 1.4998035818691446e-09),
)
"""Coefficients of R by powers of q, for float32 and float64."""

_FARTHEST = 14.5, 39.0
"""Distances from 0 beyond which the density is less than half the smallest number of float32, and of float64."""


def density_and_probability(x: Lanes) -> tuple[Lanes, Lanes]:
    """Return the normal distribution's density at x, and its probability up to x."""
    coefficients, farthest = (_SINGLE, _FARTHEST[0]) if x.is_single else (_DOUBLE, _FARTHEST[1])
    y = Lanes(x.builder, x.apply("fabs")).clamp(0.0, farthest)
    half = y * 0.5
    square = half * y
    power = exp(-square)
    power = power - power * half.times_plus(y, -square)
    inverse = 1.0 / (y + _K)
    q = (y - _K) * inverse
    series = x._new(x.constant(coefficients[-1]))
    for coefficient in reversed(coefficients[:-1]):
        series = series.times_plus(q, coefficient)
    beyond = power * (series * inverse)
    return power * (1 / math.sqrt(2 * math.pi)), (1.0 - beyond).replaced(x.below(0.0), beyond)
