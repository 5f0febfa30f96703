"""This module declares the arguments of the tasks that copy images to mosaics of their phases, and back."""

from __future__ import annotations

from fastconv.backends.numba_cpu.simd.arguments import Arguments


class PhaseArguments(Arguments):
    """These arguments describe images and mosaics; conv/phases/copy.py says which pixel is where."""

    image: int
    """Address of the images' planes, (planes, H, W)."""
    mosaic: int
    """Address of the mosaics' planes, (planes, I, J)."""
    H: int
    W: int
    I: int
    J: int
    high: int
    """Distance between the first rows of neighbouring phases in a mosaic."""
    wide: int
    """Distance between the first columns of neighbouring phases in a mosaic."""
    DY: int
    """Distance between rows of the image that are neighbours in a phase."""
    DX: int
    """Distance between columns of the image that are neighbours in a phase."""
    top: int
    """Row of the image that is row 0 of the first phase: 0 or less."""
    left: int
    """Column of the image that is column 0 of the first phase: 0 or less."""
