"""A network's call where gradients are recorded: one program forwards and one backwards, as one autograd function.

Gradients of gradients, and numbers that aren't finite, go call by call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.autograd import Function

from fastconv import registry
from fastconv.backends.base import Backend
from fastconv.backends.network import Convolved, Mapped, Normed, Outline, Reshaped
from fastconv.backends.trainable import NetworkGradients, NetworkOperands, Reads, TrainableNetwork, depending, reached
from fastconv.errors import ArgumentError
from fastconv.torch.graphs.folding import picker
from fastconv.torch.graphs.networks.constants import is_usable
from fastconv.torch.graphs.networks.drawing import Drawing
from fastconv.torch.graphs.networks.reading import Reading
from fastconv.torch.internals import apply_directly, is_undisturbed
from fastconv.torch.memory import DTYPES, as_it_was, has_storage, is_plain, version
from fastconv.torch.separate import gradients_again

Tensor = torch.Tensor

_SAVED = "relu", "tanh", "sigmoid"
"""Activations whose results torch saves for their gradients, so that they must not change between the passes."""

_MOST_SIZES = 4
"""Most sizes of images whose programs are kept."""


class _Step(NamedTuple):
    """A network for one size of images."""

    network: TrainableNetwork
    outline: Outline
    shapes: list[tuple[int, ...]]
    """The shapes of the results."""
    fixed: list[int]
    """The numbers of the parameters that have no gradients: running statistics."""
    constant: dict[tuple[bool, ...], list[int]]
    """For each choice of operands that want a gradient, the numbers of the results that depend on none of them."""

    def constants(self, wanted: tuple[bool, ...]) -> list[int]:
        """Returns the numbers of the results that have no gradient where these operands want one."""
        found = self.constant.get(wanted)
        if found is None:
            moved = depending(self.outline, wanted[: self.outline.given], wanted[self.outline.given :])
            found = [number for number, value in enumerate(self.outline.results) if value not in moved]
            self.constant[wanted] = found
        return found


class _Pass(NamedTuple):
    """A forward pass that has run."""

    call: TrainedCall
    step: _Step
    results: list[Tensor]
    saved: Tensor


class TrainedCall:
    """Calls of a graph that run as a network, forwards and backwards."""

    def __init__(
        self,
        reading: Reading,
        wanted: Sequence[int],
        flat: Sequence[bool],
        apart: Callable[..., Any],
        again: Callable[..., Any],
    ) -> None:
        """Make a call of what was read.

        Args:
            reading: the calls.
            wanted: the values of the results.
            flat: for each result, whether it is features (N, C).
            apart: runs the calls one by one, given the operands.
            again: the same, but running statistics stay as they are.
        """
        self._wanted, self._flat, self._apart = wanted, flat, apart
        self.again = again
        self.images = [reading.operands.index(each) for each in reading.images]
        self._places = [reading.values[each] for each in reading.images]
        self.parameters = reading.constants.operands
        self.operands = len(reading.operands)
        self._picked = picker(self.parameters)
        self._lines = list(reading.lines)
        self._steps: dict[tuple[Any, ...], _Step | None] = {}
        self.__name__ = "network"

    def __call__(self, *operands: Any) -> Any:
        """Returns the result, or a tuple of several."""
        images, parameters = [operands[at] for at in self.images], self._picked(operands)
        step = self._step(images, parameters)
        if step is None:
            return self._apart(*operands)
        network, dtype = step.network, DTYPES[images[0].dtype]
        results = [torch.from_numpy(network.empty(shape, dtype)) for shape in step.shapes]
        saved = torch.from_numpy(network.empty((network.saved_bytes,), DTYPES[torch.uint8]))
        if not network.forward(NetworkOperands(images, parameters, results, saved)):
            return self._apart(*operands)
        return apply_directly(_Trained, _Pass(self, step, results, saved), *images, *parameters)

    def _step(self, images: Sequence[Any], parameters: Sequence[Any]) -> _Step | None:
        """Returns the network for these tensors, or None where the calls must run by themselves."""
        if not torch.is_grad_enabled() or not all(map(is_plain, images)):
            return None
        dtype = images[0].dtype
        if not any(each.requires_grad for each in (*images, *parameters)):
            return None
        if any(each.dtype is not dtype for each in images) or not all(
            is_usable(each, images[0]) for each in parameters
        ):
            return None
        backend = registry.resolve(None)
        key = backend, dtype, *[each.shape for each in images], *[each.shape for each in parameters]
        if key not in self._steps:
            if len(self._steps) >= _MOST_SIZES:
                self._steps.pop(next(iter(self._steps)), None)
            self._steps[key] = self._made(backend, images, parameters)
        step = self._steps.get(key)
        # A running statistic whose gradient is recorded isn't one that compiled code may write to.
        return None if step is None or any(parameters[at].requires_grad for at in step.fixed) else step

    def _made(self, backend: Backend, images: Sequence[Tensor], parameters: Sequence[Tensor]) -> _Step | None:
        sizes = [(N, C, H, W) for N, C, H, W in (each.shape for each in images)]
        drawing = Drawing(sizes, [tuple(each.shape) for each in parameters])
        values = dict(zip(self._places, range(len(sizes)), strict=True))
        try:
            for line in self._lines:
                # Gradients are those of the calls: none joins the one before.
                alone = (False,) * len(line.sources)
                values[line.target] = line.recipe(drawing, alone, *[values[source] for source in line.sources])
        except ArgumentError:
            return None
        outline = drawing.finish([values[each] for each in self._wanted])
        network = backend.trainable(outline, DTYPES[images[0].dtype])
        if network is None:
            return None
        found = [outline.shapes[result] for result in outline.results]
        shapes = [tuple(shape[:2]) if flat else tuple(shape) for shape, flat in zip(found, self._flat, strict=True)]
        fixed = [number for each in outline.operations if isinstance(each, Normed) for number in each.running or ()]
        return _Step(network, outline, shapes, fixed, {})


class _Trained(Function):
    @staticmethod
    def forward(ctx: Any, run: _Pass, *operands: Tensor) -> Any:
        call, step, results, saved = run
        ctx.call, ctx.step = call, step
        count, wanted = len(call.images), ctx.needs_input_grad[1:]
        reads = step.network.reads((True,) * len(results), tuple(wanted[:count]), tuple(wanted[count:]))
        # Results that torch doesn't save may be changed in place; then they are computed again.
        free = [
            read and _may_change(step.outline, value)
            for read, value in zip(reads.results, step.outline.results, strict=True)
        ]
        ctx.free = [each.detach() if may else None for each, may in zip(results, free, strict=True)]
        ctx.free_versions = [version(each) for each in ctx.free]
        saved_results = tuple([read and not may for read, may in zip(reads.results, free, strict=True)])
        # A parameter may change where the results that have gradients don't depend on it: of two heads, say, one may
        # make its step before the other's gradients. So a backward pass looks at those that it reads.
        reads = ctx.reads = Reads(reads.images, (False,) * len(reads.parameters), saved_results)
        kept = [each for each, read in zip((*operands, *results), sum(reads, ()), strict=True) if read]
        ctx.others = [None if read else each for each, read in zip(operands, sum(reads[:2], ()), strict=True)]
        ctx.versions = [version(each) for each in ctx.others]
        kept.append(saved)
        ctx.save_for_backward(*kept)
        ctx.forms = [(each.shape, each.dtype) for each in kept]
        ctx.grad_shapes = [each.shape for each in operands]
        ctx.dtype = results[0].dtype
        ctx.set_materialize_grads(False)
        # What frozen layers alone give has no gradient.
        ctx.mark_non_differentiable(*[results[number] for number in step.constants(wanted)])
        return results[0] if len(results) == 1 else tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        network, count = ctx.step.network, len(ctx.call.images)
        there = [grad is not None for grad in grads]
        if not any(there):
            return None, *[None] * len(ctx.others)
        values, parameters = reached(ctx.step.outline, there)
        reach = [number in values for number in range(count)]
        reach += [number in parameters for number in range(len(ctx.others) - count)]
        if (
            torch.is_grad_enabled()
            or not is_undisturbed()
            or not all(grad is None or has_storage(grad) for grad in grads)
            or [version(each) for each in ctx.free] != ctx.free_versions
        ):
            return None, *_again(ctx, grads, ctx.saved_tensors, reach)
        # Hooks that compute saved tensors again, as checkpoints do, give them once.
        unpacked = ctx.saved_tensors
        kept = [as_it_was(each, *form) for each, form in zip(unpacked, ctx.forms, strict=True)]
        changes = [
            None if grad is None else as_it_was(grad, shape, ctx.dtype)
            for grad, shape in zip(grads, ctx.step.shapes, strict=True)
        ]
        saved, further = kept.pop(), iter(kept)
        images, _, results = [[next(further) if read else None for read in part] for part in ctx.reads]
        for number, (own, shape) in enumerate(zip(ctx.free, ctx.step.shapes, strict=True)):
            if own is not None:
                results[number] = as_it_was(own, shape, ctx.dtype)
        wanted = tuple([want and there for want, there in zip(ctx.needs_input_grad[1:], reach, strict=True)])
        found = [
            torch.from_numpy(network.empty(shape, DTYPES[ctx.dtype])) if want else None
            for shape, want in zip(ctx.grad_shapes, wanted, strict=True)
        ]
        reads = network.reads(tuple(there), wanted[:count], wanted[count:])
        at = NetworkOperands(images, _parameters(ctx, reads.parameters), results, saved)
        finite = network.backward(at, NetworkGradients(changes, found[:count], found[count:]))
        return None, *(found if finite else _again(ctx, grads, unpacked, reach))


def _parameters(ctx: Any, read: Sequence[bool]) -> list[Tensor | None]:
    """Returns the parameters that are read, as they were in the forward pass."""
    count, found = len(ctx.call.images), list[Tensor | None]()
    for number, there in enumerate(read, count):
        each, before = ctx.others[number], ctx.versions[number]
        if there and version(each) != before:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: a "
                f"parameter of shape {tuple(each.shape)} is at version {version(each)}; expected version {before} "
                "instead"
            )
        found.append(as_it_was(each, ctx.grad_shapes[number], ctx.dtype) if there else None)
    return found


def _may_change(outline: Outline, value: int) -> bool:
    """Returns True if torch saves no result that this one is."""
    operation = outline.operations[value - outline.given]
    if isinstance(operation, Reshaped) and operation.source >= outline.given:
        return _may_change(outline, operation.source)
    if isinstance(operation, Convolved):
        return operation.block.pool is not None or operation.block.activation not in (None, *_SAVED)
    return isinstance(operation, Mapped | Normed) and operation.activation not in (None, *_SAVED)


def _again(
    ctx: Any, grads: Sequence[Tensor | None], saved: Sequence[Tensor], reach: Sequence[bool]
) -> list[Tensor | None]:
    """Returns the gradients by functions that have gradients of any order, and keep infinities where they belong.

    ``reach`` says of each operand whether it can have a gradient.
    """
    call, count = ctx.call, len(ctx.call.images)
    fixed = {count + number for number in ctx.step.fixed}
    operands = list(ctx.others)
    kept = iter(saved)
    for number, read in enumerate(sum(ctx.reads[:2], ())):
        if read:
            operands[number] = next(kept)
        elif number in fixed:
            operands[number] = None
        elif reach[number] and version(operands[number]) != ctx.versions[number]:
            raise RuntimeError(
                f"{'input' if number < count else 'parameter'} {number if number < count else number - count} of a "
                "compiled network: it has been modified by an inplace operation since the forward pass, and these "
                "gradients compute the layers' results again; change it after the backward pass"
            )
    places = [*call.images, *call.parameters]  # a weight may be an image too

    def forward(*operands: Any) -> Any:
        ordered: list[Any] = [None] * call.operands
        for place, each in zip(places, operands, strict=True):
            ordered[place] = each
        return call.again(*ordered)

    grad = grads[0] if len(grads) == 1 else grads
    assert grad is not None
    return gradients_again(forward, operands, grad, ctx.needs_input_grad[1:])
