"""An `Epilogue` is what a convolution does to its results besides writing them to an array of their own.

A pass of its own over the results moves them from the core's cache to one that all cores share, and back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self


class Epilogue:
    """This base class of convolutions' plans leaves everything but bias and limits to jobs that follow."""

    def adding(self) -> Self | None:
        """Return the plan that adds a residual before it limits results, or None where that takes a job of its own.

        The residual's place follows that of the target where the plan is recorded.
        """
        return None

    def activated(self, function: Callable[[], int]) -> Self | None:
        """Return the plan that applies a function to its results, or None where that takes a job of its own.

        ``function`` returns the address of a compiled one, as `fused.post_op.in_place`.
        """
        return None

    def among(self, channels: int) -> Self | None:
        """Return the plan whose target is some channels of images with ``channels`` channels, or None."""
        return None
