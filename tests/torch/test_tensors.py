"""Tensors as users have them: layouts, half precision, autocast, autograd's rules, no copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as T

import fastconv
from fastconv import registry
from fastconv.torch import chains
from fastconv.torch import functional as F


def _x(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


class TestLayouts:
    @pytest.mark.parametrize("shape", [(2, 4, 6, 6), (2, 1, 6, 6), (2, 4, 3, 3)], ids=str)
    def test_channels_last_stays(self, shape: tuple[int, ...], backend: str) -> None:
        x = _x(*shape).to(memory_format=torch.channels_last).requires_grad_()
        w = _x(5, shape[1], 3, 3)
        values, indices = F.max_pool2d(x, 2, 1, return_indices=True, backend=backend)
        for mine, theirs in [
            (F.conv2d(x, w, backend=backend), T.conv2d(x, w)),
            (values, T.max_pool2d(x, 2, 1)),
            (indices, T.max_pool2d(x, 2, 1, return_indices=True)[1]),
            (F.avg_pool2d(x, 2, 1, backend=backend), T.avg_pool2d(x, 2, 1)),
        ]:
            assert mine.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)

    def test_channels_last_gradients(self, backend: str) -> None:
        x = _x(2, 4, 6, 6).to(memory_format=torch.channels_last).requires_grad_()
        w = _x(5, 4, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
        found = torch.autograd.grad(F.conv2d(x, w, backend=backend).square().sum(), (x, w))
        expected = torch.autograd.grad(T.conv2d(x, w).square().sum(), (x, w))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert found[0].is_contiguous(memory_format=torch.channels_last)

    @pytest.mark.parametrize("function", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
    @pytest.mark.parametrize("size", [3, 4])
    def test_channels_last_through_adaptive_pooling(self, function: str, size: int, backend: str) -> None:
        x = _x(2, 4, 6, 6).to(memory_format=torch.channels_last)
        y = getattr(F, function)(x, size, backend=backend)
        assert y.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(y, getattr(T, function)(x, size))

    def test_contiguous_stays(self, backend: str) -> None:
        y = F.conv2d(_x(2, 4, 1, 1), _x(3, 4, 1, 1), backend=backend)
        assert y.stride() == (3, 1, 1, 1)

    def test_odd_strides_and_offsets(self, backend: str) -> None:
        base, w = _x(3, 5, 9, 9), _x(4, 3, 3, 3)
        for x in (
            base[1:, 2:, ::2, 1:].transpose(2, 3),
            base[:2, :3, :7, :7].expand(2, 3, 7, 7),
            base[:2, ::2].flip(3),
        ):
            torch.testing.assert_close(F.conv2d(x, w, backend=backend), T.conv2d(x, w), rtol=1e-4, atol=1e-4)

    def test_negated_view(self, backend: str) -> None:
        """torch keeps the sign of a conjugate's imaginary part as a bit on the tensor, not in memory."""
        x = torch.view_as_complex(torch.stack([_x(1, 3, 6, 6), _x(1, 3, 6, 6)], -1)).conj().imag
        assert x.is_neg()
        w = _x(2, 3, 3, 3)
        torch.testing.assert_close(F.conv2d(x, w, backend=backend), T.conv2d(x, w), rtol=1e-4, atol=1e-4)


class TestHalfPrecision:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    def test_computed_in_float32_and_rounded_once(self, dtype: torch.dtype, backend: str) -> None:
        x, w, b = _x(2, 3, 6, 6, dtype=dtype), _x(4, 3, 3, 3, dtype=dtype), _x(4, dtype=dtype)
        wide = [t.float().requires_grad_() for t in (x, w, b)]
        half = [t.clone().requires_grad_() for t in (x, w, b)]
        y, exact = F.conv2d(*half, padding=1, backend=backend), F.conv2d(*wide, padding=1, backend=backend)
        assert y.dtype == dtype
        assert torch.equal(y, exact.to(dtype))
        cotangent = _x(*y.shape, dtype=dtype)
        found = torch.autograd.grad(y, half[:2], cotangent)
        expected = torch.autograd.grad(exact, wide[:2], cotangent.float())
        for mine, right in zip(found, expected, strict=True):
            assert mine.dtype == dtype
            assert torch.equal(mine, right.to(dtype))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    def test_pooling(self, dtype: torch.dtype, backend: str) -> None:
        x = _x(2, 3, 7, 7, dtype=dtype)
        for name, size in (("avg_pool2d", 3), ("max_pool2d", 3), ("adaptive_avg_pool2d", 4), ("lp_pool2d", (2, 3))):
            arguments = size if isinstance(size, tuple) else (size,)
            mine = getattr(F, name)(x, *arguments, backend=backend)
            wide = getattr(F, name)(x.float(), *arguments, backend=backend)
            assert torch.equal(mine, wide.to(dtype)), name

    def test_autocast(self, backend: str) -> None:
        x, w = _x(2, 3, 6, 6), _x(4, 3, 3, 3).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = F.conv2d(x, w, backend=backend)
            mixed = F.conv2d(x.bfloat16(), w, backend=backend)
            transposed = F.conv_transpose2d(x, w.transpose(0, 1), backend=backend)
        assert y.dtype == mixed.dtype == transposed.dtype == torch.bfloat16
        y.float().sum().backward()
        assert w.grad is not None
        assert w.grad.dtype == torch.float32


