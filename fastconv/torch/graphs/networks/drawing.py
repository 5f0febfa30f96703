"""A drawing is an outline in the making: recipes add operations to it, for images of known sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastconv.backends.block import Activation
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

    def activate(self, value: int, activation: Activation, *, alone: bool) -> int:
        """Add an activation; with ``alone`` nothing else reads the value, so that its operation can activate it."""
        operation = self._operation(value) if alone else None
        if isinstance(operation, Convolved) and operation.block.activation is operation.block.pool is None:
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
            if isinstance(operation, Convolved) and operation.block.activation is operation.block.pool is None:
                if not operation.block.residual:
                    block = replace(operation.block, residual=True)
                    self._change(value, replace(operation, block=block, residual=residual))
                    return value
            elif isinstance(operation, Mapped) and operation.activation is operation.residual is None:
                self._change(value, replace(operation, residual=residual))
                return value
        return self.add(Mapped(one, residual=other), self.shapes[one])

    def finish(self, wanted: Sequence[int]) -> Outline:
        """Return the outline, with a result for each wanted value."""
        results: list[int] = []
        for value in wanted:
            if value < self._given or value in results:
                value = self.add(Arranged(((value, 0, self.shapes[value][1]),)), self.shapes[value])
            results.append(value)
        operations = tuple(self._operations)
        return Outline(tuple(self.shapes), self._given, operations, len(self.parameters), tuple(results))

    def _operation(self, value: int) -> Operation | None:
        return self._operations[value - self._given] if value >= self._given else None

    def _change(self, value: int, operation: Operation) -> None:
        self._operations[value - self._given] = operation
