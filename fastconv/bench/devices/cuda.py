"""An NVIDIA GPU: operands are torch's tensors there, and its clock is its own events.

torch's switches decide about torch and fastconv alike: cuDNN tries its algorithms out and keeps the fastest
(``benchmark``), and float32 is multiplied as TF32 only where a contestant's row of the table says so.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack

import torch

import fastconv.torch.functional  # noqa: F401, fastconv's functions take tensors from then on
from fastconv.bench.contestants import CUDA, Call, Entry
from fastconv.bench.devices.events import CAPTURED, Clock, Events, burst
from fastconv.bench.operands import Operands, formed, seed, shapes
from fastconv.bench.problems import Problem


class Cuda:
    """The current GPU; ``place`` and ``clock`` are what stands in for them where there is none."""

    name = CUDA

    def __init__(self, place: str = CUDA, clock: Clock | None = None) -> None:
        self.place = place
        self.clock = clock or Events()
        self._last: tuple[Problem, Operands] | None = None

    def operands(self, problem: Problem) -> Operands:
        """The same tensors in every run; of the last problem they are kept, for all contestants."""
        if self._last is None or self._last[0] != problem:
            generator = torch.Generator(self.place).manual_seed(seed(problem))
            made = (torch.randn(shape, generator=generator, device=self.place) for shape in shapes(problem))
            self._last = problem, Operands(*(formed(each, problem) for each in made))
        return self._last[1]

    def switches(self, entry: Entry) -> AbstractContextManager[object]:
        """torch's own switches, and no gradients recorded: a call that switched that itself would take longer."""
        stack = ExitStack()
        stack.enter_context(torch.no_grad())
        flags = torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=entry.tf32)
        stack.enter_context(flags)
        return stack

    def captured(self, call: Call) -> tuple[Call, int]:
        return self.clock.capture(call), CAPTURED

    def burst(self, call: Call, seconds: float) -> float:
        return burst(self.clock, call, seconds)

    def settle(self) -> None:
        self.clock.settle()
