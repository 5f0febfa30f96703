"""`torch.compile` with the backend: models written in any way, in train and eval mode, are what they were."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import fastconv
from fastconv.torch import convert
from fastconv.torch.graphs import backend
from tests.probes import needs_fast_way
from tests.torch.graphs.compiling import assert_alike, captured, compiled, steps_of, steps_of_training, trained, twins
from tests.torch.graphs.networks import MODELS, Residual, Tutorial, sequential

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("model", MODELS)
def test_training_and_evaluation(model: str) -> None:
    """Batches change their size; losses, gradients, buffers and results are those of torch."""
    theirs, mine = twins(MODELS[model]())
    batches = [torch.randn(n, 1, 16, 16, dtype=torch.float64) for n in (2, 3, 3, 5)]
    assert_alike(steps_of_training(mine, compiled(mine), batches), steps_of_training(theirs, theirs, batches))


def test_sizes_that_change_compile_once_more() -> None:
    model = sequential().eval()
    with captured() as graphs, torch.no_grad():
        run = compiled(model)
        for n in (1, 2, 3, 7, 2, 1):
            x = torch.randn(n, 1, 16, 16)
            torch.testing.assert_close(run(x), model(x))
    assert len(graphs) == 2


def _with_hooks() -> nn.Module:
    model = sequential()
    model[0].register_forward_hook(lambda layer, inputs, y: y * 2)
    model[2].register_forward_pre_hook(lambda layer, inputs: (inputs[0] + 1,))
    return model


def _frozen() -> nn.Module:
    model = Residual()
    for parameter in (*model.conv1.parameters(), *model.norm1.parameters()):
        parameter.requires_grad_(False)
    return model


class Checkpointed(nn.Module):
    """A network whose activations are computed again in the backward pass."""

    def __init__(self, *, reentrant: bool = False) -> None:
        super().__init__()
        self.inner, self.reentrant = sequential(), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x * 1.5, use_reentrant=self.reentrant)


class Interrupted(nn.Module):
    """A network in which torch.compile ends one graph and begins another."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = Tutorial(), 0

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.inner.conv1(x))
        torch._dynamo.graph_break()
        return self.inner.linear(F.max_pool2d(self.inner.conv2(self.inner.pool(y)), 2).relu_().flatten(1))


