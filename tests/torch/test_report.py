"""`report` and ``fastconv layers``: what they show, and that they leave the model as it was."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fastconv
from fastconv.__main__ import main
from fastconv.torch import Conv2d, ConvBlock2d, convert, measuring, report
from fastconv.torch.layer_problems import geometry
from fastconv.torch.measuring import Progress, Work
from fastconv.torch.modules import Layer
from fastconv.torch.observing import observe
from tests.probes import needs_fast_way

X = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that are made up: torch's 4, in channels_last 3, fastconv's 2, half as much again with gradients."""

    def fake(contestants: list[Work], **_: Any) -> list[float]:
        times = []
        for work in contestants:
            module = getattr(work.function, "__self__", work.function)
            weights = [p for p in module.parameters() if p.ndim == 4 and p.shape[1] > 1]
            last = any(not weight.is_contiguous() for weight in weights)
            own = any(isinstance(each, Layer) for each in module.modules())
            times.append((2.0 if own else 3.0 if last else 4.0) * (1.5 if work.gradients else 1.0))
        return times

    monkeypatch.setattr(measuring, "race", fake)


class Branches(nn.Module):
    """A model with two inputs, a layer that is called twice, and one that isn't called."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 1)
        self.unused = nn.Conv2d(1, 1, 1)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.line = nn.Conv1d(4, 2, 3)

    def forward(self, image: torch.Tensor, scale: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        y = self.again(self.again(self.norm(self.first(image))))
        if scale is not None:
            y = y * scale
        return {"map": self.pool(y), "line": self.line(nn.functional.dropout(y).flatten(2))}


def model() -> Branches:
    torch.manual_seed(0)
    return Branches()


def test_rows_sums_and_the_whole() -> None:
    found = report(model().eval(), (X, torch.ones(1)))
    assert [(row.name, row.kind, row.calls, row.input) for row in found] == [
        ("first", "Conv2d", 1, "2x3x12x12 float32"),
        ("again", "Conv2d", 2, "2x4x12x12 float32"),
        ("pool", "MaxPool2d", 1, "2x4x12x12 float32"),
        ("line", "Conv1d", 1, "2x4x144 float32"),
    ]
    first, _, pool, line = found.rows
    assert first.algorithm == f"numba: {fastconv.explain((2, 3, 12, 12), (4, 3, 3, 3), padding=1).algorithm}"
    assert pool.algorithm == "numba"
    assert (first.forward.torch, first.forward.torch_channels_last, first.forward.fastconv) == (4.0, 3.0, 2.0)
    assert line.forward.torch == line.forward.torch_channels_last == 4.0
    assert first.both is None
    assert pool.of_peak is None
    assert first.of_peak is not None
    assert 0 < first.of_peak < 1
    total = found.sums(lambda row: row.forward)
    assert total is not None
    assert (total.torch, total.fastconv) == (20.0, 10.0)
    shown = str(found).splitlines()
    assert shown[0].startswith("forward: milliseconds")
    assert shown[-4].split() == ["sum", "20000.000", "19000.000", "10000.000", "2.00"]
    assert shown[-3].split() == ["whole", "model", "4000.000", "3000.000", "2000.000", "2.00"]


def test_training_mode_adds_the_backward_pass() -> None:
    found = report(model().train(), X)
    assert [row.both and row.both.fastconv for row in found] == [3.0] * 4
    assert found.both is not None
    assert "forward and backward: milliseconds" in str(found)
    again = report(model().eval(), X)
    # The first layer's image needs no gradient: two operations where the second layer does three.
    shares = [row.of_peak / other.of_peak for row, other in zip(found, again, strict=True) if row.of_peak]
    assert shares == pytest.approx([2 / 1.5, 3 / 1.5, 3 / 1.5])
    json.dumps(found.as_dict())


def test_a_converted_model_is_measured_as_it_is() -> None:
    mine = convert(model().eval(), "im2col", filter=lambda name, _: name != "first")
    rows = report(mine, X).rows
    assert [row.algorithm for row in rows] == ["torch", "im2col", "im2col", "im2col"]
    assert [row.forward.fastconv for row in rows] == [4.0, 2.0, 2.0, 2.0]
    assert [row.algorithm for row in report(mine, X, "naive")][:2] == ["naive", "naive"]


def test_fused_sequences_and_blocks_are_one_row() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    both = nn.Sequential(convert(net, fuse=True), nn.BatchNorm2d(4), ConvBlock2d(4, 2, 3), Conv2d(2, 2, 1))
    rows = report(both.eval(), X).rows
    assert [(row.name, row.kind) for row in rows] == [("0", "Sequential"), ("2", "ConvBlock2d"), ("3", "Conv2d")]
    assert rows[0].algorithm == "layers together"


@needs_fast_way  # else such images aren't left to torch
def test_channels_last_models() -> None:
    last = model().eval().to(memory_format=torch.channels_last)
    first, _, pool, line = report(last, X.to(memory_format=torch.channels_last)).rows
    assert first.input == "2x3x12x12 float32 channels_last"
    assert [row.algorithm.partition(":")[0] for row in (first, pool, line)] == ["torch", "torch", "numba"]
    assert first.forward.over_torch(channels_last=True) == 1.5


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, padding=(1, 2), groups=2), (2, 4, 9, 8)),
        (nn.Conv2d(4, 6, 3, padding="same", dilation=2), (4, 9, 8)),
        (nn.Conv2d(4, 6, (3, 5), padding=(1, 2), padding_mode="reflect"), (2, 4, 9, 8)),
        (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
        (nn.Conv1d(4, 6, 3, padding=1, padding_mode="circular"), (4, 9)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1), (2, 4, 5, 4)),
        (nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 5)),
    ],
    ids=str,
)
def test_what_a_layer_computes(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """The geometry has torch's sizes, so its operations are right."""
    (call,) = observe(layer, torch.randn(shape), [""], gradients=False)
    found = geometry(layer, call)
    assert found is not None
    transposed = isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d))
    lines = isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d))
    result = found.input_shape if transposed else found.output_shape
    expected = call.result if len(call.result) == (3 if lines else 4) else (1, *call.result)
    assert result == ((*expected[:2], 1, expected[2]) if lines else expected)


