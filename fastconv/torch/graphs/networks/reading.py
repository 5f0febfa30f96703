"""A reading is a stretch of a graph as recipes, as far as a network can hold its calls.

Values have numbers: the images that the calls are given, and the results of recipes. A call that gives back what it
got, as dropout does in eval mode, has no recipe: its result has the number of its argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch.fx import Node

from fastconv.torch.graphs.calls import is_given, sizes
from fastconv.torch.graphs.networks.constants import Constants
from fastconv.torch.graphs.networks.recipes import Recipe


class Line(NamedTuple):
    """A recipe with the values that it reads and the one that it makes."""

    recipe: Recipe
    sources: tuple[int, ...]
    target: int


class Parts(NamedTuple):
    """Stands for a tuple of parts of a value's channels."""

    value: int
    ends: tuple[tuple[int, int], ...]


class Groups(NamedTuple):
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
        self.others: dict[Node, Parts | Groups] = {}
        self._fresh: set[int] = set()
        self._views: dict[int, int] = {}
        self._count = 0

    def takes(self, node: Node, read: Callable[[Reading, Node], bool]) -> bool:
        """Returns True, and has the call as its last one, if ``read`` can add it to this reading."""
        operands, images, count = len(self.operands), len(self.images), self._count
        taken = read(self, node)
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

    def results(self) -> list[Node]:
        """Returns the calls whose results others read."""
        own = set(self.nodes)
        return [node for node in self.nodes if not own.issuperset(node.users)]

    def not_given(self) -> list[Node]:
        """Returns the calls whose results others read, but no network gives.

        These are tuples of parts, channels as two axes, and what shares its memory with an image or an earlier result.
        """
        found, owners = [], set()
        for node in self.results():
            owner = self._owner(self.values[node]) if node in self.values else None
            if owner not in self._fresh or owner in owners:
                found.append(node)
            owners.add(owner)
        return found

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
        if not isinstance(node, Node) or node in self.others:
            return None
        if node in self.values:
            return self.values[node]
        if node in self.nodes or len(sizes(node) or ()) != 4:
            return None
        self.images.append(node)
        if node not in self.operands:
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
        return all(user in (by, *same) for each in same for user in each.users)

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
