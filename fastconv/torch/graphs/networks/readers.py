"""Reads calls of a graph: each function here adds a call to a reading, or returns False if a network can't hold it.

A tuple of parts, and channels that are two axes, are no values of a network: what follows them is.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from fastconv.arguments import pair
from fastconv.torch.graphs.activations import activation_of
from fastconv.torch.graphs.calls import (
    ADDITIONS,
    arguments,
    bound,
    channels,
    convolution,
    have_same_sizes,
    is_constant,
    is_flattening,
    sizes,
    windows,
)
from fastconv.torch.graphs.either import Either
from fastconv.torch.graphs.networks import recipes
from fastconv.torch.graphs.networks.constants import Source
from fastconv.torch.graphs.networks.reading import Groups, Parts, Reading
from fastconv.torch.graphs.steps import Step

_PRODUCTS = operator.mul, operator.imul, torch.mul, "mul", "mul_"
_MEANS = torch.mean, "mean"
_PARTS = torch.chunk, torch.split, "chunk", "split"
_RESHAPES = torch.reshape, "reshape", "view"
_TRANSPOSES = torch.transpose, "transpose"


def read(reading: Reading, node: Node) -> bool:
    """Returns True, and has the call in the reading, if a network can hold it."""
    kind: Any = type(node.target) if isinstance(node.target, (Step, Either)) else node.target
    return _READERS.get(kind, _activation)(reading, node)


def _step(reading: Reading, node: Node) -> bool:
    step, operands = node.target, (*node.args, None)
    assert isinstance(step, Step)
    residuals = [operands[part.residual] for part in step.parts if part.residual is not None]
    sources = [reading.value(each) for each in (operands[0], *residuals)]
    of = [(part.weight, part.bias, *part.norm) for part in step.parts]
    places = [places_of(reading, [operands[at] for at in each]) for each in of]
    if None in sources or None in places:
        return False
    layers = []
    for part, known in zip(step.parts, filter(None, places), strict=True):
        if part.eps is not None:
            weight = reading.constants.place(Source(known, part.eps))
            layers.append(recipes.Layer(part.stage, weight, weight + 1))
        else:
            weight, bias = known
            layers.append(recipes.Layer(part.stage, raw(reading, weight), None if bias < 0 else raw(reading, bias)))
    return reading.writes(node, recipes.Blocks(tuple(layers), step.flat), *sources)


def places_of(reading: Reading, tensors: Iterable[Any]) -> tuple[int, ...] | None:
    """Returns the positions of tensors that the graph is given among the operands, or None if it computes one."""
    found = [reading.place(each) for each in tensors]
    return None if None in found else tuple([place for place in found if place is not None])


def raw(reading: Reading, place: int) -> int:
    """Returns the number of the constant that is an operand as it is."""
    return reading.constants.place(Source((place,)))


def _linear(reading: Reading, node: Node) -> bool:
    call = arguments(node, F.linear)
    if call is None or call["input"] not in reading.values or len(sizes(call["input"]) or ()) != 2:
        return False
    weight, bias = (reading.place(call[name]) for name in ("weight", "bias"))
    if weight is None or bias is None or len(sizes(call["weight"]) or ()) != 2:
        return False
    recipe = recipes.Linear(raw(reading, weight), None if bias < 0 else raw(reading, bias))
    return reading.writes(node, recipe, reading.values[call["input"]])


def _norm(reading: Reading, node: Node) -> bool:
    call = arguments(node, F.batch_norm)
    if call is None or call["training"] is not False or type(call["eps"]) is not float:
        return False
    value = reading.value(call["input"])
    places = places_of(reading, [call[name] for name in ("running_mean", "running_var", "weight", "bias")])
    if value is None or places is None or -1 in places[:2]:
        return False
    scale = reading.constants.place(Source(places, call["eps"]))
    return reading.writes(node, recipes.Normalised(scale, scale + 1), value)


def _either(reading: Reading, node: Node) -> bool:
    theirs = node.target.theirs if isinstance(node.target, Either) else node.target
    call = bound(node, theirs)
    if call is None:
        return False
    value, rest = reading.value(call.pop("input")), call
    if theirs is F.adaptive_avg_pool2d:
        size = rest["output_size"]
        pairs = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
        if len(pairs) != 2 or not all(type(each) in (int, type(None)) for each in pairs):
            return False
        return reading.writes(node, recipes.Means(pairs), value)
    if theirs in (F.max_pool2d, torch.max_pool2d):
        how = windows(rest) if rest.pop("return_indices") is False else None
        return how is not None and reading.writes(node, recipes.Windows("max", how), value)
    if theirs is torch.conv_transpose2d:
        return _transposed(reading, node, value, rest)
    if theirs is F.avg_pool2d:
        how = windows(rest)
        return how is not None and reading.writes(node, recipes.Windows("avg", how), value)
    return False


def _transposed(reading: Reading, node: Node, value: int | None, call: dict[str, Any]) -> bool:
    how, places = convolution(call, call["weight"]), places_of(reading, [call["weight"], call["bias"]])
    if how is None or places is None or not is_constant(call["output_padding"]):
        return False
    extra = pair("output_padding", call["output_padding"], 0)
    # A whole stride or more would open windows that the images have no pixel for.
    if any(more >= step for more, step in zip(extra, how.stride, strict=True)):
        return False
    weight, bias = raw(reading, places[0]), None if places[1] < 0 else raw(reading, places[1])
    return reading.writes(node, recipes.Transposed(weight, bias, how, extra), value)


def _mean(reading: Reading, node: Node) -> bool:
    axes, further = node.args[1:2], {**node.kwargs}
    keeps = further.pop("keepdim", node.args[2] if len(node.args) > 2 else False)
    axes = axes or (further.pop("dim", None),)
    if further or len(node.args) > 3 or not isinstance(axes[0], (tuple, list)) or type(keeps) is not bool:
        return False
    if sorted(axes[0], key=str) not in ([2, 3], [-1, -2]):
        return False
    return reading.writes(node, recipes.Means((1, 1)), reading.value(node.args[0]))


def _joined(reading: Reading, node: Node) -> bool:
    further = {**node.kwargs}
    tensors = node.args[0] if node.args else further.pop("tensors", None)
    axis = node.args[1] if len(node.args) > 1 else further.pop("dim", 0)
    if further or axis not in (1, -3) or not isinstance(tensors, (tuple, list)) or not tensors:
        return False
    return reading.writes(node, recipes.Joined(), *[reading.value(each) for each in tensors])


def _parts(reading: Reading, node: Node) -> bool:
    further = {**node.kwargs}
    axis = node.args[2] if len(node.args) > 2 else further.pop("dim", 0)
    shape = sizes(node.args[0])
    if further or axis not in (1, -3) or len(node.args) < 2 or len(shape or ()) != 4 or shape is None:
        return False
    count: Any = node.args[1]
    channels, value = shape[1], reading.value(node.args[0])
    if not is_constant(count) or type(channels) is not int or value is None:
        return False
    if isinstance(count, (tuple, list)):
        if 0 in count:
            return False
        ends = list(itertools.accumulate(count))
    else:
        size = count if node.target in (torch.split, "split") else -(-channels // count)
        ends = [min(channels, first + size) for first in range(0, channels, size)]
    reading.others[node] = Parts(value, tuple(itertools.pairwise([0, *ends])))
    return True


def _part(reading: Reading, node: Node) -> bool:
    parts, number = node.args
    few = channels(node)
    if few is not None:
        return reading.writes(node, recipes.Part(*few), reading.value(parts), fresh=False)
    found = reading.others.get(parts) if isinstance(parts, Node) else None
    if not isinstance(found, Parts) or type(number) is not int or not 0 <= number < len(found.ends):
        return False
    return reading.writes(node, recipes.Part(*found.ends[number]), found.value, fresh=False)


def _scaled(reading: Reading, node: Node) -> bool:
    if len(node.args) != 2 or node.kwargs:
        return False
    for at, image, factors in ((0, *node.args), (1, *reversed(node.args))):
        shape, other = sizes(image), sizes(factors)
        if shape is None or other is None or len(shape) != 4 or len(other) != 4 or image is factors:
            continue
        if other[2:] != (1, 1) or not all(map(statically_known_true, map(operator.eq, shape[:2], other[:2]))):
            continue
        if node.target in (operator.imul, "mul_") and (at == 1 or not reading.is_own(image, node)):
            return False
        return reading.writes(node, recipes.Scaled(), reading.value(image), reading.value(factors))
    return False


def _sum(reading: Reading, node: Node) -> bool:
    one, other = (*node.args, None, None)[:2]
    if len(node.args) != 2 or node.kwargs or not (isinstance(one, Node) and isinstance(other, Node)):
        return False
    if one is other or not have_same_sizes(one, other):
        return False
    if node.target in (operator.iadd, "add_") and not reading.is_own(one, node):
        return False
    return reading.writes(node, recipes.Sum(), reading.value(one), reading.value(other))


def _flat(reading: Reading, node: Node) -> bool:
    return is_flattening(node) and reading.writes(node, recipes.Flat(), reading.value(node.args[0]), fresh=False)


def _reshaped(reading: Reading, node: Node) -> bool:
    before, after = sizes(node.args[0]), sizes(node)
    if before is None or after is None:
        return False
    if (len(before), len(after)) == (4, 5):
        value = reading.value(node.args[0])
        kept = zip((*before[:1], *before[2:]), (*after[:1], *after[3:]), strict=True)
        if value is None or not all(statically_known_true(one == other) for one, other in kept):
            return False
        reading.others[node] = Groups(value, after[1], turned=False)
        return type(after[1]) is int
    found = reading.others.get(node.args[0]) if isinstance(node.args[0], Node) else None
    if isinstance(found, Groups) and len(after) == 4:
        kept = zip((*before[:1], before[1] * before[2], *before[3:]), after, strict=True)
        if not found.turned or not all(statically_known_true(one == other) for one, other in kept):
            return False
        return reading.writes(node, recipes.Shuffled(found.groups), found.value)
    return _flat(reading, node)


def _turned(reading: Reading, node: Node) -> bool:
    found = reading.others.get(node.args[0]) if isinstance(node.args[0], Node) else None
    if not isinstance(found, Groups) or node.args[1:] not in ((1, 2), (2, 1)) or node.kwargs or found.turned:
        return False
    reading.others[node] = found._replace(turned=True)
    return True


def _contiguous(reading: Reading, node: Node) -> bool:
    if len(node.args) != 1 or node.kwargs:
        return False
    found = reading.others.get(node.args[0]) if isinstance(node.args[0], Node) else None
    if found is None:
        return reading.same(node, node.args[0])
    reading.others[node] = found
    return isinstance(found, Groups)


def _dropout(reading: Reading, node: Node) -> bool:
    call = arguments(node, F.dropout)
    keeps = call is not None and (call["training"] is False or call["p"] == 0)
    return call is not None and keeps and reading.same(node, call["input"])


def _activation(reading: Reading, node: Node) -> bool:
    activation = activation_of(node)
    if activation is None or (_is_in_place(node) and not reading.is_own(node.args[0], node)):
        return False
    return reading.writes(node, recipes.Activated(activation), reading.value(node.args[0]))


def _is_in_place(node: Node) -> bool:
    """Returns True if an activation may be written into its argument."""
    name = node.target if isinstance(node.target, str) else str(getattr(node.target, "__name__", "_"))
    return name.endswith("_") or node.kwargs.get("inplace", False) is not False or node.args[-1] is True


_READERS: dict[Any, Callable[[Reading, Node], bool]] = {
    Step: _step,
    Either: _either,
    F.adaptive_avg_pool2d: _either,
    F.linear: _linear,
    F.batch_norm: _norm,
    F.dropout: _dropout,
    torch.cat: _joined,
    torch.concat: _joined,
    operator.getitem: _part,
    "contiguous": _contiguous,
    torch.flatten: _flat,
    "flatten": _flat,
    **dict.fromkeys(_MEANS, _mean),
    **dict.fromkeys(_PARTS, _parts),
    **dict.fromkeys(_PRODUCTS, _scaled),
    **dict.fromkeys(_RESHAPES, _reshaped),
    **dict.fromkeys(_TRANSPOSES, _turned),
    **dict.fromkeys((*ADDITIONS, "add", "add_"), _sum),
}
