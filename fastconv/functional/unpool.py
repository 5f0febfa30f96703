"""Max unpooling: values put back where max pooling found them."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv import registry
from fastconv.arguments import IntOrPair, image_dims, pair, same_shape, unpooled_size
from fastconv.arrays import A, taken


def max_unpool2d(
    input: A,
    indices: A,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    output_size: Sequence[int] | None = None,
    *,
    backend: str | None = None,
) -> A:
    """Returns the partial inverse of `fastconv.max_pool2d`, as `torch.nn.functional.max_unpool2d`.

    Args:
        input: (N, C, P, Q), or (C, P, Q) unbatched.
        indices: int64 of input's shape, as `max_pool2d` gives them. Where two are equal in a plane, the last wins.
        kernel_size, stride, padding: those of the pooling.
        output_size: (H, W), or a whole shape that ends so, to tell apart sizes that pool to the same; by default
            (P - 1) * stride - 2 * padding + kernel_size. It may differ from that by less than a stride.
        backend: one of `fastconv.backends`, checked but of no effect: unpooling is the same for all.

    Returns:
        (N, C, H, W), or (C, H, W) unbatched: zeros but at the indices.

    Raises:
        RuntimeError: shapes that differ, an index outside the plane.
        ValueError: an ``output_size`` that could not have been pooled to this.
        TypeError: indices that are not int64.
    """
    registry.resolve(backend)
    ops, input = taken("input", input)
    image_dims("input", input.shape, 2)
    _, indices = taken("indices", indices)
    same_shape("indices", indices.shape, input.shape, "input")
    kernel = pair("kernel_size", kernel_size, 1)
    steps = kernel if stride is None else pair("stride", stride, 1)
    size = unpooled_size(input.shape, kernel, steps, pair("padding", padding, 0), output_size)
    if input.ndim == 3:
        return ops.scatter(input[None], indices[None], size)[0]
    return ops.scatter(input, indices, size)
