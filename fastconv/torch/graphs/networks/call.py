"""A network's call: one run of a program where no gradient is recorded, and else the calls one by one."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from fastconv import registry
from fastconv.backends.base import Backend
from fastconv.backends.network import Network
from fastconv.errors import ArgumentError
from fastconv.torch.graphs.folding import Watch, is_watched, picker
from fastconv.torch.graphs.networks.drawing import Drawing
from fastconv.torch.graphs.networks.reading import Reading
from fastconv.torch.memory import DTYPES, is_plain

Tensor = torch.Tensor

_MOST_SIZES = 4
"""Most sizes of images whose programs are kept; each has packed weights of its own."""


class _Program(NamedTuple):
    """A network for one size of images, and the shapes of its results."""

    network: Network
    shapes: list[tuple[int, ...]]


class _Kept(NamedTuple):
    """What was made of parameters, which stay as they are."""

    dtype: torch.dtype
    backend: Backend
    watch: Watch
    constants: list[weakref.ref[Tensor]]
    """Those that programs read where they are; the others were packed."""
    programs: dict[tuple[torch.Size, ...], _Program | None]


class NetworkCall:
    """Calls of a graph that run as a network."""

    def __init__(
        self, reading: Reading, wanted: Sequence[int], flat: Sequence[bool], apart: Callable[..., Any]
    ) -> None:
        """Make a call of what was read.

        Args:
            reading: the calls.
            wanted: the values of the results.
            flat: for each result, whether it is features (N, C).
            apart: runs the calls one by one, given the operands.
        """
        self._wanted, self._flat, self._apart = wanted, flat, apart
        self._constants = reading.constants
        self._images = [reading.operands.index(each) for each in reading.images]
        self._places = [reading.values[each] for each in reading.images]
        self._parameters = picker(reading.constants.operands)
        alone = [
            tuple([reading.readers(source) == 1 and source not in wanted for source in line.sources])
            for line in reading.lines
        ]
        self._lines = list(zip(reading.lines, alone, strict=True))
        self._kept: _Kept | None = None
        self.__name__ = "network"

    def __call__(self, *operands: Any) -> Any:
        """Returns the result, or a tuple of several."""
        images = [operands[at] for at in self._images]
        if not all(map(is_plain, images)):
            return self._apart(*operands)
        if torch.is_grad_enabled() and any(each.requires_grad for each in (*images, *self._parameters(operands))):
            return self._apart(*operands)
        for _ in range(2):
            program = self._program(images, operands)
            if program is None:
                break
            network, shapes = program
            results = [torch.from_numpy(network.empty(shape, DTYPES[images[0].dtype])) for shape in shapes]
            if network.run(images, results, operands):
                return results[0] if len(results) == 1 else tuple(results)
            if self._kept is None or self._kept.watch.is_same(self._parameters(operands)):
                break  # numbers that aren't finite
            self._kept = None
        return self._apart(*operands)

    def _program(self, images: Sequence[Tensor], operands: Sequence[Any]) -> _Program | None:
        """Returns the program for images of these sizes, whose run says whether what was kept has changed since."""
        backend, dtype = registry.resolve(None), images[0].dtype
        if any(each.dtype is not dtype for each in images):
            return None
        sizes, kept = tuple([each.shape for each in images]), self._kept
        if kept is not None and kept.backend is backend and kept.dtype is dtype:
            found = kept.programs.get(sizes)
            if found and (kept.watch.held is not None or kept.watch.are_those(self._parameters(operands))):
                return found
            if not found and kept.watch.is_same(self._parameters(operands)):
                return self._added(kept, sizes, images[0], operands)
        parameters = self._parameters(operands)
        if not all(map(is_watched, parameters)):
            return None
        kept = self._kept = _Kept(dtype, backend, Watch(parameters, self._constants.operands), [], {})
        return self._added(kept, sizes, images[0], operands)

    def _added(
        self, kept: _Kept, sizes: tuple[torch.Size, ...], image: Tensor, operands: Sequence[Any]
    ) -> _Program | None:
        """Returns the program for these sizes, which is made and kept where it is new."""
        if sizes not in kept.programs:
            if len(kept.programs) >= _MOST_SIZES:
                kept.programs.pop(next(iter(kept.programs)), None)
            constants = self._constants.make(image, operands)
            kept.programs[sizes] = None if constants is None else self._made(kept, sizes, constants)
        return kept.programs.get(sizes)

    def _made(self, kept: _Kept, sizes: Sequence[torch.Size], constants: list[Tensor]) -> _Program | None:
        """Returns the program for these sizes, or None if the calls don't fit one another or the backend has none."""
        for at, reference in enumerate(kept.constants):
            there = reference()
            if there is not None:
                constants[at] = there
        kept.constants[:] = map(weakref.ref, constants)
        drawing = Drawing([(N, C, H, W) for N, C, H, W in sizes], [tuple(each.shape) for each in constants])
        values = dict(zip(self._places, range(len(sizes)), strict=True))
        try:
            for line, alone in self._lines:
                values[line.target] = line.recipe(drawing, alone, *[values[source] for source in line.sources])
        except ArgumentError:
            return None
        outline = drawing.finish([values[each] for each in self._wanted])
        watch = kept.watch
        network = kept.backend.network(outline, DTYPES[kept.dtype], constants, watch.elements, watch.held)
        if network is None:
            return None
        shapes = [outline.shapes[result] for result in outline.results]
        return _Program(network, [shape[:2] if flat else shape for shape, flat in zip(shapes, self._flat, strict=True)])
