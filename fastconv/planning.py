"""A plan of a convolution is made once for a weight and a shape of images, and called many times."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fastconv.backends.planned import Planned
from fastconv.backends.quiet import QUIET
from fastconv.errors import ArgumentError, ArgumentTypeError, ArgumentValueError

Shape = tuple[int, ...]


class Conv2dPlan:
    """A convolution by a weight that is known, of images whose shape is known; `plan_conv2d` makes it.

    ``plan(x)`` returns the result for ``x`` in a new array, and ``plan(x, out=y)`` writes it to ``y`` and returns
    that. The results are those of `conv2d` with the same arguments, up to rounding. Several threads may call a plan at
    the same time.
    """

    input_shape: Shape
    """Shape of the images: (N, C, H, W), or (C, H, W) unbatched."""
    output_shape: Shape
    """Shape of the results: (N, K, P, Q), or (K, P, Q) unbatched."""
    dtype: Any
    """Data type of images and results: the weight's."""
    backend: str
    """Name of the backend that computes."""

    def __init__(self, planned: Planned, input_shape: Shape, dtype: np.dtype, backend: str) -> None:
        """Take a backend's planned convolution, for arrays of ``dtype``; float16 is computed in float32."""
        self.input_shape, self.dtype, self.backend = input_shape, dtype, backend
        shape = planned.geometry.output_shape
        self.output_shape = shape if len(input_shape) == 4 else shape[1:]
        self.planned, self._computed = planned, planned.w.dtype
        known = planned.known(input_shape, self.output_shape) if dtype == self._computed else None
        self._known = _unknown if known is None else known

    def __call__(self, input: Any, *, out: Any = None) -> Any:
        """Returns the convolution of ``input``.

        Args:
            input: images of the plan's ``input_shape`` and ``dtype``, of the weight's kind of array.
            out: where to write the result, of ``output_shape`` and ``dtype``, with any strides; it may share memory
                with ``input``. None makes a new array.

        Raises:
            RuntimeError: another shape.
            TypeError: another kind of array or data type.
            ValueError: ``out`` is read-only.
        """
        found = self._known(input, out)
        return self._compute(input, out) if found is NotImplemented else found

    def __repr__(self) -> str:
        return f"<Conv2dPlan {self.input_shape} to {self.output_shape}, {self.dtype}, backend {self.backend!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a plan can't be copied or pickled: it holds addresses; make another with plan_conv2d")

    @QUIET
    def _compute(self, input: Any, out: Any) -> Any:
        self._check("input", input, self.input_shape)
        x = np.require(input, self._computed, ["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"])
        if out is not None:
            self._check("out", out, self.output_shape)
            if not out.flags.writeable:
                raise ArgumentValueError("out", "a read-only array", "the result is written to it")
        fits = out is not None and out.dtype == self._computed and out.flags.c_contiguous and out.flags.aligned
        y = np.asarray(out) if fits and not np.may_share_memory(x, out) else np.empty(self.output_shape, self._computed)
        g = self.planned.geometry
        self.planned.compute(x.reshape(g.input_shape), y.reshape(g.output_shape))
        if out is None:
            return y.astype(self.dtype, copy=False)
        if not np.may_share_memory(y, out):
            np.asarray(out)[...] = y
        return out

    def _check(self, name: str, array: Any, shape: Shape) -> None:
        """Refuse an array of another kind, shape or data type than the plan was made for."""
        if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
            raise ArgumentTypeError(name, type(array).__name__, "the plan was made for numpy.ndarray")
        if array.dtype.newbyteorder("=") != self.dtype:
            raise ArgumentTypeError(name, f"data type {array.dtype}", f"the plan was made for {self.dtype}")
        if array.shape != shape:
            raise ArgumentError(name, f"shape {array.shape}", f"the plan was made for {shape}")


def _unknown(input: Any, out: Any) -> Any:
    return NotImplemented
