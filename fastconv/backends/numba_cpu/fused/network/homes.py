"""`Homes` chooses the places of a network's values that are parts of a concatenation, or a result in another shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from fastconv.backends.network import Arranged, Convolved, Outline, Reshaped
from fastconv.backends.numba_cpu.fused.network.planes import Run
from fastconv.backends.numba_cpu.runtime.program import Place


class Homes:
    """The homes of an outline's values, where an operation that computes one writes it, or it is copied to."""

    def __init__(
        self,
        outline: Outline,
        results: dict[int, Place],
        itemsize: int,
        buffer: Callable[[int], Place],
        *,
        saved: bool,
    ) -> None:
        """Begin at the places of the results.

        ``buffer`` gives a place to a value; ``saved`` says that a backward pass will follow.
        """
        self.places = dict(results)
        self.among: dict[int, Run] = {}
        """Channels of several images that convolutions may write to, by the value's number."""
        self._outline, self._itemsize, self._buffer, self._saved = outline, itemsize, buffer, saved
        places = set(results.values())
        for number in reversed(range(outline.given, len(outline.shapes))):
            operation = outline.operations[number - outline.given]
            sources = operation.sources
            if not all(source >= outline.given and source not in self.places for source in sources):
                continue
            if isinstance(operation, Reshaped) and number in self.places:
                self.places[sources[0]] = self.places[number]
            elif isinstance(operation, Arranged) and _is_concatenation(operation, outline):
                if outline.shapes[number][0] > 1:
                    self._find_parts(number, sources)
                # A gradient would read the parts in a result, and torch lets the result of a concatenation change.
                elif not (saved and self.places.get(number) in places):
                    self._find_places(number, sources)

    def _find_places(self, number: int, sources: Sequence[int]) -> None:
        """Put the values that are concatenated for one image one behind the other."""
        place = self.places.get(number) or self._buffer(number)
        for source in sources:
            self.places[source] = place
            place += math.prod(self._outline.shapes[source]) * self._itemsize

    def _find_parts(self, number: int, sources: Sequence[int]) -> None:
        """Let convolutions of several images write their results to those channels of a concatenation that they are."""
        outline, first = self._outline, 0
        # A backward pass reads each of the results by itself.
        if self._saved or any(source in self.among for source in sources):
            return
        if not any(isinstance(outline.operations[source - outline.given], Convolved) for source in sources):
            return
        if number not in self.places:
            self.places[number] = self._buffer(number)
        for source in sources:
            count = outline.shapes[source][1]
            self.among[source] = Run(self.places[number], outline.shapes[number][1], first, count)
            first += count


def _is_concatenation(operation: Arranged, outline: Outline) -> bool:
    """Return True for two values or more, each of them whole."""
    whole = all((first, count) == (0, outline.shapes[at][1]) for at, first, count in operation.channels)
    return whole and 1 < len(operation.sources) == len(set(operation.sources))
