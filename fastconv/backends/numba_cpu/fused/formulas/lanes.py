"""`Lanes` lets a formula be written in Python's operators, and emits vector instructions for it.

Two functions are not instructions. With n = round(x / log 2) and r = x - n log 2, so that |r| <= log(2) / 2,

    exp x   =  2^n + 2^n (exp r - 1)          (1 + exp x) / 2  =  2^(n - 1) + 2^(n - 1) (exp r - 1) + 1 / 2
    tanh x  =  t / (t + 2),     t = exp(2 x) - 1 = 2^n (exp r - 1) + (2^n - 1)

with exp r - 1 by its Taylor series, 7 terms for float32 and 13 for float64. Nothing cancels in t, however small x is,
so tanh is within 2.3 units in the last place; beyond |x| = 20 it is +-1. NaN stays NaN.

The method is that of W. Cody and W. Waite, "Software manual for the elementary functions" (1980), with expm1 in the
place of exp.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import cgutils
from fastconv.backends.numba_cpu.simd import clamped, multiply_add

_LOG2_HIGH, _LOG2_REST = 0.693359375, -2.121944400546905827679e-4
"""Parts of log 2. The first has 10 bits, so that n times it is exact; the second is rounded from more digits than the
difference of two float64 numbers has."""


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

    @property
    def is_single(self) -> bool:
        """Return True for float32."""
        return isinstance(self.value.type.element, ir.FloatType)


def _reduced(x: Lanes) -> tuple[Lanes, Lanes]:
    """Return n = round(x / log 2) and exp(x - n log 2) - 1."""
    n = Lanes(x.builder, (x * (1 / math.log(2))).apply("rint"))
    r = n.times_plus(-_LOG2_HIGH, x)
    r = n.times_plus(-_LOG2_REST, r)
    terms = 7 if x.is_single else 13
    series = x._new(x.constant(1 / math.factorial(terms)))
    for term in range(terms - 1, 0, -1):
        series = series.times_plus(r, 1 / math.factorial(term))
    return n, series * r


def _power_of_two(n: Lanes) -> Lanes:
    """Return 2^n for whole n within the exponents of normal numbers; the result for NaN has no meaning."""
    builder, (mantissa, bias, size) = n.builder, (23, 127, 32) if n.is_single else (52, 1023, 64)
    bits = ir.VectorType(ir.IntType(size), n.value.type.count)

    def whole(number: int) -> Any:
        return ir.Constant(bits, [number] * bits.count)

    exponent = builder.add(builder.fptosi(n.value, bits), whole(bias))
    return n._new(builder.bitcast(builder.shl(exponent, whole(mantissa)), n.value.type))


def exp(x: Lanes) -> Lanes:
    """Return e^x within 2 units in the last place; infinity where that is too large, 0 where too small."""
    # Beyond these limits the result is infinity or 0, and the halves of n are still exponents of normal numbers.
    most = 130.0 if x.is_single else 800.0
    n, minus_one = _reduced(x.clamp(-most, most))
    half = Lanes(x.builder, (n * 0.5).apply("floor"))
    first = _power_of_two(half)
    return first.times_plus(minus_one, first) * _power_of_two(n - half)


def half_of_one_plus_exp(x: Lanes) -> Lanes:
    """Return (1 + e^x) / 2 within 2 units in the last place; infinity where that is too large.

    Of a sum with 1 the small powers don't matter, and half of the largest one is a power of two with an exponent, so
    that one such power will do.
    """
    n, minus_one = _reduced(x)
    half = _power_of_two(n - 1.0)
    found = half.times_plus(minus_one, half) + 0.5
    least, most = (-80.0, 89.0) if x.is_single else (-700.0, _LARGEST)
    # Beyond these limits the power has no meaning. A comparison with NaN is false, so NaN is not replaced.
    return found.replaced(x.below(least), 0.5).replaced(x.above(most), math.inf)


def tanh(x: Lanes) -> Lanes:
    """Return the hyperbolic tangent within 2.3 units in the last place."""
    magnitude = Lanes(x.builder, x.apply("fabs"))
    # A comparison with NaN is false, so NaN is not replaced.
    far = x.builder.fcmp_ordered(">", magnitude.value, x.constant(20.0))
    magnitude = magnitude.replaced(far, 20.0)
    n, minus_one = _reduced(magnitude + magnitude)
    power = _power_of_two(n)
    t = power.times_plus(minus_one, power - 1.0)
    return x._new((t / (t + 2.0)).apply("copysign", x.value))
