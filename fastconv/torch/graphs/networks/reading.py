"""Reads the calls of a graph one after another as recipes, as far as a network can hold them.

Values have numbers: the images that the calls are given, and the results of recipes. A call that gives back what it
got, as dropout does in eval mode, has no recipe: its result has the number of its argument.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from fastconv.arguments import pair
from fastconv.errors import ArgumentError, ArgumentTypeError
from fastconv.geometry import PoolParameters
from fastconv.torch.graphs.activations import activation_of
from fastconv.torch.graphs.calls import ADDITIONS, arguments, bound, have_same_sizes, is_flattening, is_given, sizes
from fastconv.torch.graphs.either import Either
from fastconv.torch.graphs.networks import recipes
from fastconv.torch.graphs.networks.constants import Constants, Source
from fastconv.torch.graphs.networks.recipes import Recipe
from fastconv.torch.graphs.steps import Step

_PRODUCTS = operator.mul, operator.imul, torch.mul, "mul", "mul_"
_MEANS = torch.mean, "mean"
_PARTS = torch.chunk, torch.split, "chunk", "split"
_RESHAPES = torch.reshape, "reshape", "view"
_TRANSPOSES = torch.transpose, "transpose"


class Line(NamedTuple):
    """A recipe with the values that it reads and the one that it makes."""

    recipe: Recipe
    sources: tuple[int, ...]
    target: int


class _Parts(NamedTuple):
    """Stands for a tuple of parts of a value's channels."""

    value: int
    ends: tuple[tuple[int, int], ...]


class _Groups(NamedTuple):
    """Stands for a value whose channels are two axes, groups first or last."""

    value: int
    groups: int
    turned: bool


