"""`QUIET` turns NumPy's warnings off: NaN, infinities and overflow pass silently, as in torch."""

import numpy as np

QUIET = np.errstate(all="ignore")
"""A decorator for functions that compute with NumPy."""
