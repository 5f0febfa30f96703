"""`Lanes` lets a formula be written in Python's operators, and emits vector instructions for it.

Two functions are not instructions. With n = round(x / log 2) and r = x - n log 2, so that |r| <= log(2) / 2,

    exp x   =  2^n + 2^n (exp r - 1)          (1 + exp x) / 2  =  2^(n - 1) + 2^(n - 1) (exp r - 1) + 1 / 2
    tanh x  =  t / (t + 2),     t = exp(2 x) - 1 = 2^n (exp r - 1) + (2^n - 1)

with (exp r - 1) / r by a polynomial, of 6 terms for float32 and 11 for float64. Nothing cancels in t, however small x
is, so tanh is within 3 units in the last place; beyond |x| = 20 it is +-1. NaN stays NaN.

A sum with 1.5 * 2^23 (float64: 2^52) is rounded to a whole number, whose last bits are n. So an addition takes the
place of a rounding, which is two steps on x86, and a shift of those bits to the exponent's place makes 2^n. With that,
and a term less than Taylor's series has, SiLU takes 13.5 instead of 17.6 cycles for 16 lanes (Emerald Rapids).

The method is that of W. Cody and W. Waite, "Software manual for the elementary functions" (1980), with expm1 in the
place of exp. That bits moved to the exponent's place make a power of two is used after N. Schraudolph, "A fast, compact
approximation of the exponential function" (Neural Computation 11, 1999).
"""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

from llvmlite import ir

from fastconv.backends.compiler import cgutils
from fastconv.backends.numba_cpu.simd import clamped, multiply_add

_LOG2_HIGH, _LOG2_REST = 0.693359375, -2.121944400546905827679e-4
"""Parts of log 2. The first has 10 bits, so that n times it is exact; the second is rounded from more digits than the
difference of two float64 numbers has."""

_SINGLE = (1.0, 0.5, 0.1666654497385025, 0.04166640341281891, 0.008366397581994534, 0.0013940648641437292)
_DOUBLE = (
    *(1.0, 0.5000000000000006, 0.1666666666666667, 0.041666666666573066, 0.008333333333326136, 0.001388888893251478),
    *(0.00019841269874820627, 2.480150431378554e-05, 2.7557255400206422e-06, 2.7626371065696354e-07),
    2.5105217004720745e-08,
)
"""Coefficients of (exp r - 1) / r by powers of r between -log(2) / 2 and log(2) / 2. For float32 they have the least
largest error of polynomials that begin with 1 + r / 2, each rounded before the next one is fitted; for float64 they
meet the function at Chebyshev's points. They miss it by 1.4e-8 and 2.1e-17, a fifth of a unit in the last place."""

_LARGEST = math.log(sys.float_info.max)
"""From here on e^x is infinite in float64, for torch too."""


class Lanes:
    """A vector of numbers in a formula; numbers of Python's in the same formula stand for vectors of equal lanes."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def constant(self, number: float) -> Any:
        """Return a vector constant, as LLVM's value."""
        return ir.Constant(self.value.type, [number] * self.value.type.count)

    def _other(self, other: Lanes | float) -> Any:
        return other.value if isinstance(other, Lanes) else self.constant(other)

    def _new(self, value: Any) -> Lanes:
        return Lanes(self.builder, value)

    def __add__(self, other: Lanes | float) -> Lanes:
        return self._new(self.builder.fadd(self.value, self._other(other)))

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self._new(self.builder.fsub(self.value, self._other(other)))

    def __rsub__(self, other: float) -> Lanes:
        return self._new(self.builder.fsub(self._other(other), self.value))

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self._new(self.builder.fmul(self.value, self._other(other)))

    def __truediv__(self, other: Lanes | float) -> Lanes:
        return self._new(self.builder.fdiv(self.value, self._other(other)))

    def __rtruediv__(self, other: float) -> Lanes:
        return self._new(self.builder.fdiv(self._other(other), self.value))

    def __neg__(self) -> Lanes:
        return self._new(self.builder.fneg(self.value))

    __radd__, __rmul__ = __add__, __mul__

    def times_plus(self, factor: Lanes | float, summand: Lanes | float) -> Lanes:
        """Return self * factor + summand, rounded once."""
        return self._new(multiply_add(self.builder, self.value, self._other(factor), self._other(summand)))

    def clamp(self, low: float, high: float) -> Lanes:
        """Return the lanes between ``low`` and ``high``, and these limits in place of the others; NaN stays NaN."""
        return self._new(clamped(self.builder, self.value, self.constant(low), self.constant(high)))

    def at_most(self, bound: float) -> Any:
        """Return a mask of the lanes that are ``bound`` or less; NaN is not."""
        return self.builder.fcmp_ordered("<=", self.value, self.constant(bound))

    def below(self, bound: float) -> Any:
        """Return a mask of the lanes less than ``bound``; NaN is not."""
        return self.builder.fcmp_ordered("<", self.value, self.constant(bound))

    def above(self, bound: float) -> Any:
        """Return a mask of the lanes greater than ``bound``; NaN is not."""
        return self.builder.fcmp_ordered(">", self.value, self.constant(bound))

    def at_least(self, bound: float) -> Any:
        """Return a mask of the lanes that are ``bound`` or more; NaN is not."""
        return self.builder.fcmp_ordered(">=", self.value, self.constant(bound))

    def replaced(self, mask: Any, by: Lanes | float) -> Lanes:
        """Return the lanes of ``by`` under the mask, and these lanes elsewhere."""
        return self._new(self.builder.select(mask, self._other(by), self.value))

    def apply(self, name: str, *others: Any) -> Any:
        """Return the result of LLVM's function ``name``, with the vector as its first argument."""
        kind = self.value.type
        function = ir.FunctionType(kind, [kind] * (1 + len(others)))
        full = f"llvm.{name}.v{kind.count}f{32 if self.is_single else 64}"
        called = cgutils.get_or_insert_function(self.builder.module, function, full)
        return self.builder.call(called, [self.value, *others])

    def shifted(self, bits: int) -> Lanes:
        """Return the numbers whose bits are those of the lanes moved up by ``bits``, with zeros behind them."""
        whole = ir.VectorType(ir.IntType(32 if self.is_single else 64), self.value.type.count)
        moved = self.builder.shl(self.builder.bitcast(self.value, whole), ir.Constant(whole, [bits] * whole.count))
        return self._new(self.builder.bitcast(moved, self.value.type))

    @property
    def is_single(self) -> bool:
        """Return True for float32."""
        return isinstance(self.value.type.element, ir.FloatType)