class Reading:
    """A stretch of a graph, as far as it was read."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.lines: list[Line] = []
        self.constants = Constants()
        self.images: list[Node] = []
        """The tensors that the stretch is given, parameters left out."""
        self.operands: list[Node] = []
        """All that the stretch is given."""
        self.values: dict[Node, int] = {}
        self._others: dict[Node, _Parts | _Groups] = {}
        self._fresh: set[int] = set()
        self._views: dict[int, int] = {}
        self._count = 0

    def takes(self, node: Node) -> bool:
        """Returns True, and has the call as its last one, if it can read it."""
        reads = _READERS.get(type(node.target) if isinstance(node.target, (Step, Either)) else node.target)
        operands, images, count = len(self.operands), len(self.images), self._count
        taken = reads(self, node) if reads is not None else _activation(self, node)
        if taken:
            self.nodes.append(node)
            for each in node.all_input_nodes:
                if each not in self.nodes and each not in self.operands:
                    self.operands.append(each)
        else:
            for each in self.images[images:]:
                del self.values[each]
            del self.images[images:], self.operands[operands:]
            self._count = count
        return taken

    def results(self) -> list[Node] | None:
        """Returns the calls whose results others read, or None if these share memory with one another or an image."""
        found = [node for node in self.nodes if any(user not in self.nodes for user in node.users)]
        if not all(node in self.values for node in found):
            return None
        owners = [self._owner(self.values[node]) for node in found]
        return found if self._fresh.issuperset(owners) and len(set(owners)) == len(owners) else None

    def _owner(self, value: int) -> int:
        """Returns the value whose memory a value is in, where the calls are torch's."""
        while value in self._views:
            value = self._views[value]
        return value

    def readers(self, value: int) -> int:
        """Returns how often recipes read a value."""
        return sum(line.sources.count(value) for line in self.lines)

    def value(self, node: Any) -> int | None:
        """Returns the number of the value that a node stands for, or None if it stands for none."""
        if not isinstance(node, Node) or node in self._others:
            return None
        if node in self.values:
            return self.values[node]
        if node in self.nodes or len(sizes(node) or ()) != 4:
            return None
        self.images.append(node)
        self.operands.append(node)
        self.values[node] = self._new()
        return self.values[node]

    def place(self, node: Any) -> int | None:
        """Returns the position of a tensor that the graph is given among the operands; -1 for None, None for others."""
        if node is None:
            return -1
        if not is_given(node):
            return None
        if node not in self.operands:
            self.operands.append(node)
        return self.operands.index(node)

    def writes(self, node: Node, recipe: Recipe, *sources: int | None, fresh: bool = True) -> bool:
        """Add the recipe of a call; returns False if a source is missing."""
        if any(source is None for source in sources):
            return False
        self.values[node] = self._new()
        self.lines.append(Line(recipe, tuple([each for each in sources if each is not None]), self.values[node]))
        if fresh:
            self._fresh.add(self.values[node])
        else:
            self._views[self.values[node]] = self.lines[-1].sources[0]
        return True

    def is_own(self, node: Any, by: Node) -> bool:
        """Returns True if a call ``by`` may write into a tensor, since nothing else reads its memory from then on."""
        value = self.value(node)
        if value not in self._fresh:
            return False
        same = [each for each, number in self.values.items() if number == value]
        return all(user in (by, *same) for each in same for user in each.users) and self.readers(value) == 0

    def same(self, node: Node, other: Any) -> bool:
        """Have a call stand for what it got."""
        value = self.value(other)
        if value is None:
            return False
        self.values[node] = value
        return True

    def _new(self) -> int:
        self._count += 1
        return self._count - 1

    # The readers of calls, each for some functions.

    def step(self, node: Node) -> bool:
        step, operands = node.target, (*node.args, None)
        assert isinstance(step, Step)
        residuals = [operands[part.residual] for part in step.parts if part.residual is not None]
        sources = [self.value(each) for each in (operands[0], *residuals)]
        of = [(part.weight, part.bias, *part.norm) for part in step.parts]
        places = [tuple([self.place(operands[at]) for at in each]) for each in of]
        if None in sources or any(None in each for each in places):
            return False
        layers = []
        for part, known in zip(step.parts, places, strict=True):
            if part.eps is not None:
                weight = self.constants.place(Source(known, part.eps))
                layers.append(recipes.Layer(part.stage, weight, weight + 1))
            else:
                weight, bias = known
                layers.append(recipes.Layer(part.stage, self._raw(weight), None if bias < 0 else self._raw(bias)))
        return self.writes(node, recipes.Blocks(tuple(layers)), *sources)

    def _raw(self, place: int) -> int:
        return self.constants.place(Source((place,)))

    def linear(self, node: Node) -> bool:
        call = arguments(node, F.linear)
        if call is None or call["input"] not in self.values or len(sizes(call["input"]) or ()) != 2:
            return False
        weight, bias = (self.place(call[name]) for name in ("weight", "bias"))
        if weight is None or bias is None or len(sizes(call["weight"]) or ()) != 2:
            return False
        recipe = recipes.Linear(self._raw(weight), None if bias < 0 else self._raw(bias))
        return self.writes(node, recipe, self.values[call["input"]])

    def norm(self, node: Node) -> bool:
        call = arguments(node, F.batch_norm)
        if call is None or call["training"] is not False or type(call["eps"]) is not float:
            return False
        value = self.value(call["input"])
        places = [self.place(call[name]) for name in ("running_mean", "running_var", "weight", "bias")]
        if value is None or None in places or -1 in places[:2]:
            return False
        scale = self.constants.place(Source(tuple(places), call["eps"]))
        return self.writes(node, recipes.Normalised(scale, scale + 1), value)

    def either(self, node: Node) -> bool:
        theirs = node.target.theirs if isinstance(node.target, Either) else node.target
        call = bound(node, theirs)
        if call is None:
            return False
        value, rest = self.value(call.pop("input")), call
        if theirs is F.adaptive_avg_pool2d:
            size = rest["output_size"]
            pairs = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
            if len(pairs) != 2 or not all(type(each) in (int, type(None)) for each in pairs):
                return False
            return self.writes(node, recipes.Means(pairs), value)
        if theirs in (F.max_pool2d, torch.max_pool2d):
            how = _windows(rest) if rest.pop("return_indices") is False else None
            return how is not None and self.writes(node, recipes.Windows("max", how), value)
        if theirs is F.avg_pool2d:
            how = _windows(rest)
            return how is not None and self.writes(node, recipes.Windows("avg", how), value)
        return False

    def mean(self, node: Node) -> bool:
        axes, further = node.args[1:2], {**node.kwargs}
        keeps = further.pop("keepdim", node.args[2] if len(node.args) > 2 else False)
        axes = axes or (further.pop("dim", None),)
        if further or len(node.args) > 3 or not isinstance(axes[0], (tuple, list)) or type(keeps) is not bool:
            return False
        if sorted(axes[0], key=str) not in ([2, 3], [-1, -2]):
            return False
        return self.writes(node, recipes.Means((1, 1)), self.value(node.args[0]))

    def joined(self, node: Node) -> bool:
        further = {**node.kwargs}
        tensors = node.args[0] if node.args else further.pop("tensors", None)
        axis = node.args[1] if len(node.args) > 1 else further.pop("dim", 0)
        if further or axis not in (1, -3) or not isinstance(tensors, (tuple, list)) or not tensors:
            return False
        return self.writes(node, recipes.Joined(), *[self.value(each) for each in tensors])

    def parts(self, node: Node) -> bool:
        further = {**node.kwargs}
        axis = node.args[2] if len(node.args) > 2 else further.pop("dim", 0)
        shape = sizes(node.args[0])
        if further or axis not in (1, -3) or len(node.args) < 2 or len(shape or ()) != 4 or shape is None:
            return False
        count, channels, value = node.args[1], shape[1], self.value(node.args[0])
        if type(count) is not int or type(channels) is not int or value is None:
            return False
        size = count if node.target in (torch.split, "split") else -(-channels // count)
        ends = tuple([(first, min(channels, first + size)) for first in range(0, channels, size)])
        self._others[node] = _Parts(value, ends)
        return True

    def part(self, node: Node) -> bool:
        parts, number = node.args
        found = self._others.get(parts) if isinstance(parts, Node) else None
        if not isinstance(found, _Parts) or type(number) is not int or not 0 <= number < len(found.ends):
            return False
        return self.writes(node, recipes.Part(*found.ends[number]), found.value, fresh=False)

    def scaled(self, node: Node) -> bool:
        if len(node.args) != 2 or node.kwargs:
            return False
        for at, image, factors in ((0, *node.args), (1, *reversed(node.args))):
            shape, other = sizes(image), sizes(factors)
            if shape is None or other is None or len(shape) != 4 or len(other) != 4 or image is factors:
                continue
            if other[2:] != (1, 1) or not all(map(statically_known_true, map(operator.eq, shape[:2], other[:2]))):
                continue
            if node.target in (operator.imul, "mul_") and (at == 1 or not self.is_own(image, node)):
                return False
            return self.writes(node, recipes.Scaled(), self.value(image), self.value(factors))
        return False

    def sum(self, node: Node) -> bool:
        one, other = (*node.args, None, None)[:2]
        if len(node.args) != 2 or node.kwargs or not (isinstance(one, Node) and isinstance(other, Node)):
            return False
        if one is other or not have_same_sizes(one, other):
            return False
        if node.target in (operator.iadd, "add_") and not self.is_own(one, node):
            return False
        return self.writes(node, recipes.Sum(), self.value(one), self.value(other))

    def flat(self, node: Node) -> bool:
        return is_flattening(node) and self.writes(node, recipes.Flat(), self.value(node.args[0]), fresh=False)

    def reshaped(self, node: Node) -> bool:
        before, after = sizes(node.args[0]), sizes(node)
        if before is None or after is None:
            return False
        if (len(before), len(after)) == (4, 5):
            value = self.value(node.args[0])
            kept = zip((*before[:1], *before[2:]), (*after[:1], *after[3:]), strict=True)
            if value is None or not all(statically_known_true(one == other) for one, other in kept):
                return False
            self._others[node] = _Groups(value, after[1], turned=False)
            return type(after[1]) is int
        found = self._others.get(node.args[0]) if isinstance(node.args[0], Node) else None
        if isinstance(found, _Groups) and len(after) == 4:
            kept = zip((*before[:1], before[1] * before[2], *before[3:]), after, strict=True)
            if not found.turned or not all(statically_known_true(one == other) for one, other in kept):
                return False
            return self.writes(node, recipes.Shuffled(found.groups), found.value)
        return self.flat(node)

    def turned(self, node: Node) -> bool:
        found = self._others.get(node.args[0]) if isinstance(node.args[0], Node) else None
        if not isinstance(found, _Groups) or node.args[1:] not in ((1, 2), (2, 1)) or node.kwargs or found.turned:
            return False
        self._others[node] = found._replace(turned=True)
        return True

    def contiguous(self, node: Node) -> bool:
        if len(node.args) != 1 or node.kwargs:
            return False
        found = self._others.get(node.args[0])
        if found is None:
            return self.same(node, node.args[0])
        self._others[node] = found
        return isinstance(found, _Groups)

    def dropout(self, node: Node) -> bool:
        call = arguments(node, F.dropout)
        return call is not None and call["training"] is False and self.same(node, call["input"])


def _activation(reading: Reading, node: Node) -> bool:
    activation = activation_of(node)
    if activation is None or (_is_in_place(node) and not reading.is_own(node.args[0], node)):
        return False
    return reading.writes(node, recipes.Activated(activation), reading.value(node.args[0]))


def _is_in_place(node: Node) -> bool:
    """Returns True if an activation may be written into its argument."""
    name = node.target if isinstance(node.target, str) else str(getattr(node.target, "__name__", "_"))
    return name.endswith("_") or node.kwargs.get("inplace", False) is not False or node.args[-1] is True


def _windows(call: dict[str, Any]) -> PoolParameters | None:
    """Returns a pooling's parameters, or None if they aren't constants that are allowed."""
    try:
        kernel = pair("kernel_size", call["kernel_size"], 1)
        stride = call["stride"]
        steps = kernel if stride in (None, (), []) else pair("stride", stride, 1)
        padding, dilation = pair("padding", call["padding"], 0), pair("dilation", call.get("dilation", 1), 1)
    except (ArgumentError, ArgumentTypeError):
        return None
    further = call.get("count_include_pad", True), call.get("divisor_override")
    if type(call["ceil_mode"]) is not bool or type(further[0]) is not bool or type(further[1]) not in (int, type(None)):
        return None
    return PoolParameters(kernel, steps, padding, dilation, call["ceil_mode"], *further)


_READERS: dict[Any, Callable[[Reading, Node], bool]] = {
    Step: Reading.step,
    Either: Reading.either,
    F.adaptive_avg_pool2d: Reading.either,
    F.linear: Reading.linear,
    F.batch_norm: Reading.norm,
    F.dropout: Reading.dropout,
    torch.cat: Reading.joined,
    torch.concat: Reading.joined,
    operator.getitem: Reading.part,
    "contiguous": Reading.contiguous,
    torch.flatten: Reading.flat,
    "flatten": Reading.flat,
    **dict.fromkeys(_MEANS, Reading.mean),
    **dict.fromkeys(_PARTS, Reading.parts),
    **dict.fromkeys(_PRODUCTS, Reading.scaled),
    **dict.fromkeys(_RESHAPES, Reading.reshaped),
    **dict.fromkeys(_TRANSPOSES, Reading.turned),
    **dict.fromkeys((*ADDITIONS, "add", "add_"), Reading.sum),
}
