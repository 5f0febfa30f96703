"""The functions of `fastconv.functional` on tensors: the same ones, with gradients of any order recorded.

Imported from here, tensors are taken for sure: this module adds them to the kinds of array that the API knows.
"""

from fastconv.functional import *  # noqa: F403
from fastconv.functional import __all__  # noqa: F401
from fastconv.torch import tensor_ops  # noqa: F401
