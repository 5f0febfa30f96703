"""onnxruntime and OpenVINO: libraries that run a network exported to ONNX, forwards only."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.networks.passes import Pass


def export(model: nn.Module, x: Tensor, path: Path) -> Path:
    """Write ``model``, for inputs of the shape of ``x``, as an ONNX file; its weights may lie beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, of what it will change one day
        torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
    return path


def session(name: str, path: Path, x: Tensor, threads: int) -> Pass:
    """The network of ``path`` on the peer ``name``."""
    return {"onnxruntime": _onnxruntime, "openvino": _openvino}[name](path, x, threads)


def _onnxruntime(path: Path, x: Tensor, threads: int) -> Pass:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    network = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {network.get_inputs()[0].name: x.numpy()}

    def call() -> Any:
        return network.run(None, feed)

    return Pass(lambda: [torch.from_numpy(each) for each in call()], call)


def _openvino(path: Path, x: Tensor, threads: int) -> Pass:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    images = x.numpy()
    request.set_input_tensor(openvino.Tensor(images, shared_memory=True))

    def call() -> Any:
        assert images.size  # the call holds the memory that the request reads
        request.infer()
        return request.output_tensors

    return Pass(lambda: [torch.from_numpy(each.data.copy()) for each in call()], call)
