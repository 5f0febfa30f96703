"""A step of a fused optimizer as one call, without its visits to each parameter.

torch's `Adam(fused=True).step()` runs hooks, looks at every parameter and its state, and sorts tensors by device and
type, before it calls one function for all of them. For ten parameters that takes 250 us, in LeNet-5 as long as a
fourth of the forward pass, and the function 60. A training's parameters and states stay the same tensors, so they are
listed once, and the counters of steps are made elements of one tensor: to add 1 to it takes 2 us, to ten of them 70.
The function is torch's own: parameters have the same bits. Where it isn't there, the step is torch's.

AdamW's average of a gradient that has become zero, as that of a unit which no image activates, shrinks by a tenth in
each step. After 800 steps it is a denormal number, with which an operation takes a hundred cycles: the step of
SimpleConvNet's 440,000 parameters took 940 us then, and 265 before. Averages are set to zero long before, when they
change no parameter any more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

LEAST, LEAST_SQUARE = 1e-33, 1e-36
"""Averages of a gradient and of its square below these become zero. AdamW divides an average by the root of the other
plus 1e-8, so at a learning rate of 0.001 a smaller average moves its parameter by 1e-28 at most, and the root of a
smaller square, 1e-18, is lost beside 1e-8 in float32."""

OFTEN = 64
"""Steps from one look at the averages to the next, which takes 300 us. Meanwhile an average just above `LEAST` shrinks
to 1e-36, which is no denormal number yet."""


class FusedStep:
    """The steps of an optimizer whose parameters all get gradients."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._parameters: list[nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]
        self._memory: tuple[list[Tensor], ...] | None = None
        self._counter = self._one = torch.zeros(0)
        """The counters of AdamW's steps, an element for each parameter, and as many ones."""
        self._state: Any = None
        """What the optimizer remembers of the first parameter; another object after a checkpoint was loaded."""

    def __call__(self) -> None:
        """Change the parameters by their gradients."""
        gradients = [p.grad for p in self._parameters]
        state = self._optimizer.state
        if self._memory is not None and state.get(self._parameters[0]) is self._state and all(map(_exists, gradients)):
            self._call(gradients)
        else:
            self._optimizer.step()
            self._memory = self._listed() if self._is_simple() else None
            self._state = state.get(self._parameters[0])
        if self._memory is not None and len(self._memory) == 3 and int(self._counter[0]) % OFTEN == 0:
            self._forget_least()

    @torch.no_grad()
    def _forget_least(self) -> None:
        """Set averages to zero that change no parameter any more."""
        assert self._memory is not None
        averages, squares, _ = self._memory
        for average, square in zip(averages, squares, strict=True):
            if average.dtype is torch.float32:
                average.mul_(average.abs() >= LEAST)
                square.mul_(square >= LEAST_SQUARE)

    def clear(self) -> None:
        """Forget the gradients."""
        if self._memory is None:
            self._optimizer.zero_grad()
            return
        for p in self._parameters:
            p.grad = None

    def _is_simple(self) -> bool:
        """Returns True if the optimizer's step is one call: it is fused, for tensors of one type on the CPU."""
        first = self._parameters[0]
        alike = all(p.is_cpu and p.dtype is first.dtype for p in self._parameters)
        known = type(self._optimizer) in (SGD, AdamW) and len(self._optimizer.param_groups) == 1
        return known and alike and self._optimizer.defaults["fused"] is True and _ARE_THERE

    def _listed(self) -> tuple[list[Tensor], ...] | None:
        """Returns what the optimizer remembers, a list for each kind, or None where a parameter has nothing yet."""
        if type(self._optimizer) is AdamW:
            names = ["exp_avg", "exp_avg_sq", "step"]
        else:
            names = ["momentum_buffer"] if self._optimizer.defaults["momentum"] else []
        states = [self._optimizer.state[p] for p in self._parameters]
        if not all(isinstance(state.get(name), Tensor) for state in states for name in names):
            return None
        if "step" in names:
            self._counter = torch.stack([state["step"] for state in states])
            self._one = torch.ones_like(self._counter)
            for number, state in enumerate(states):
                state["step"] = self._counter[number]
        return tuple([[state[name] for state in states] for name in names])

    @torch.no_grad()
    def _call(self, gradients: list[Any]) -> None:
        assert self._memory is not None
        (how,) = self._optimizer.param_groups
        parameters: list[Tensor] = [*self._parameters]
        shared: dict[str, Any] = {name: how[name] for name in ("lr", "weight_decay", "maximize")}
        if len(self._memory) == 3:
            averages, squares, steps = self._memory
            self._counter.add_(self._one)
            beta1, beta2 = how["betas"]
            more = {"beta1": beta1, "beta2": beta2, "eps": how["eps"], "amsgrad": False}
            torch._fused_adamw_(parameters, gradients, averages, squares, [], steps, **more, **shared)
        else:
            more = {name: how[name] for name in ("momentum", "dampening", "nesterov")}
            buffers = self._memory[0] if self._memory else []
            torch._fused_sgd_(parameters, gradients, buffers, is_first_step=False, **more, **shared)


def _exists(gradient: Tensor | None) -> bool:
    return gradient is not None


_ARE_THERE = all(hasattr(torch, name) for name in ("_fused_adamw_", "_fused_sgd_"))
