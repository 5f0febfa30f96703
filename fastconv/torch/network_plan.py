"""A plan of a network runs what a model computes, for images of one shape, without a look at the model in each call.

``torch.compile`` looks in each call whether a model is still what it captured: a tenth of the time of a small network
for one image. A plan leaves that out, as the session of an inference engine does, and runs the captured graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastconv.errors import ArgumentError, ArgumentTypeError
from fastconv.torch.internals import tree_map


class NetworkPlan:
    """Computes a model's result for images of the shapes that it was made for; see `plan_network`."""

    def __init__(
        self,
        graph: Callable[..., Sequence[Any]],
        operands: list[Any],
        places: list[list[int]],
        examples: list[Tensor],
        result: Callable[[Sequence[Any], Sequence[Tensor]], Any],
    ) -> None:
        """Make a plan of a captured graph.

        Args:
            graph: computes results from operands.
            operands: the model's tensors, and the example images.
            places: for each image, its places among the operands.
            examples: the example images.
            result: makes the model's result of the graph's results and the images.
        """
        self._graph, self._operands, self._places, self._result = graph, operands, places, result
        self._wanted = [(each.shape, each.dtype, each.device) for each in examples]

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the images."""
        return [tuple(shape) for shape, _, _ in self._wanted]

    def __call__(self, *images: Tensor) -> Any:
        """Returns the model's result; no gradient is recorded.

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
    same. Weights whose elements change are seen as there; another tensor in a weight's place, another attribute or
    mode isn't: make a new plan then.

    Args:
        model: the model, in eval mode, whose forward pass torch captures as one graph.
        images: examples of the images. Those of a call must have their shapes, data types and devices.

    Raises:
        ArgumentTypeError: the model isn't a module, or an image no tensor.
        ArgumentError: the model or a part of it is in training mode, or it computes nothing from the images.
        torch._dynamo.exc.Unsupported: torch can't capture the model as one graph; the message says where and why.
    """
    from torch._dynamo import config

    from fastconv.torch.graphs import backend

    if not isinstance(model, nn.Module):
        raise ArgumentTypeError("model", type(model).__name__, "it must be a torch.nn.Module")
    for image in images:
        if not isinstance(image, Tensor):
            raise ArgumentTypeError("images", type(image).__name__, "they must be tensors")
    for name, part in model.named_modules():
        if part.training:
            raise ArgumentError("model", f"{name or 'a model'} in training mode", "a plan needs model.eval()")

    found: list[tuple[Callable[..., Sequence[Any]], list[Any], list[Any]]] = []

    def capture(graph: Any, inputs: Sequence[Any]) -> Callable[..., Sequence[Any]]:
        run = backend(graph, inputs)

        def once(*operands: Any) -> Sequence[Any]:
            results = run(*operands)
            found[:] = [(run, list(operands), list(results))]
            return results

        return once

    # Images of their own are told from one another, and from tensors of the model, by identity.
    examples = [image.detach().clone() for image in images]
    # torch gives up after eight captures of one class's forward, counted over all of its objects and shapes.
    with torch.no_grad(), config.patch(recompile_limit=1 << 30, accumulated_recompile_limit=1 << 30):
        result = torch.compile(model, backend=capture, fullgraph=True, dynamic=False)(*examples)
    if not found:
        raise ArgumentError("model", type(model).__name__, "it must compute something from the images")
    (run, operands, results), *_ = found
    places = [[at for at, each in enumerate(operands) if each is example] for example in examples]
    return NetworkPlan(run, operands, places, examples, _as_in(result, results, examples))


class _Place:
    """This is the place of a tensor among a graph's results, or among the images."""

    def __init__(self, kind: int, at: int) -> None:
        self._kind, self._at = kind, at

    def of(self, found: Sequence[Any], images: Sequence[Tensor]) -> Tensor:
        return (found, images)[self._kind][self._at]


def _as_in(result: Any, results: list[Any], examples: list[Tensor]) -> Callable[[Sequence[Any], Sequence[Tensor]], Any]:
    """Returns a function that puts a graph's results, and images, where ``result`` has those of the examples."""
    places = {
        id(each): _Place(kind, at) for kind, known in enumerate((results, examples)) for at, each in enumerate(known)
    }
    model = tree_map(lambda leaf: places.get(id(leaf), leaf) if isinstance(leaf, Tensor) else leaf, result)
    if isinstance(model, _Place):
        return model.of

    def put(found: Sequence[Any], images: Sequence[Tensor]) -> Any:
        return tree_map(lambda leaf: leaf.of(found, images) if isinstance(leaf, _Place) else leaf, model)

    return put
