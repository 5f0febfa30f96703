"""The activations: each is a class with its formula, the formula of its gradient, and the array that this reads.

    relu       max(x, 0)                          relu6      min(max(x, 0), 6)
    tanh       (exp 2x - 1) / (exp 2x + 1)        silu       x / (1 + exp(-x))
    sigmoid    1 / (1 + exp(-x))                  hardswish  x min(max(x + 3, 0), 6) / 6
    leaky_relu max(x, 0) + min(x, 0) / 100        hardsigmoid  min(max(x + 3, 0), 6) / 6
    gelu       x P(X <= x), X normal              gelu_tanh    x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3)))

The formulas are those of `torch.nn.functional`, whose names they have; gelu_tanh is its gelu with approximate="tanh",
which writes it as x (1 + tanh(...)) / 2. To add one, write its class, with a row in
`ACTIVATIONS` and its name in `fastconv.backends.block.Activation`.

A vector's division takes 16 cycles on some processors, so constants are multiplied by.

relu and relu6 only limit the results, which every algorithm's epilogue does while these are in registers. The others
take a pass over the results (post_op.py).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from fastconv.backends.compiler import intrinsic
from fastconv.backends.numba_cpu.fused.formulas.lanes import Lanes, exp, half_of_one_plus_exp, tanh
from fastconv.backends.numba_cpu.fused.formulas.normal import density_and_probability
from fastconv.backends.numba_cpu.simd import vector_of


class Activation(ABC):
    """An activation maps each number of an array to another one."""

    limits: tuple[float, float] | None = None
    """Lower and upper limit, for an activation that does nothing but limit the numbers."""

    reads_input: bool = False
    """True if the gradient is computed from the activation's inputs, False if from its results."""

    has_exp: bool = False
    """True if the formulas have an exponential: to store and load a gradient is cheaper than to compute it twice."""

    @abstractmethod
    def forward(self, x: Lanes) -> Lanes:
        """Return the activation's results."""

    @abstractmethod
    def gradient(self, grad: Lanes, saved: Lanes) -> Lanes:
        """Return the gradient of the inputs from that of the results, and the array that `reads_input` names."""


class Clamp(Activation):
    """This activation limits the numbers; its gradient is 0 at the limits and beyond."""

    def __init__(self, low: float, high: float) -> None:
        self.limits = low, high

    def forward(self, x: Lanes) -> Lanes:
        assert self.limits is not None
        return x.clamp(*self.limits)

    def gradient(self, grad: Lanes, saved: Lanes) -> Lanes:
        assert self.limits is not None
        low, high = self.limits
        grad = grad.replaced(saved.at_most(low), 0.0)
        return grad if math.isinf(high) else grad.replaced(saved.at_least(high), 0.0)


class Tanh(Activation):
    """This activation is the hyperbolic tangent y, with the derivative 1 - y^2."""

    has_exp = True

    def forward(self, x: Lanes) -> Lanes:
        return tanh(x)

    def gradient(self, grad: Lanes, saved: Lanes) -> Lanes:
        return grad * (-saved).times_plus(saved, 1.0)


class Sigmoid(Activation):
    """This activation is y = 1 / (1 + exp(-x)), with the derivative y (1 - y)."""

    has_exp = True

    def forward(self, x: Lanes) -> Lanes:
        return 0.5 / half_of_one_plus_exp(-x)

    def gradient(self, grad: Lanes, saved: Lanes) -> Lanes:
        return grad * saved * (1.0 - saved)


class Silu(Activation):
    """This activation is x s with s = 1 / (1 + exp(-x)), with the derivative s (1 + x (1 - s))."""

    reads_input = has_exp = True

    def forward(self, x: Lanes) -> Lanes:
        return x * 0.5 / half_of_one_plus_exp(-x)

    def gradient(self, grad: Lanes, saved: Lanes) -> Lanes:
        sigmoid = 0.5 / half_of_one_plus_exp(-saved)
        return grad * sigmoid * (1.0 + saved * (1.0 - sigmoid))


class HardSwish(Activation):
    """This activation is x min(max(x + 3, 0), 6) / 6; its derivative is x / 3 + 1/2 between -3 and 3, beyond 0 or 1."""

    reads_input = True

    def forward(self, x: Lanes) -> Lanes:
        return x * (x + 3.0).clamp(0.0, 6.0) * (1 / 6)

    def gradient(self, grad: Lanes, saved: Lanes) -> Lanes:
        inside = grad * saved.times_plus(1 / 3, 0.5)
        return grad.replaced(saved.below(3.0), inside).replaced(saved.at_most(-3.0), 0.0)


