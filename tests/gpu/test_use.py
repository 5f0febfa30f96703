"""How the backend behaves among torch's streams, graphs and threads, and what it says when something is wrong."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastconv
import fastconv.torch.functional as G
from fastconv import ArgumentError, DeviceError
from fastconv.backends.numba_cuda.device_array import DeviceArray

from .conftest import DEVICE
from .test_values import drawn


def layer() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return drawn((4, 6, 14, 14), "float32", 1), drawn((16, 6, 5, 5), "float32", 2), drawn((16,), "float32", 3)


@pytest.mark.small
def test_auto_goes_where_the_tensors_are(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = drawn((1, 2, 5, 5), "float32", 1), drawn((3, 2, 3, 3), "float32", 2)
    torch.testing.assert_close(G.conv2d(x, w), F.conv2d(x, w), rtol=1e-4, atol=1e-4)


def test_a_captured_graph_gives_the_same() -> None:
    x, w, b = layer()
    x.requires_grad_()
    w.requires_grad_()

    def step() -> tuple[torch.Tensor, ...]:
        y = G.max_pool2d(torch.relu(G.conv2d(x, w, b, padding=1, backend="cuda")), 2, backend="cuda")
        return y, *torch.autograd.grad(y.sum(), (x, w))

    expected = step()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for tensor in captured:
        tensor.detach().fill_(float("nan"))
    graph.replay()
    torch.cuda.synchronize()
    for found, right in zip(captured, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=0)


def test_kernels_run_on_the_current_stream() -> None:
    """Behind work that is not done yet: on another stream they would read what is not there yet."""
    x, w, _ = layer()
    expected = G.conv2d(x, w, backend="cuda")
    late = torch.full_like(x, float("nan"))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        late.copy_(x)
        found = G.conv2d(late, w, backend="cuda")
    stream.synchronize()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_no_synchronisation() -> None:
    x, w, b = layer()
    x.requires_grad_()
    G.conv2d(x, w, b, backend="cuda").sum().backward()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        y = G.conv2d(x, w, b, backend="cuda")
        G.avg_pool2d(G.max_pool2d(y, 2, backend="cuda"), 2, backend="cuda").sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_same_bits_in_every_run() -> None:
    x, w = drawn((64, 32, 28, 28), "float32", 4), drawn((64, 32, 3, 3), "float32", 5)
    grad = drawn((64, 64, 28, 28), "float32", 6)
    for rung in ("cuda", "cuda:gemm", "cuda:direct", "cuda:tf32"):
        runs = [G.conv2d_weight(x, w.shape, grad, padding=1, backend=rung) for _ in range(5)]
        assert all(torch.equal(runs[0], run) for run in runs)


def test_threads_of_a_process() -> None:
    x, w, b = layer()
    expected = G.conv2d(x, w, b, backend="cuda")
    wrong: list[int] = []

    def work(number: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            found = [G.conv2d(x, w, b, backend="cuda") for _ in range(50)]
            wrong.extend(number for each in found if not torch.equal(each, expected))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_compiled_models() -> None:
    x, w, b = layer()

    def block(x: torch.Tensor) -> torch.Tensor:
        return G.max_pool2d(torch.relu(G.conv2d(x, w, b, backend="cuda")), 2, backend="cuda")

    compiled = torch.compile(block, fullgraph=True)
    torch.testing.assert_close(compiled(x), block(x), rtol=0, atol=0)


def test_tf32_follows_torchs_switch() -> None:
    x, w = drawn((32, 256, 14, 14), "float32", 7), drawn((256, 256, 3, 3), "float32", 8)
    exact = G.conv2d(x, w, padding=1, backend="cuda")
    torch.backends.cudnn.allow_tf32 = True
    try:
        rounded = G.conv2d(x, w, padding=1, backend="cuda")
    finally:
        torch.backends.cudnn.allow_tf32 = False
    difference = (exact - rounded).abs().max() / exact.abs().max()
    assert 1e-6 < difference < 3e-3


def test_operands_on_two_devices_are_refused() -> None:
    x, w, _ = layer()
    with pytest.raises(ArgumentError, match=r"weight: got device cpu, but all operands must be on one device.*cuda:0"):
        G.conv2d(x, w.cpu(), backend="cuda")


def test_tensors_of_the_processor_go_there_and_back() -> None:
    x, w, b = (tensor.cpu() for tensor in layer())
    found = G.conv2d(x, w, b, backend="cuda")
    assert found.device.type == "cpu"
    torch.testing.assert_close(found, F.conv2d(x, w, b), rtol=1e-4, atol=1e-4)


@pytest.mark.small
def test_arrays_of_numpy() -> None:
    x, w = np.ones((1, 2, 5, 4), np.float32), np.ones((3, 2, 3, 3), np.float32)
    np.testing.assert_array_equal(fastconv.conv2d(x, w, backend="cuda"), np.full((1, 3, 3, 2), 18.0))


class Shown:
    """An array known by its interface alone, as other libraries' are."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.__cuda_array_interface__ = tensor.__cuda_array_interface__
        self.shape, self.ndim, self.dtype = tuple(tensor.shape), tensor.ndim, tensor.dtype
        self.tensor = tensor


def test_arrays_that_show_their_memory() -> None:
    x, w, b = layer()
    found = fastconv.conv2d(Shown(x), Shown(w), Shown(b), padding=1, backend="cuda")
    assert isinstance(found, DeviceArray)
    shared = torch.as_tensor(found, device="cuda")
    assert shared.data_ptr() == found.address
    torch.testing.assert_close(shared, G.conv2d(x, w, b, padding=1, backend="cuda"), rtol=0, atol=0)
    np.testing.assert_array_equal(found.copy_to_host(), shared.cpu().numpy())


def test_out_of_memory_names_the_size() -> None:
    x, w = drawn((1, 1, 8, 8), "float32", 1), drawn((1, 1, 1, 1), "float32", 2)
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        G.conv2d(x.expand(2**28, 1, 8, 8), w.expand(64, 1, 1, 1), backend="cuda")
    free, _ = torch.cuda.mem_get_info()
    huge = np.broadcast_to(np.float32(0), (free // 256 + 1, 1, 8, 8))
    with pytest.raises((DeviceError, MemoryError), match=r"bytes were asked for|Unable to allocate"):
        fastconv.conv2d(huge, np.zeros((1, 1, 1, 1), np.float32), backend="cuda")


def test_an_epoch_of_lenet_is_torchs() -> None:
    """Three steps of training, wholly on the GPU, from the same weights: the same losses to rounding."""
    from fastconv.models.networks.lenet5 import NETWORK

    losses = []
    for backend in ("torch", "cuda"):
        torch.manual_seed(0)
        network = NETWORK.build((1, 28, 28), 10, backend).to(DEVICE)
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
        images, labels = drawn((64, 1, 28, 28), "float32", 1), torch.arange(64, device=DEVICE) % 10
        losses.append([])
        for _ in range(3):
            optimiser.zero_grad()
            loss = F.cross_entropy(network(images), labels)
            loss.backward()
            optimiser.step()
            losses[-1].append(float(loss))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
