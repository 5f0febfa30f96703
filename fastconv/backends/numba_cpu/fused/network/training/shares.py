"""The gradient of a value is the sum of what its readers give, each for all of its channels or for some.

A reader that concatenates, splits or shuffles gives channels of its own gradient, which nothing copies: they are summed
from where they are.
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.fused.network.planes import Run
from fastconv.backends.numba_cpu.runtime.program import Place


class Shares:
    """Collects what the readers of one value give to its gradient."""

    def __init__(self, channels: int) -> None:
        """Begin with no share, for a value that has this many ``channels``."""
        self._channels = channels
        self._layers: list[list[tuple[Place, int, int] | None]] = []

    def add(self, run: Run, first: int = 0) -> None:
        """Add a run of a gradient's channels, given to the channels from ``first`` on."""
        there = slice(first, first + run.length)
        for layer in self._layers:
            if not any(layer[there]):
                break
        else:
            layer = [None] * self._channels
            self._layers.append(layer)
        layer[there] = [(run.buffer, run.channels, run.first + at) for at in range(run.length)]

    def whole(self) -> Place | None:
        """Return the place of the gradient, where a single reader gives all channels side by side; else None."""
        if len(self._layers) != 1:
            return None
        (runs,) = self.layers()
        (only, *more) = runs
        if more or only is None or (only.channels, only.length) != (self._channels, self._channels):
            return None
        return only.buffer

    def layers(self) -> list[list[Run | None]]:
        """Return summands, each as the runs of all channels; a run of zeros is None, one for each channel."""
        return [_runs(layer) for layer in self._layers]


def _runs(layer: list[tuple[Place, int, int] | None]) -> list[Run | None]:
    found: list[Run | None] = []
    for each in layer:
        last = found[-1] if found else None
        if each is None:
            found.append(None)
        elif last is not None and (last.buffer, last.channels, last.first + last.length) == each:
            found[-1] = last._replace(length=last.length + 1)
        else:
            found.append(Run(*each, 1))
    return found