def test_the_model_is_left_as_it_was() -> None:
    mine = convert(model().train())
    mine.first.weight.grad = torch.ones_like(mine.first.weight)
    handle = mine.pool.register_forward_hook(lambda *_: None)
    inplace = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3)).train()
    image = X.clone()
    before, random, shown = copy.deepcopy(mine.state_dict()), torch.get_rng_state(), str(mine)
    report(mine, image)
    report(inplace, image)
    torch.testing.assert_close(mine.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(image, X)
    assert str(mine) == shown
    assert mine.training
    assert torch.equal(mine.first.weight.grad, torch.ones_like(mine.first.weight))
    assert mine.again.weight.grad is None
    assert [list(module._forward_hooks) for module in mine.modules()].count([]) == len(list(mine.modules())) - 1
    assert list(mine.pool._forward_hooks) == [handle.id]


def test_refusals() -> None:
    with pytest.raises(TypeError, match="model: got int"):
        report(3, X)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="example: got 2x3x12 float32, but the model fails on it"):
        report(model(), X[..., 0])
    with pytest.raises(fastconv.UnknownBackendError, match="'nope'"):
        report(model(), X, "nope")


def test_progress_is_shown_after_a_second(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(measuring, "perf_counter", lambda: now)
    progress = Progress("measuring", 3)
    for name, now in (("a", 0.5), ("b", 1.1), ("c", 1.2)):  # noqa: B007
        progress.step(name)
    progress.close()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "measuring 2 of 3: b\n"


class TestCommand:
    MODULE = """
from torch import nn
def net():
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.MaxPool2d(2))
made = net()
def fails():
    raise KeyError("x")
"""

    @pytest.fixture(autouse=True)
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "some_nets.py").write_text(self.MODULE)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(fastconv.threads, "_threads", fastconv.get_num_threads())

    def test_a_package_of_the_working_folder_is_found(self, capsys, tmp_path: Path, monkeypatch) -> None:
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "nets_here.py").write_text(self.MODULE)
        monkeypatch.chdir(tmp_path / "here")
        monkeypatch.setattr(sys, "path", [*sys.path])
        assert main(["layers", "nets_here:net", "--input", "2,3,9,9", "--backend", "im2col"]) == 0
        assert "Conv2d" in capsys.readouterr().out

    def test_it_prints_the_report(self, capsys, tmp_path: Path) -> None:
        file = tmp_path / "report.json"
        options = ["--input", "2,3,9,9", "--training", "--threads", "1", "--backend", "im2col", "--json", str(file)]
        assert main(["layers", "some_nets:net", *options]) == 0
        shown = capsys.readouterr().out
        assert "1 of fastconv's, 1 of torch's" in shown
        assert "forward and backward" in shown
        assert [row["algorithm"] for row in json.loads(file.read_text())["rows"]] == ["im2col", "im2col"]
        assert main(["layers", "some_nets:made", "--input", "2,3,9,9"]) == 0
        assert "backward" not in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["some_nets", "--input", "1,3,9,9"], "model: got 'some_nets', but it must be package.module:function"),
            (["no_nets:net", "--input", "1,3,9,9"], "ModuleNotFoundError: No module named 'no_nets'"),
            (["some_nets:other", "--input", "1,3,9,9"], "has no attribute 'other'"),
            (["some_nets:fails", "--input", "1,3,9,9"], "it fails: KeyError: 'x'"),
            (["some_nets:MODULE_", "--input", "1,3,9,9"], "it fails: AttributeError"),
            (["some_nets:nn.__name__", "--input", "1,3,9,9"], "it gives a str, not a torch.nn.Module"),
            (["some_nets:net", "--input", "1,3,x"], "input: got '1,3,x', but it must be sizes"),
            (["some_nets:net", "--input", "1,3,-9,9"], "input: got '1,3,-9,9', but it must be sizes"),
            (["some_nets:net", "--input", "1,2,9,9"], "example: got 1x2x9x9 float32, but the model fails on it"),
            (["some_nets:net", "--input", "1,3,9,9", "--backend", "nope"], "backend: got 'nope'"),
            (["some_nets:net", "--input", "1,3,9,9", "--threads", "0"], "threads: got 0"),
            (["some_nets:fails", "--input", "1,3,9,9", "--json", "/no/such/folder/x"], "No such file or directory"),
            (["some_nets:fails", "--input", "1,3,9,9", "--json", "/"], "Is a directory"),
            (["some_nets:fails", "--input", "1,3,9,9", "--json", "kept.json"], "it fails: KeyError: 'x'"),
            (["some_nets:fails", "--input", "1,3,9,9", "--json", "new.json"], "it fails: KeyError: 'x'"),
        ],
    )
    def test_errors(self, arguments: list[str], message: str, capsys, tmp_path: Path, monkeypatch) -> None:
        """A file that can't be written is told before the model is made; one that can is left as it was."""
        monkeypatch.chdir(tmp_path)
        Path("kept.json").write_text("kept")
        assert main(["layers", *arguments]) == 2
        assert message in capsys.readouterr().err
        assert Path("kept.json").read_text() == "kept"
        assert not Path("new.json").exists()
