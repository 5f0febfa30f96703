"""The API: the functions of `torch.nn.functional` for convolution and pooling, and their gradients.

Each function is written once for every kind of array (`fastconv.arrays`), takes a last keyword ``backend``, and
agrees with torch's function of the same name in argument order, defaults, results and errors.
"""

from fastconv.functional.adaptive import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
)
from fastconv.functional.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from fastconv.functional.gradients import (
    avg_pool2d_backward,
    conv2d_backward,
    conv2d_input,
    conv2d_weight,
    max_pool2d_backward,
)
from fastconv.functional.lp import lp_pool1d, lp_pool2d
from fastconv.functional.planning import plan_conv2d
from fastconv.functional.pooling import avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from fastconv.functional.unfold import fold, unfold
from fastconv.functional.unpool import max_unpool2d

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool2d_backward",
    "conv1d",
    "conv2d",
    "conv2d_backward",
    "conv2d_input",
    "conv2d_weight",
    "conv_transpose1d",
    "conv_transpose2d",
    "fold",
    "lp_pool1d",
    "lp_pool2d",
    "max_pool1d",
    "max_pool2d",
    "max_pool2d_backward",
    "max_unpool2d",
    "plan_conv2d",
    "unfold",
]
