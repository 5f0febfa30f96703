"""A plan of a network runs what a model computes, for images of one shape, without a look at the model in each call.

``torch.compile`` looks in each call whether a model is still what it captured: for one image, 0.4 of MobileNetV2's 3.8
ms on two Emerald Rapids cores. A plan leaves that out, as the session of an inference engine does, and runs the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from fastconv.errors import ArgumentError, ArgumentTypeError
from fastconv.torch.internals import tree_map

Graph = Callable[..., Sequence[Any]]
Result = Callable[[Sequence[Any], Sequence[Tensor]], Any]

_FIXED = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
"""Types of what may stand in a model's result beside tensors: these can hold no tensor that an image changes."""


class NetworkPlan:
    """Computes a model's result for images of the shapes that it was made for; see `plan_network`."""

    def __init__(
        self,
        graph: Graph,
        operands: list[Any],
        places: list[list[int]],
        wanted: list[tuple[torch.Size, torch.dtype, torch.device]],
        result: Result,
    ) -> None:
        """Make a plan of a captured graph.

        Args:
            graph: computes results from operands.
            operands: the model's tensors, and None where images belong.
            places: for each image, its places among the operands.
            wanted: the images' shapes, data types and devices.
            result: makes the model's result from the graph's results and the images.
        """
        self._graph, self._operands, self._places, self._wanted, self._result = graph, operands, places, wanted, result

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the images."""
        return [tuple(shape) for shape, _, _ in self._wanted]

    def __call__(self, *images: Tensor) -> Any:
        """Returns the model's result. No gradient is recorded, unless the model itself switches that on.

        Raises:
            ArgumentTypeError: an image isn't a tensor.
            ArgumentError: there are more or fewer images than in the plan, or one of another shape, type or device.
        """
        if len(images) != len(self._wanted):
            raise ArgumentError("images", len(images), f"the plan is for {len(self._wanted)}")
        operands = self._operands.copy()
        for image, wanted, places in zip(images, self._wanted, self._places, strict=True):
            if not isinstance(image, Tensor):
                raise ArgumentTypeError("images", type(image).__name__, "they must be tensors")
            if (image.shape, image.dtype, image.device) != wanted:
                given = f"{tuple(image.shape)}, {image.dtype}, {image.device}"
                raise ArgumentError("images", given, f"the plan is for {tuple(wanted[0])}, {wanted[1]}, {wanted[2]}")
            for place in places:
                operands[place] = image
        with torch.no_grad():
            return self._result(self._graph(*operands), images)

    def __repr__(self) -> str:
        return f"NetworkPlan(input_shapes={self.input_shapes})"


def plan_network(model: nn.Module, *images: Tensor) -> NetworkPlan:
    """Returns a plan of a model in eval mode: a function that computes its result for images like the given ones.

    ``plan = plan_network(model, x)``, then ``y = plan(x)`` as often as wanted. It computes what
    ``torch.compile(model, backend="fastconv")`` does without gradients, but doesn't look whether the model is still the
    same. It sees when elements of weights change. It doesn't see another tensor in a weight's place, another attribute
    or mode: make a new plan then. What a forward pass changes besides its result, such as a counter, changes once,
    while the plan is made; and where it decides by an image's layout, it decides for that of the example. A plan can't
    be captured by another ``torch.compile``.

    Args:
        model: the model, in eval mode, whose forward pass torch captures as one graph.
        images: examples of the images. Those of a call must have their shapes, data types and devices.

    Raises:
        ArgumentTypeError: the model isn't a module, or an image isn't a tensor.
        ArgumentError: the model or a part of it is in training mode; it computes nothing from the images; or its result
            has an object that could hold tensors and that torch can't take apart, such as a set.
        torch._dynamo.exc.Unsupported: torch can't capture the model as one graph; the message says where and why.
    """
    from fastconv.torch.graphs import backend

    if not isinstance(model, nn.Module):
        raise ArgumentTypeError("model", type(model).__name__, "it must be a torch.nn.Module")
    for image in images:
        if not isinstance(image, Tensor):
            raise ArgumentTypeError("images", type(image).__name__, "they must be tensors")
    for name, part in model.named_modules():
        if part.training:
            raise ArgumentError("model", f"{name or 'a model'} in training mode", "a plan needs model.eval()")

    graphs: list[Graph] = []
    calls: list[tuple[list[Any], Sequence[Any]]] = []

    def capture(graph: Any, inputs: Sequence[Any]) -> Graph:
        graphs.append(backend(graph, inputs))

        def once(*operands: Any) -> Sequence[Any]:
            results = graphs[0](*operands)
            calls.append((list(operands), results))
            return results

        return once

    def forward(*given: Tensor) -> Any:
        return model(*given)

    # torch captures a code object eight times at most, and keeps `capture`: so each plan has code of its own, and these
    # lists are emptied.
    code = forward.__code__.replace(co_name="planned")
    own = FunctionType(code, forward.__globals__, "planned", None, forward.__closure__)
    # By these copies, which are no other tensors, the images are found among operands and results.
    examples = [image.detach().clone() for image in images]
    with torch.no_grad():
        result = torch.compile(own, backend=capture, fullgraph=True, dynamic=False)(*examples)
    if not calls:
        allowed = "it must compute something from the images, and torch.compile must not be switched off"
        raise ArgumentError("model", type(model).__name__, allowed)
    (operands, results), run = calls.pop(), graphs.pop()
    put = _as_in(result, results, examples, [*operands, *model.parameters(), *model.buffers()])
    places = [[at for at, each in enumerate(operands) if each is example] for example in examples]
    for at in chain.from_iterable(places):
        operands[at] = None
    return NetworkPlan(run, operands, places, [(each.shape, each.dtype, each.device) for each in examples], put)


class _Leaf:
    """This stands for a tensor of a result, and takes it from the graph's results or from the images."""

    def __init__(self, of: Result) -> None:
        self.of = of


def _result_at(at: int) -> Result:
    return lambda found, images: found[at]


def _image_at(at: int) -> Result:
    return lambda found, images: images[at]


def _as_in(result: Any, results: Sequence[Any], examples: list[Tensor], fixed: list[Any]) -> Result:
    """Returns a function that puts a graph's results, and images, where ``result`` has those of the examples.

    The tensors ``fixed`` are the model's own, and stay where they are in the result.
    """
    known: dict[int, Any] = {id(each): each for each in fixed}
    known |= {id(each): _Leaf(_result_at(at)) for at, each in enumerate(results)}
    known |= {id(each): _Leaf(_image_at(at)) for at, each in enumerate(examples)}

    def place(leaf: Any) -> Any:
        if isinstance(leaf, _FIXED):
            return leaf
        if id(leaf) not in known:
            raise ArgumentError("model", f"a result with {type(leaf).__name__}", "a plan can't tell what images change")
        return known[id(leaf)]

    model = tree_map(place, result)
    if isinstance(model, _Leaf):
        return model.of

    def put(found: Sequence[Any], images: Sequence[Tensor]) -> Any:
        return tree_map(lambda leaf: leaf.of(found, images) if isinstance(leaf, _Leaf) else leaf, model)

    return put