class TestAutograd:
    def test_same_result_with_and_without_gradient(self, backend: str) -> None:
        x, w = _x(2, 3, 6, 6), _x(4, 3, 3, 3)
        plain = F.conv2d(x, w, backend=backend)
        with torch.no_grad():
            silent = F.conv2d(x, w.clone().requires_grad_(), backend=backend)
        tracked = F.conv2d(x, w.clone().requires_grad_(), backend=backend)
        assert torch.equal(plain, tracked)
        assert torch.equal(plain, silent)
        assert not plain.requires_grad
        assert not silent.requires_grad
        assert tracked.requires_grad

    def test_inference_mode(self, backend: str) -> None:
        with torch.inference_mode():
            assert F.conv2d(_x(1, 1, 3, 3), _x(1, 1, 2, 2), backend=backend).shape == (1, 1, 2, 2)

    @pytest.mark.parametrize("frozen", ["x", "w", "b"])
    def test_frozen_operands_get_no_gradient(self, frozen: str, backend: str, ran) -> None:
        leaves = {"x": _x(2, 3, 6, 6), "w": _x(4, 3, 3, 3), "b": _x(4)}
        for name, leaf in leaves.items():
            leaf.requires_grad_(name != frozen)
        F.conv2d(*leaves.values(), backend=backend).sum().backward()
        assert {name for name, leaf in leaves.items() if leaf.grad is None} == {frozen}
        work = {"x": "conv2d_input", "w": "conv2d_weight"}
        backwards = set() if registry.get(backend).differentiable else {*work.values()} - {work.get(frozen)}
        assert {operation for _, operation in ran} == {"conv2d", *backwards}

    def test_torch_records_its_own_gradients(self) -> None:
        """The yardstick goes no way round."""
        x, w = _x(2, 3, 6, 6).requires_grad_(), _x(4, 3, 3, 3)
        y = F.conv2d(x, w, backend="torch")
        recorded = [each.grad_fn.name() for each in (y, F.max_pool2d(y, 2, backend="torch"))]
        recorded.append(F.avg_pool2d(y, 2, backend="torch").grad_fn.name())
        assert recorded == ["ConvolutionBackward0", "MaxPool2DWithIndicesBackward0", "AvgPool2DBackward0"]

    def test_second_backward_needs_retain_graph(self, backend: str) -> None:
        w = _x(4, 3, 3, 3).requires_grad_()
        y = F.conv2d(_x(2, 3, 6, 6), w, backend=backend).sum()
        y.backward(retain_graph=True)
        y.backward()
        with pytest.raises(RuntimeError, match="second time"):
            y.backward()

    def test_changed_in_place_is_noticed(self, backend: str) -> None:
        x, w = _x(2, 3, 6, 6), _x(4, 3, 3, 3).requires_grad_()
        y = F.conv2d(x, w, backend=backend).sum()
        x.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()

    def test_indices_have_no_gradient(self, backend: str) -> None:
        _, indices = F.max_pool2d(_x(1, 2, 4, 4).requires_grad_(), 2, return_indices=True, backend=backend)
        assert not indices.requires_grad

    def test_backward_uses_the_backend_of_forward(self, backend: str, ran) -> None:
        w = _x(4, 3, 3, 3).requires_grad_()
        with fastconv.use_backend(backend):
            y = F.max_pool2d(F.conv2d(_x(2, 3, 6, 6), w), 2).sum()
        y.backward()
        # most do pooling's gradient by the indices alone, which the record has besides
        steps = [name for name, operation in ran if operation != "max_pool2d_backward"]
        assert steps == [backend] * (2 if registry.get(backend).differentiable else 4)

    def test_double_backward_with_groups_stride_dilation_and_a_frozen_weight(self, backend: str) -> None:
        x = _x(1, 4, 7, 6, dtype=torch.float64).requires_grad_()
        w = _x(6, 2, 3, 2, dtype=torch.float64)

        def penalty(convolve) -> torch.Tensor:
            (slope,) = torch.autograd.grad(convolve().square().sum(), x, create_graph=True)
            return torch.autograd.grad(slope.square().sum(), x)[0]

        how = {"stride": (2, 1), "dilation": (1, 2), "groups": 2}
        mine = penalty(lambda: F.conv2d(x, w, padding=(1, 0), **how, backend=backend))
        torch.testing.assert_close(mine, penalty(lambda: T.conv2d(x, w, padding=(1, 0), **how)))


