"""This module declares the arguments of the tasks that copy images to their phases, and phases to images."""

from __future__ import annotations

from fastconv.backends.numba_cpu.simd.arguments import Arguments


class PhaseArguments(Arguments):
    """These arguments describe an image and its phases; conv/phases/copy.py says which pixels a phase has."""

    image: int
    """Address of the images, (N, channels, H, W)."""
    phases: int
    """Address of the phases, (N, DY, DX, channels, I, J)."""
    channels: int
    H: int
    W: int
    I: int
    J: int
    DY: int
    """Distance between rows of the image that are neighbours in a phase."""
    DX: int
    """Distance between columns of the image that are neighbours in a phase."""
    top: int
    """Row of the image that is row 0 of the first phase: 0 or less."""
    left: int
    """Column of the image that is column 0 of the first phase: 0 or less."""
