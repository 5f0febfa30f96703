"""What torch refuses is refused, with torch's type of exception and a message that says what is allowed."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastconv
from fastconv.backends.base import INTEGERS
from fastconv.torch import functional as ours

X, W = np.ones((2, 4, 8, 7), np.float32), np.ones((6, 4, 3, 3), np.float32)
LINE, LINE_W = X[:, :, 0], W[:, :, 0]
B = np.ones(6, np.float32)

REFUSED: list[tuple[str, str, tuple[Any, ...], dict[str, Any]]] = [
    # name of the culprit in the message, function, arrays and other arguments
    ("stride", "conv2d", (X, W), {"stride": 0}),
    ("stride", "conv2d", (X, W), {"stride": (1, 1, 1)}),
    ("stride", "conv2d", (X, W), {"stride": ()}),
    ("stride", "conv2d", (X, W), {"stride": 1.0}),
    ("stride", "conv2d", (X, W), {"stride": True}),
    ("stride", "conv2d", (X, W), {"stride": "1"}),
    ("dilation", "conv2d", (X, W), {"dilation": (1, 0)}),
    ("padding", "conv2d", (X, W), {"padding": -1}),
    ("padding", "conv2d", (X, W), {"padding": (1, 1, 1)}),
    ("padding", "conv2d", (X, W), {"padding": "full"}),
    ("padding", "conv2d", (X, W), {"padding": "same", "stride": 2}),
    ("groups", "conv2d", (X, W), {"groups": 0}),
    ("groups", "conv2d", (X, W[:5, :2]), {"groups": 2}),
    ("input", "conv2d", (X, W), {"groups": 2}),
    ("input", "conv2d", (X[:, :3], W), {}),
    ("input", "conv2d", (X[0, 0], W), {}),
    ("input", "conv2d", (X[None], W), {}),
    ("input", "conv2d", (X[:, :, :0], W), {"padding": 3}),
    ("weight", "conv2d", (X, W[0]), {}),
    ("weight", "conv2d", (X, W[:0]), {}),
    ("weight", "conv2d", (X, W[:, :, :0]), {}),
    ("weight", "conv2d", (X[:, :, :2], W), {}),
    ("weight", "conv2d", (X[:, :, :4], W[:, :, :3]), {"dilation": 2, "stride": 2}),
    ("weight", "conv2d", (X[:0, :, :2], W), {}),
    ("bias", "conv2d", (X, W, B[:5]), {}),
    ("bias", "conv2d", (X, W, B[None]), {}),
    ("weight", "conv2d", (X, W.astype(np.float64)), {}),
    ("bias", "conv2d", (X, W, B.astype(np.float64)), {}),
    ("input", "conv1d", (X, LINE_W), {}),
    ("stride", "conv1d", (LINE, LINE_W), {"stride": (1, 1)}),
    ("weight", "conv1d", (LINE, W), {}),
    ("output_padding", "conv_transpose2d", (np.ones((2, 6, 4, 4), np.float32), W), {"output_padding": 1}),
    ("output_padding", "conv_transpose2d", (np.ones((2, 6, 4, 4), np.float32), W), {"output_padding": -1}),
    ("padding", "conv_transpose2d", (np.ones((2, 6, 4, 4), np.float32), W), {"padding": "same"}),
    ("input", "conv_transpose2d", (X, W), {}),
    ("input", "conv_transpose2d", (np.ones((2, 6, 1, 1), np.float32), W), {"padding": 2}),
    ("input", "conv_transpose2d", (np.ones((2, 6, 0, 1), np.float32), W), {}),
    ("bias", "conv_transpose2d", (np.ones((2, 6, 4, 4), np.float32), W, B), {}),
    ("groups", "conv_transpose2d", (np.ones((2, 6, 4, 4), np.float32), W), {"groups": 4}),
    ("bias", "conv_transpose2d", (np.ones((2, 6, 4, 4), np.float32), W, np.ones(4)), {}),
    ("weight", "conv_transpose2d", (np.ones((2, 6, 4, 4), np.float16), W), {}),
    ("kernel_size", "max_pool2d", (X,), {"kernel_size": 0}),
    ("kernel_size", "max_pool2d", (X,), {"kernel_size": (2, 2, 2)}),
    ("stride", "max_pool2d", (X,), {"kernel_size": 2, "stride": 0}),
    ("stride", "max_pool2d", (X,), {"kernel_size": 2, "stride": (1, 1, 1)}),
    ("padding", "max_pool2d", (X,), {"kernel_size": 3, "padding": 2}),
    ("padding", "max_pool2d", (X,), {"kernel_size": 3, "padding": -1}),
    ("dilation", "max_pool2d", (X,), {"kernel_size": 2, "dilation": 0}),
    ("input", "max_pool2d", (X,), {"kernel_size": 9}),
    ("input", "max_pool2d", (X[:0],), {"kernel_size": 9}),
    ("input", "max_pool2d", (X[:, :0],), {"kernel_size": 2}),
    ("input", "max_pool2d", (X[:, :, :0],), {"kernel_size": 2}),
    ("input", "max_pool2d", (X[0, 0],), {"kernel_size": 2}),
    ("input", "max_pool1d", (X,), {"kernel_size": 2}),
    ("padding", "avg_pool2d", (X,), {"kernel_size": 3, "padding": 2}),
    ("divisor_override", "avg_pool2d", (X,), {"kernel_size": 2, "divisor_override": 0}),
    ("output_size", "adaptive_avg_pool2d", (X,), {"output_size": -1}),
    ("output_size", "adaptive_avg_pool2d", (X,), {"output_size": (1, 2, 3)}),
    ("output_size", "adaptive_max_pool2d", (X,), {"output_size": (2,)}),
    ("output_size", "adaptive_avg_pool2d", (X,), {"output_size": 2**31 - 1}),
    ("output_size", "adaptive_max_pool2d", (X,), {"output_size": 2**31 - 1}),
    ("output_size", "adaptive_max_pool2d", (X,), {"output_size": (2**30, 2**20)}),
    ("output_size", "adaptive_avg_pool2d", (X,), {"output_size": 2**20}),
    ("input", "adaptive_max_pool2d", (X[0, 0],), {"output_size": 2}),
    ("stride", "unfold", (X,), {"kernel_size": 2, "stride": 0}),
    ("weight", "unfold", (X,), {"kernel_size": 9}),
    ("input", "fold", (np.ones((1, 17, 36), np.float32),), {"output_size": 8, "kernel_size": 3}),
    ("input", "fold", (np.ones((1, 18, 35), np.float32),), {"output_size": 8, "kernel_size": 3}),
    ("input", "fold", (np.ones((1, 1, 18, 36), np.float32),), {"output_size": 8, "kernel_size": 3}),
]


def _id(refused: tuple[str, str, tuple[Any, ...], dict[str, Any]]) -> str:
    _, function, arrays, how = refused
    shapes = ",".join("x".join(map(str, array.shape)) for array in arrays)
    return f"{function}-{shapes}-{how}".replace(" ", "")


@pytest.mark.parametrize(("culprit", "function", "arrays", "how"), REFUSED, ids=map(_id, REFUSED))
def test_refused_as_by_torch(
    culprit: str, function: str, arrays: tuple[np.ndarray, ...], how: dict[str, Any], backend: str, ran: list[Any]
) -> None:
    tensors = [torch.from_numpy(array) for array in arrays]
    with pytest.raises(Exception) as theirs:  # noqa: PT011, whichever type torch raises is the right one
        getattr(F, function)(*tensors, **how)
    for namespace, operands in [(fastconv, arrays), (ours, tensors)]:
        with pytest.raises(theirs.type, match=f"^{culprit}: got .*, but ") as mine:
            getattr(namespace, function)(*operands, **how, backend=backend)
        assert len(str(mine.value)) < 250
    assert ran == []


TYPES = ["int64", "uint8", "uint16", "uint64", "bool", "complex64", "longdouble"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("function", ["conv2d", "max_pool2d", "avg_pool2d", "unfold"])
def test_data_types(function: str, dtype: str, backend: str) -> None:
    if function == "max_pool2d" and dtype in INTEGERS:
        return
    x = np.ones((1, 2, 4, 4), dtype)
    other = np.ones((1, 2, 2, 2), dtype) if function == "conv2d" else 2
    with pytest.raises(TypeError, match=r"input: got data type .*, but it must be float32, float64 or float16"):
        getattr(fastconv, function)(x, other, backend=backend)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ([[[[1.0]]]], "builtins.list, but it must be a numpy.ndarray"),
        (np.ma.masked_array(X), "masks are not understood"),
        (None, "NoneType"),
    ],
    ids=["list", "masked", "none"],
)
def test_kinds_of_array(given: Any, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        fastconv.max_pool2d(given, 1)
    with pytest.raises(TypeError, match="weight"):
        fastconv.conv2d(X, given)


def test_mixed_kinds() -> None:
    with pytest.raises(TypeError, match=r"weight: got Tensor, but it must be a numpy\.ndarray"):
        fastconv.conv2d(X, torch.ones(6, 4, 3, 3))
    with pytest.raises(TypeError, match=r"weight: got ndarray, but it must be a torch\.Tensor"):
        ours.conv2d(torch.ones(2, 4, 8, 7), W)


@pytest.mark.parametrize("output_size", [(9, 9), (3, 3), (1, 4, 4), (4,)], ids=str)
def test_unpool_sizes(output_size: tuple[int, ...]) -> None:
    values, indices = np.ones((1, 2, 3, 3), np.float32), np.zeros((1, 2, 3, 3), np.int64)
    with pytest.raises(ValueError, match="output_size: got"):
        fastconv.max_unpool2d(values, indices, 2, output_size=output_size)


def test_unpool_indices() -> None:
    values, indices = np.ones((1, 2, 3, 3), np.float32), np.full((1, 2, 3, 3), 99)
    with pytest.raises(RuntimeError, match="indices: got 99"):
        fastconv.max_unpool2d(values, indices, 2)
    with pytest.raises(TypeError, match="indices: got data type int32"):
        fastconv.max_unpool2d(values, indices.astype(np.int32), 2)
    with pytest.raises(RuntimeError, match=r"indices: got shape \(1, 2, 3, 2\)"):
        fastconv.max_unpool2d(values, indices[..., :2], 2)
    with pytest.raises(ValueError, match="backend"):
        fastconv.max_unpool2d(values, indices, 2, backend="nope")


@pytest.mark.parametrize("number", [2**31, 2**64, 10**30])
def test_numbers_beyond_use(number: int, backend: str) -> None:
    for function, how in (
        ("conv2d", "stride"),
        ("conv2d", "padding"),
        ("conv2d", "dilation"),
        ("max_pool2d", "stride"),
    ):
        arrays = (X, W) if function == "conv2d" else (X, 2)
        with pytest.raises(RuntimeError, match=f"{how}: got {number}, but it must be at most"):
            getattr(fastconv, function)(*arrays, **{how: number}, backend=backend)


def test_numpy_integers_are_integers(backend: str) -> None:
    two = np.int64(2)
    assert fastconv.max_pool2d(X, two, two, backend=backend).shape == (2, 4, 4, 3)
    assert fastconv.conv2d(X, W, stride=two, padding=(two, two), backend=backend).shape == (2, 6, 5, 5)


def test_biases_that_are_no_arrays(backend: str) -> None:
    image = np.ones((2, 6, 4, 4), np.float32)
    for bias in ("abc", 3, np.ma.masked_array(B)):
        with pytest.raises(TypeError, match="bias: got"):
            fastconv.conv2d(X, W, bias, backend=backend)
        with pytest.raises(TypeError, match="bias: got"):
            fastconv.conv_transpose2d(image, W, bias, backend=backend)


def test_indices_of_another_kind() -> None:
    values = np.ones((1, 2, 3, 3), np.float32)
    with pytest.raises(TypeError, match=r"indices: got Tensor, but it must be a numpy\.ndarray"):
        fastconv.max_unpool2d(values, torch.zeros(1, 2, 3, 3, dtype=torch.int64), 2)


NO_NUMBERS: list[Any] = [
    "ab",
    b"ab",
    None,
    1.5,
    1j,
    {},
    object(),
    int,
    np.float64(1),
    np.ones(3, np.int64),
    np.ones(X.shape),
]
NO_NUMBERS += [torch.ones(2), [[1]], ("a", "b"), range(2), np.array(2.5), [1, None], np.zeros(2, object)]


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=lambda wrong: f"{type(wrong).__name__}-{str(wrong)[:12]!r}")
@pytest.mark.parametrize("tensors", [False, True])
def test_what_is_no_number(tensors: bool, wrong: Any) -> None:
    """Anything for any argument that is no array: a TypeError with the argument's name, short."""
    namespace: Any = ours if tensors else fastconv
    x, w, line = [torch.from_numpy(a.copy()) if tensors else a for a in (X, W, LINE)]
    for function, arrays, names in (
        ("conv2d", (x, w), ["stride", "dilation", "groups"]),
        ("max_pool2d", (x, 2), ["padding", "dilation"]),
        ("avg_pool1d", (line, 2), ["padding", "ceil_mode"]),
        ("lp_pool2d", (x,), ["norm_type", "kernel_size"]),
        ("unfold", (x, 2), ["padding", "stride"]),
        ("conv2d_backward", (x, x, w), ["output_mask"]),
    ):
        for name in names:
            how = {"kernel_size": 2, "norm_type": 2} if function == "lp_pool2d" else {}
            if name == "norm_type" and isinstance(wrong, (float, np.floating)):
                continue
            with pytest.raises((TypeError, RuntimeError), match=f"^{name}: got ") as refused:
                getattr(namespace, function)(*arrays, **{**how, name: wrong})
            assert isinstance(refused.value, (fastconv.ArgumentTypeError, fastconv.ArgumentError))
            assert len(str(refused.value)) < 250