class TestOperators:
    """Called directly, with what the functions would have refused."""

    def test_indices_of_another_shape(self, backend: str) -> None:
        with pytest.raises(RuntimeError, match="indices: got shape"):
            torch.ops.fastconv.max_pool2d_backward(
                torch.ones(20, 10, 2, 2), torch.zeros(1, 1, 1, 1, dtype=torch.int64), [4, 4], backend
            )

    @pytest.mark.parametrize(
        ("name", "how"),
        [
            ("stride", ([0, 1], [0] * 4, [1, 1], 1)),
            ("stride", ([1], [0] * 4, [1, 1], 1)),
            ("dilation", ([1, 1], [0] * 4, [-1, -1], 1)),
            ("padding", ([1, 1], [0, 0], [1, 1], 1)),
            ("padding", ([1, 1], [0, 0, 0, -1], [1, 1], 1)),
            ("groups", ([1, 1], [0] * 4, [1, 1], 0)),
        ],
    )
    def test_parameters(self, name: str, how: tuple[object, ...], backend: str) -> None:
        with pytest.raises(RuntimeError, match=f"{name}: got"):
            torch.ops.fastconv.conv2d(_x(1, 2, 6, 6), _x(3, 2, 3, 3), None, *how, backend)


def test_no_copies(backend: str, monkeypatch) -> None:
    """A backend works on the tensors' own memory, and the tensor returned is on the array that it made."""
    seen: list[object] = []
    runner = registry.get(backend)
    primitive = runner.conv2d
    monkeypatch.setattr(chains, "is_plain", lambda x: False)  # a chain gets addresses of tensors

    def spied(x, w, b, geometry):
        seen.extend([x, w, primitive(x, w, b, geometry)])
        return seen[-1]

    monkeypatch.setattr(runner, "conv2d", spied)
    x, w = _x(2, 3, 6, 6), _x(4, 3, 3, 3)
    y = F.conv2d(x, w, backend=backend)
    for tensor, used in zip((x, w, y), seen, strict=True):
        address = used.data_ptr() if isinstance(used, torch.Tensor) else used.__array_interface__["data"][0]
        assert address == tensor.data_ptr()


def test_meta_tensors_have_shapes_alone() -> None:
    x, w = torch.empty(1, 1, 4, 4, device="meta"), torch.empty(1, 1, 2, 2, device="meta")
    assert F.conv2d(x, w, backend="im2col").shape == (1, 1, 3, 3)


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool], ids=str)
def test_data_types(dtype: torch.dtype, backend: str) -> None:
    with pytest.raises(TypeError, match=f"input: got data type {dtype}, but it must be torch.float32"):
        F.avg_pool2d(torch.ones(1, 1, 4, 4, dtype=dtype), 2, backend=backend)
    with pytest.raises(RuntimeError, match=r"weight: got data type torch\.float64, but all operands"):
        F.conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2).double(), backend=backend)


def test_gradient_functions_take_tensors(backend: str) -> None:
    x, w = _x(2, 3, 6, 6), _x(4, 3, 3, 3)
    grad = _x(2, 4, 4, 4)
    found = fastconv.conv2d_backward(grad, x, w, backend=backend)
    torch.testing.assert_close(found[0], torch.nn.grad.conv2d_input(x.shape, w, grad), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], torch.nn.grad.conv2d_weight(x, w.shape, grad), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[2], grad.sum((0, 2, 3)))


def test_results_agree_between_kinds(backend: str) -> None:
    x, w = _x(2, 3, 6, 6), _x(4, 3, 3, 3)
    array = fastconv.conv2d(x.numpy(), w.numpy(), backend=backend)
    np.testing.assert_array_equal(array, fastconv.conv2d(x, w, backend=backend).numpy())