class _Power(NamedTuple):
    """The parts of e^x: n = round(x / log 2), 2^(n + shift), and exp(x - n log 2) - 1."""

    n: Lanes
    power: Lanes
    minus_one: Lanes


def _rounding(x: Lanes) -> tuple[float, int]:
    """Return what is added to a small number for a sum that ends in the bits of 2 to its power, and their place."""
    mantissa, bias = (23, 127) if x.is_single else (52, 1023)
    return 1.5 * 2.0**mantissa + bias, mantissa


def _parts(x: Lanes, shift: int = 0) -> _Power:
    """Return the parts of e^x; the power of two is right if it is a normal number, and has no meaning otherwise."""
    (whole, mantissa), coefficients = _rounding(x), _SINGLE if x.is_single else _DOUBLE
    rounded = x.times_plus(1 / math.log(2), whole + shift)
    n = rounded - (whole + shift)
    r = n.times_plus(-_LOG2_HIGH, x)
    r = n.times_plus(-_LOG2_REST, r)
    series = x._new(x.constant(coefficients[-1]))
    for coefficient in reversed(coefficients[:-1]):
        series = series.times_plus(r, coefficient)
    return _Power(n, rounded.shifted(mantissa), series * r)


def exp(x: Lanes) -> Lanes:
    """Return e^x within 2 units in the last place; infinity where that is too large, 0 where too small."""
    # Beyond these limits the result is infinity or 0.
    most = 130.0 if x.is_single else 800.0
    n, _, minus_one = _parts(x.clamp(-most, most))
    # n is cut in halves, whose powers of two are normal numbers.
    whole, mantissa = _rounding(x)
    rounded = n.times_plus(0.5, whole)
    first, second = rounded.shifted(mantissa), (n - (rounded - whole) + whole).shifted(mantissa)
    return first.times_plus(minus_one, first) * second


def half_of_one_plus_exp(x: Lanes) -> Lanes:
    """Return (1 + e^x) / 2 within 2 units in the last place; infinity where that is too large.

    Of a sum with 1 the small powers don't matter, and half of the largest one is a power of two with an exponent, so
    that one such power will do.
    """
    least, most = (-80.0, 89.0) if x.is_single else (-700.0, _LARGEST)
    # Above the limit the power has no meaning. A comparison with NaN is false, so NaN is not replaced.
    _, half, minus_one = _parts(x.clamp(least, math.inf), -1)
    return (half.times_plus(minus_one, half) + 0.5).replaced(x.above(most), math.inf)


def tanh(x: Lanes) -> Lanes:
    """Return the hyperbolic tangent within 3 units in the last place."""
    magnitude = Lanes(x.builder, x.apply("fabs")).clamp(0.0, 20.0)
    _, power, minus_one = _parts(magnitude + magnitude)
    t = power.times_plus(minus_one, power - 1.0)
    return x._new((t / (t + 2.0)).apply("copysign", x.value))
