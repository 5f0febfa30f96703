"""The look of all pictures: plain type, and colours that colour-blind readers and grey printers tell apart.

The line colours are Okabe and Ito's (2008).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

INK, PALE, GRID = "#1f2328", "#6e7781", "#d8dee4"
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
SIGNED = "RdBu_r"
"""The colour map of signed values: blue below zero, white at zero, red above."""

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "text.parse_math": False,  # names of files and classes are no formulas
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "fastconv",  # the same picture gives the same file
    "figure.facecolor": "white",
}


@contextmanager
def style() -> Iterator[None]:
    """Gives all that is drawn or saved in the block this look, whatever the user's settings of matplotlib are."""
    with warnings.catch_warnings(), mpl.rc_context():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # of a name in a script that the type doesn't have
        mpl.rcdefaults()  # the user's matplotlibrc doesn't count
        mpl.rcParams.update(_STYLE)
        yield


def drawable(text: str) -> str:
    """Returns ``text`` with escapes for bytes of a file's name that aren't UTF-8, and so no characters."""
    return text.encode("utf-8", "backslashreplace").decode()


def bare(axes: Axes) -> None:
    """Remove the frame and ticks of ``axes``, so that only the drawing stays."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
