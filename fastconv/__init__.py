"""fastconv: convolution and pooling with interchangeable backends, one API, the semantics of torch.nn.functional.

    import fastconv
    y = fastconv.conv2d(x, w, b, padding=1)                    # the fastest backend that can run here
    y = fastconv.conv2d(x, w, b, padding=1, backend="im2col")  # this one
    with fastconv.use_backend("naive"): ...                    # all calls in the block

For torch users: `fastconv.torch`.
"""

from typing import TYPE_CHECKING

from fastconv import cuda_ops as cuda_ops
from fastconv import functional
from fastconv import numpy_ops as numpy_ops
from fastconv._version import __version__ as __version__
from fastconv.backends.base import Backend
from fastconv.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArgumentValueError,
    BackendUnavailableError,
    DeviceError,
    DeviceMemoryError,
    UnknownBackendError,
    UnsupportedError,
)
from fastconv.explaining import explain
from fastconv.functional import *  # noqa: F403
from fastconv.geometry import ConvGeometry, PoolGeometry
from fastconv.planning import Conv2dPlan
from fastconv.registry import BackendInfo, get_backend, register_backend, set_backend, use_backend
from fastconv.threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from fastconv.registry import backends
else:
    from fastconv import backends

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "ArgumentValueError",
    "Backend",
    "BackendInfo",
    "BackendUnavailableError",
    "Conv2dPlan",
    "ConvGeometry",
    "DeviceError",
    "DeviceMemoryError",
    "PoolGeometry",
    "UnknownBackendError",
    "UnsupportedError",
    "backends",
    "explain",
    "get_backend",
    "get_num_threads",
    "register_backend",
    "set_backend",
    "set_num_threads",
    "use_backend",
    *functional.__all__,
]
