"""NumPy's warnings, off: NaN, infinities and overflow travel without a word, as in torch."""

import numpy as np

QUIET = np.errstate(all="ignore")
"""A decorator."""
