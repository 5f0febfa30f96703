"""The functions of `fastconv.functional`, which take tensors too and record gradients of any order.

This module adds tensors to the kinds of array that the API knows, so functions imported from here take them.
"""

from fastconv.functional import *  # noqa: F403
from fastconv.functional import __all__  # noqa: F401
from fastconv.torch import tensor_ops  # noqa: F401