def test_flags_without_a_truth() -> None:
    for function in ("max_pool2d", "adaptive_max_pool2d"):
        for wrong in (np.ones(2), torch.ones(2), np.zeros(0)):
            with pytest.raises(TypeError, match="return_indices: got"):
                getattr(fastconv, function)(X, 2, return_indices=wrong)


@pytest.mark.parametrize("norm", [10**400, -(10**400)], ids=["large", "small"])
def test_norms_beyond_floats(norm: int) -> None:
    with pytest.raises(RuntimeError, match="norm_type: got"):
        fastconv.lp_pool2d(X, norm, 2)
    np.testing.assert_array_equal(fastconv.lp_pool2d(np.ones_like(X), 2**64, 1), np.ones_like(X))
    assert ours.lp_pool2d(torch.from_numpy(X.copy()), 2**64, 1).shape == X.shape


def test_results_beyond_memory(backend: str) -> None:
    values, indices = np.ones((1, 1, 2, 2), np.float32), np.zeros((1, 1, 2, 2), np.int64)
    for arrays, call in (
        ((X, W), lambda x, w: fastconv.conv2d(x, w, padding=2**31 - 1, backend=backend)),
        (
            (np.ones((2, 6, 4, 4), np.float32), W),
            lambda x, w: fastconv.conv_transpose2d(x, w, stride=2**31 - 1, backend=backend),
        ),
        ((values, indices), lambda v, i: fastconv.max_unpool2d(v, i, 2**31 - 1, backend=backend)),
    ):
        with pytest.raises(RuntimeError, match="input: got shape"):
            call(*arrays)


