"""FASTCONV_VERBOSE: each call's line is a text that describes it, and nothing is printed unasked."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from fastconv import verbose
from fastconv.adaptive_geometry import AdaptiveGeometry
from fastconv.backends.base import OPERATIONS
from fastconv.backends.block import Block
from fastconv.backends.chain import Chain, Gradients, Operands
from fastconv.backends.im2col import Im2col
from fastconv.geometry import ConvGeometry, PoolGeometry
from fastconv.layer import Layer, parse

CONV = ConvGeometry(2, 4, 9, 8, 6, 3, 3, (2, 1), (0, 1, 0, 1))
POOL = PoolGeometry(2, 4, 9, 8, 3, 2, (2, 1), (1, 1), ceil_mode=True)


class _Steps(Chain):
    def __init__(self, *blocks: Block) -> None:
        self.blocks, self.saved_bytes, self.reads_result = blocks, 0, False

    def forward(self, at: Operands) -> bool:
        return True

    def backward(self, at: Operands, gradients: Gradients) -> bool:
        return False


class _Told(Im2col):
    def chain(self, blocks: tuple[Block, ...], dtype: object) -> Chain:
        return _Steps(*blocks)


@pytest.fixture
def told() -> Im2col:
    backend = _Told()
    verbose.tell(backend, OPERATIONS)
    return backend


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err.splitlines()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_each_line_describes_its_call(
    dtype: str, layout: str, told: Im2col, capsys: pytest.CaptureFixture[str]
) -> None:
    def array(shape: tuple[int, ...]) -> np.ndarray:
        made = np.ones(shape, dtype)
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(made, 1, -1)), -1, 1) if layout != "contiguous" else made

    x, w, grad = array(CONV.input_shape), array(CONV.weight_shape), array(CONV.output_shape)
    pooled = array(POOL.output_shape)
    told.conv2d(x, w, None, CONV)
    told.conv2d_input(grad, w, CONV)
    told.conv2d_weight(x, grad, CONV)
    told.max_pool2d_values(x, POOL)
    told.max_pool2d_gradient(pooled, told.max_pool2d(x, POOL)[1], POOL)
    told.avg_pool2d(x, POOL)
    told.avg_pool2d_backward(pooled, POOL)
    lines = _lines(capsys)
    kinds = [("conv", CONV, "forward"), ("conv", CONV, "input"), ("conv", CONV, "weight"), ("max", POOL, "forward")]
    kinds += [("max", POOL, "forward"), ("max", POOL, "backward"), ("avg", POOL, "forward"), ("avg", POOL, "backward")]
    assert [parse(line) for line in lines] == [Layer(kind, g, dtype, layout, how) for kind, g, how in kinds]
    assert all("# im2col, " in line and line.endswith(" ms") for line in lines)


def test_what_no_text_describes_is_a_comment(told: Im2col, capsys: pytest.CaptureFixture[str]) -> None:
    told.adaptive_avg_pool2d(np.ones((1, 2, 5, 5)), AdaptiveGeometry(1, 2, 5, 5, 3, 3))
    told.max_pool2d(np.ones((2, 4, 9, 8), np.uint8), POOL)
    told.conv2d(np.ones((0, 4, 9, 8)), np.ones(CONV.weight_shape), None, ConvGeometry(0, 4, 9, 8, 6, 3, 3))
    lines = _lines(capsys)
    assert [line[: line.index(",", line.index(")"))] for line in lines] == [
        "# adaptive_avg_pool2d of (1, 2, 5, 5) in float64",
        "# max_pool2d of (2, 4, 9, 8) in uint8",
        "# conv2d of (0, 4, 9, 8) in float64",
    ]


def test_layers_in_one_step_have_a_line_each(told: Im2col, capsys: pytest.CaptureFixture[str]) -> None:
    second = ConvGeometry(2, 6, 4, 7, 5, 1, 1)
    chain = told.chain((Block(CONV, None, None), Block(second, "relu", None)), np.dtype(np.float32))
    assert chain is not None
    w = np.ones(1)
    at = Operands(w, [w, None, w, None], w, None)
    assert chain.forward(at)
    assert not chain.backward(at, Gradients(w, None, [w, None, None, None]))
    assert not chain.backward(at, Gradients(w, None, [w, None, w, None]))
    lines = _lines(capsys)
    told_of = [Layer("conv", g, operation=how) for g, how in ((CONV, "forward"), (second, "forward"))]
    told_of += [Layer("conv", CONV, operation="weight"), Layer("conv", second, operation="input")]
    told_of += [Layer("conv", CONV, operation="weight"), Layer("conv", second, operation="backward")]
    assert [parse(line) for line in lines] == told_of
    assert [line.count(" ms") for line in lines] == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(("setting", "count"), [("1", 2), ("0", 0), ("", 0)])
def test_the_environment_asks_for_it(setting: str, count: int) -> None:
    code = (
        "import numpy as np, fastconv\n"
        "x, w = np.ones((1, 2, 5, 5)), np.ones((3, 2, 3, 3))\n"
        "fastconv.conv2d(x, w, backend='im2col')\n"
        "fastconv.conv2d(x, w, backend='im2col')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "FASTCONV_VERBOSE": setting},
        check=True,
    )
    assert done.stderr.count("N=1 C=2 H=5 K=3 R=3 dtype=float64 op=forward  # im2col, ") == count
    assert len(done.stderr.splitlines()) == count