class HardSigmoid(Activation):
    """This activation is min(max(x + 3, 0), 6) / 6; its derivative is 1/6 between -3 and 3, and 0 elsewhere."""

    reads_input = True
    SIXTH = 0.16666667163372040
    """1/6 as float32 has it, by which torch multiplies gradients in float64 too."""

    def forward(self, x: Lanes) -> Lanes:
        return (x + 3.0).clamp(0.0, 6.0) * (1 / 6)

    def gradient(self, grad: Lanes, saved: Lanes) -> Lanes:
        nothing = Lanes(grad.builder, grad.constant(0.0))
        return nothing.replaced(saved.below(3.0), grad * self.SIXTH).replaced(saved.at_most(-3.0), 0.0)


class LeakyRelu(Activation):
    """This activation is x above 0, and elsewhere x times the slope that torch takes by default."""

    reads_input = True
    SLOPE = 0.01

    def forward(self, x: Lanes) -> Lanes:
        return x.replaced(x.at_most(0.0), x * self.SLOPE)

    def gradient(self, grad: Lanes, saved: Lanes) -> Lanes:
        return (grad * self.SLOPE).replaced(saved.above(0.0), grad)


class Gelu(Activation):
    """This activation is x P(X <= x) of a normal X with the density p(x); its derivative is P(X <= x) + x p(x)."""

    reads_input = has_exp = True

    def forward(self, x: Lanes) -> Lanes:
        return x * density_and_probability(x)[1]

    def gradient(self, grad: Lanes, saved: Lanes) -> Lanes:
        density, probability = density_and_probability(saved)
        return grad * saved.times_plus(density, probability)


class GeluTanh(Activation):
    """This activation is x s with s = 1 / (1 + exp(-u)), u = a (x + b x^3); its derivative is s + x u' s (1 - s)."""

    reads_input = has_exp = True
    A, B = 2 * math.sqrt(2 / math.pi), 0.044715

    def forward(self, x: Lanes) -> Lanes:
        return x * 0.5 / half_of_one_plus_exp(-self._exponent(x))

    def gradient(self, grad: Lanes, saved: Lanes) -> Lanes:
        # x u' grows as x^3, so 1 - s must not cancel: it is t / (1 + t) where s = 1 / (1 + t), and the other way round.
        u = self._exponent(saved)
        t = exp(-Lanes(u.builder, u.apply("fabs")))
        larger = 1.0 / (1.0 + t)
        slope = saved * (saved * saved).times_plus(3 * self.A * self.B, self.A)
        return grad * (slope * (t * larger * larger) + larger.replaced(u.below(0.0), t * larger))

    def _exponent(self, x: Lanes) -> Lanes:
        return x * (x * x).times_plus(self.A * self.B, self.A)


ACTIVATIONS: dict[str, Activation] = {
    "relu": Clamp(0.0, math.inf),
    "relu6": Clamp(0.0, 6.0),
    "tanh": Tanh(),
    "silu": Silu(),
    "hardswish": HardSwish(),
    "sigmoid": Sigmoid(),
    "hardsigmoid": HardSigmoid(),
    "leaky_relu": LeakyRelu(),
    "gelu": Gelu(),
    "gelu_tanh": GeluTanh(),
}
"""The activations by their names in `fastconv.backends.block.Activation`."""

NONE = "none"
"""Stands in compiled code for the lack of an activation."""


def is_clamp(name: str) -> bool:
    """Return True if the activation ``name`` does nothing but limit the numbers."""
    return name in ACTIVATIONS and ACTIVATIONS[name].limits is not None


@intrinsic(prefer_literal=True)
def apply(typing, simd, name, value):
    """Return the activation ``name`` of each lane."""
    activation = ACTIVATIONS.get(name.literal_value)

    def generate(context, builder, signature, arguments):
        return arguments[2] if activation is None else activation.forward(Lanes(builder, arguments[2])).value

    return vector_of(simd)(simd, name, vector_of(simd)), generate


@intrinsic(prefer_literal=True)
def differentiate(typing, simd, name, grad, saved):
    """Return the gradient before the activation ``name``, from that behind it and what `reads_input` says."""
    activation = ACTIVATIONS[name.literal_value]

    def generate(context, builder, signature, arguments):
        return activation.gradient(*[Lanes(builder, each) for each in arguments[2:]]).value

    return vector_of(simd)(simd, name, vector_of(simd), vector_of(simd)), generate


@intrinsic(prefer_literal=True)
def differentiate_at(typing, simd, name, grad, x):
    """Return the gradient before the activation ``name``, from that behind it and the activation's inputs."""
    activation = ACTIVATIONS.get(name.literal_value)

    def generate(context, builder, signature, arguments):
        if activation is None:
            return arguments[2]
        grad, x = (Lanes(builder, each) for each in arguments[2:])
        return activation.gradient(grad, x if activation.reads_input else activation.forward(x)).value

    return vector_of(simd)(simd, name, vector_of(simd), vector_of(simd)), generate