@pytest.mark.parametrize("function", ["max_pool2d", "avg_pool2d", "lp_pool2d", "unfold"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_sparse_tensors(function: str, dtype: torch.dtype) -> None:
    how = {"norm_type": 2} if function == "lp_pool2d" else {}
    with pytest.raises(TypeError, match=r"input: got layout torch\.sparse_coo"):
        getattr(ours, function)(torch.ones(1, 2, 4, 4, dtype=dtype).to_sparse(), kernel_size=2, **how)


@pytest.mark.parametrize("position", range(2))
def test_gradients_of_mixed_kinds(position: int) -> None:
    x, w, grad = torch.from_numpy(X.copy()), torch.from_numpy(W.copy()), torch.ones(2, 6, 6, 5)
    for call in (
        lambda *pair: ours.conv2d_input(X.shape, *pair),
        lambda *pair: ours.conv2d_backward(pair[1], x, pair[0]),
    ):
        pair = [w.numpy(), grad] if position == 0 else [w, grad.numpy()]
        with pytest.raises(TypeError, match=r"(weight|grad_output|input): got .*, but it must be a "):
            call(*pair)
    with pytest.raises(TypeError, match="input: got ndarray"):
        ours.conv2d_backward(grad, X, w)


def test_errors_cross_processes() -> None:
    with pytest.raises(fastconv.ArgumentError) as refused:
        fastconv.conv2d(X, W, stride=0)
    again = pickle.loads(pickle.dumps(refused.value))
    assert str(again) == str(refused.value) == "stride: got 0, but it must be at least 1"


class TestGradients:
    """Shapes that don't belong together never reach a backend."""

    def test_grad_output(self, backend: str) -> None:
        grad = np.ones((2, 6, 6, 4), np.float32)
        for call in (
            lambda: fastconv.conv2d_input(X.shape, W, grad, backend=backend),
            lambda: fastconv.conv2d_weight(X, W.shape, grad, backend=backend),
            lambda: fastconv.avg_pool2d_backward(grad, X.shape, 2, backend=backend),
        ):
            with pytest.raises(RuntimeError, match="grad_output: got shape"):
                call()

    def test_backward_checks_whatever_is_wanted(self, backend: str) -> None:
        grad = np.ones((2, 5, 6, 5), np.float32)
        with pytest.raises(RuntimeError, match="grad_output: got shape"):
            fastconv.conv2d_backward(grad, X, W, output_mask=(False, False, True), backend=backend)
        with pytest.raises(RuntimeError, match="output_mask"):
            fastconv.conv2d_backward(np.ones((2, 6, 6, 5), np.float32), X, W, output_mask=(True, True), backend=backend)
        with pytest.raises(TypeError, match=r"weight: got builtins\.NoneType"):
            fastconv.conv2d_backward(grad, X, None, backend=backend)
        with pytest.raises(RuntimeError, match="weight: got shape"):
            fastconv.conv2d_input(X.shape, W[0], grad, backend=backend)

    @pytest.mark.parametrize("batched", [True, False])
    def test_one_with_a_batch_and_one_without(self, batched: bool, backend: str) -> None:
        grad, indices = np.ones((2, 6, 6, 5), np.float32), np.zeros((2, 6, 6, 5), np.int64)
        x, part, places = (X, grad[0], indices[0]) if batched else (X[0], grad, indices)
        for call in (
            lambda: fastconv.conv2d_backward(part, x, W, backend=backend),
            lambda: fastconv.conv2d_weight(x, W.shape, part, backend=backend),
            lambda: fastconv.conv2d_input(x.shape, W, part, backend=backend),
            lambda: fastconv.max_pool2d_backward(part, places, x.shape, backend=backend),
            lambda: fastconv.avg_pool2d_backward(part, x.shape, 3, 1, backend=backend),
        ):
            with pytest.raises(RuntimeError, match=r": got shape \(.*both a batch, or neither"):
                call()

    def test_sizes(self, backend: str) -> None:
        grad = np.ones((2, 6, 6, 5), np.float32)
        with pytest.raises(RuntimeError, match="input_size"):
            fastconv.conv2d_input((4, 8, 7), W, grad, backend=backend)
        with pytest.raises(TypeError, match="input_size"):
            fastconv.conv2d_input(8, W, grad, backend=backend)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="weight_size"):
            fastconv.conv2d_weight(X, (6, 4, 3), grad, backend=backend)
        with pytest.raises(RuntimeError, match="grad_output"):
            fastconv.max_pool2d_backward(grad, np.zeros(grad.shape, np.int64), (2, 4, 8, 7), backend=backend)
