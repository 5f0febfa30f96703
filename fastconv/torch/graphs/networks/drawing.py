"""A drawing is an outline in the making: recipes add operations to it, for images of known sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastconv.backends.block import Activation, Block
from fastconv.backends.network import Arranged, Convolved, Mapped, Operation, Outline, Shape


class Drawing:
    """Collects the operations of a network."""

    def __init__(self, shapes: Sequence[Shape], parameters: Sequence[tuple[int, ...]]) -> None:
        """Begin with images of these shapes, and with the shapes of all parameters."""
        self.shapes = list(shapes)
        self.parameters = parameters
        self._given = len(shapes)
        self._operations: list[Operation] = []

    def add(self, operation: Operation, shape: Shape) -> int:
        """Add an operation whose result has a shape, and return the result's number."""
        self._operations.append(operation)
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def same(self, value: int) -> int:
        """Add an operation whose result is a value, so that an activation of the one leaves the other as it is."""
        return self.add(Arranged(((value, 0, self.shapes[value][1]),)), self.shapes[value])

    def activate(self, value: int, activation: Activation, *, alone: bool) -> int:
        """Add an activation; with ``alone`` nothing else reads the value, so that its operation can activate it."""
        operation = self._operation(value) if alone else None
        if isinstance(operation, Convolved) and operation.block.activation is None and operation.block.pool is None:
            self._change(value, replace(operation, block=replace(operation.block, activation=activation)))
            return value
        if isinstance(operation, Mapped) and operation.activation is None:
            self._change(value, replace(operation, activation=activation))
            return value
        return self.add(Mapped(value, activation=activation), self.shapes[value])

    def sum(self, one: int, other: int, alone: tuple[bool, bool]) -> int:
        """Add the sum of two values; ``alone`` says for each that nothing else reads it."""
        for value, residual, only in ((one, other, alone[0]), (other, one, alone[1])):
            operation = self._operation(value) if only else None
            if value <= residual or self.shapes[value] != self.shapes[residual]:
                continue
            if isinstance(operation, Convolved) and _takes_residual(operation.block):
                block = replace(operation.block, residual=True)
                self._change(value, replace(operation, block=block, residual=residual))
                return value
            if isinstance(operation, Mapped) and operation.activation is None and operation.residual is None:
                self._change(value, replace(operation, residual=residual))
                return value
        return self.add(Mapped(one, residual=other), self.shapes[one])

    def finish(self, wanted: Sequence[int]) -> Outline:
        """Return the outline, with a result for each wanted value."""
        results: list[int] = []
        for value in wanted:
            results.append(self.same(value) if value < self._given or value in results else value)
        operations = tuple(self._operations)
        return Outline(tuple(self.shapes), self._given, operations, len(self.parameters), tuple(results))

    def _operation(self, value: int) -> Operation | None:
        return self._operations[value - self._given] if value >= self._given else None

    def _change(self, value: int, operation: Operation) -> None:
        self._operations[value - self._given] = operation


def _takes_residual(block: Block) -> bool:
    return block.activation is None and block.pool is None and not block.residual