class InPlace(nn.Module):
    """Results that are changed in place, and read by others before and after."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x)
        view = y[:, :1]
        torch.relu_(y)
        z = self.conv(x)
        kept = z.sum()
        z.mul_(2.0)
        w = torch.tanh(self.conv(x))
        x = x.clone()
        u = self.conv(x)
        if not self.training:
            x.add_(1.0)
        return y + view + z + torch.relu(u) + w.relu() + self.conv(x).relu_() + kept


FORMS: dict[str, Callable[[], nn.Module]] = {
    "hooks": _with_hooks,
    "frozen layers": _frozen,
    "checkpoint": Checkpointed,
    "reentrant checkpoint": lambda: Checkpointed(reentrant=True),
    "graph break": Interrupted,
    "in place": InPlace,
    "converted": lambda: convert(sequential()),
    "converted, fused": lambda: convert(sequential(), fuse=True),
}


@pytest.mark.filterwarnings(
    "ignore:None of the inputs have requires_grad=True",
    "ignore:The .grad attribute of a Tensor",
    "ignore:.*should not be instantiated",  # torch's own, while it compiles a Function
)
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_models(form: str) -> None:
    theirs, mine = twins(FORMS[form]())
    batches = [torch.randn(n, 1, 16, 16, dtype=torch.float64) for n in (2, 3)]
    run = compiled(mine, fullgraph=form != "graph break")
    for each in batches:
        each.requires_grad_(form == "reentrant checkpoint")
    assert_alike(steps_of_training(mine, run, batches), steps_of_training(theirs, theirs, batches))


@needs_fast_way
def test_a_checkpoint_computes_again() -> None:
    """What is inside is not kept for the backward pass."""
    model = Checkpointed().train()
    with trained() as passes:
        y = compiled(model)(torch.randn(2, 1, 16, 16))
        forward = len(passes)
        y.sum().backward()
    assert forward > 0
    assert len(passes) == 3 * forward


def test_higher_gradients() -> None:
    theirs, mine = twins(Tutorial())
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64, requires_grad=True)

    def second(model: nn.Module, forward: Callable[..., Tensor]) -> Any:
        weights = list(model.parameters())
        first = torch.autograd.grad(forward(x).square().sum(), [x, *weights], create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), [x, *weights])

    assert_alike(second(mine, compiled(mine)), second(theirs, theirs))


def test_unbatched_and_strange_arguments() -> None:
    conv, weight = nn.Conv2d(1, 4, 3), nn.Parameter(torch.randn(4, 1, 3))

    def forward(x: Tensor, stride: int) -> Any:
        lines = F.conv1d(x[:, :, 0], weight, padding=1)
        return conv(x[0]), F.conv2d(input=x, weight=conv.weight, stride=stride), F.max_pool1d(lines, 3), lines

    run = compiled(forward, dynamic=True)
    for stride in (1, 2, 3):
        x = torch.randn(2, 1, 9, 9)
        assert_alike(run(x, stride), forward(x, stride), 1e-5)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_accumulated_gradients_and_anomaly_mode() -> None:
    theirs, mine = twins(Residual())
    batches = [torch.randn(n, 1, 16, 16, dtype=torch.float64) for n in (2, 3, 2)]
    with torch.autograd.detect_anomaly(check_nan=True):
        for model, forward in ((theirs, theirs), (mine, compiled(mine))):
            for x in batches:
                forward(x).square().mean().backward()
            assert all(p.grad is not None for p in model.parameters())
    assert_alike(*([p.grad for p in model.parameters()] for model in (mine, theirs)))


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")  # DDP's own exchange of buffers
def test_distributed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile splits graphs for DistributedDataParallel; each part is a graph of its own."""
    theirs, mine = twins(Residual())
    monkeypatch.setattr(torch.distributed, "_DEFAULT_FIRST_BUCKET_BYTES", 64)
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(mine, bucket_cap_mb=0.0001)
        batches = [torch.randn(n, 1, 16, 16, dtype=torch.float64) for n in (2, 3)]
        with captured() as graphs:
            found = steps_of_training(mine, compiled(parallel, fullgraph=False), batches)
        assert_alike(found, steps_of_training(theirs, theirs, batches))
        assert steps_of(graphs).count("step") >= 3
    finally:
        torch.distributed.destroy_process_group()


def test_settings_are_refused() -> None:
    with pytest.raises(Exception, match=r"options: got .* has no such setting"):
        torch.compile(Tutorial(), backend=backend, options={"freezing": True})(torch.randn(1, 1, 16, 16))


def test_entry_point() -> None:
    """torch finds the backend by its name, without an import of fastconv."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["torch_dynamo_backends"] == {"fastconv": "fastconv.torch.graphs:backend"}
    code = f"""
import importlib.metadata as metadata, sys, torch
point = metadata.EntryPoint("fastconv", "fastconv.torch.graphs:backend", "torch_dynamo_backends")
genuine = metadata.entry_points
def entry_points(**wanted):
    points = metadata.EntryPoints((point,))
    return points if wanted == dict(group="torch_dynamo_backends") else genuine(**wanted)
metadata.entry_points = entry_points
model = torch.nn.Conv2d(1, 2, 3)
assert not any(name.startswith("fastconv") for name in sys.modules)
x = torch.randn(1, 1, 8, 8)
torch.testing.assert_close(torch.compile(model, backend="fastconv")(x), model(x))
assert sys.modules["fastconv"].__file__ == {fastconv.__file__!r}
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
