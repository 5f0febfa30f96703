"""Plans: convolutions whose weight and shapes are known before the images are."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv.arguments import IntOrPair, Padding, conv_parameters, image_dims, size, weight_dims
from fastconv.arrays import A, taken
from fastconv.planning import Conv2dPlan


def plan_conv2d(
    input_shape: Sequence[int],
    weight: A,
    bias: A | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    backend: str | None = None,
) -> Conv2dPlan:
    """Returns a plan that computes `conv2d` with this weight for images of one shape, for callers in a loop.

    A plan checks the arguments, chooses the algorithm and packs or transforms the weight once. It keeps a copy of
    weight and bias: a later change of theirs doesn't change the plan. A plan of tensors records no gradients.

    Args:
        input_shape: (N, C, H, W), or (C, H, W) unbatched.
        weight, bias, stride, padding, dilation, groups: as in `conv2d`. The kind of array and the data type of the
            weight, NumPy's or a tensor's on the CPU, are those that the plan is for.
        backend: one of `fastconv.backends`; None for the current choice, which is made now.

    Returns:
        a `Conv2dPlan`: ``plan(x)`` returns the result, ``plan(x, out=y)`` writes it to ``y``.

    It raises what `conv2d` raises.
    """
    ops, weight = taken("weight", weight)
    weight_dims(weight.shape, 2)
    dims = len(input_shape) if isinstance(input_shape, (tuple, list)) else 4
    shape = size("input_shape", input_shape, 3 if dims == 3 else 4)
    image_dims("input_shape", shape, 2)
    how = conv_parameters(tuple(weight.shape[2:]), stride, padding, dilation, groups)
    plan: Conv2dPlan = ops.plan_conv2d(shape, weight, bias, how, backend)
    return plan
