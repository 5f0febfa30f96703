"""`torch.compile` with the backend: models written in any way, in train and eval mode, are what they were."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import fastconv
from fastconv.torch.graphs import backend
from tests.torch.graphs.compiling import (
    assert_alike,
    captured,
    chained,
    compiled,
    steps_of,
    steps_of_training,
    twins,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


class Tutorial(nn.Module):
    """A network with functions in its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3)
        self.pool = nn.MaxPool2d(2)
        self.linear = nn.Linear(6 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.pool(self.conv1(x)))
        x = F.max_pool2d(torch.tanh(self.conv2(x)), 2)
        x = x.view(x.size(0), -1)
        return F.log_softmax(self.linear(x), dim=1)


class Residual(nn.Module):
    """Batch normalisations, a sum in place, a branch and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        self.short = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False))
        self.relu = nn.ReLU(inplace=True)
        self.linear = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(x))
        y += self.short(x)
        return self.linear(self.relu(y).mean((2, 3)))


class Shared(nn.Module):
    """One layer twice, and its weight in a third call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = torch.relu(self.layer(torch.relu(self.layer(x))))
        return y + F.conv2d(x, self.layer.weight.flip(2), padding="same")


class Transposed(nn.Module):
    """A generator, with pools of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(1, 4, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.adaptive = nn.AdaptiveAvgPool2d((5, None))

    def forward(self, x: Tensor) -> Any:
        x = F.leaky_relu(self.norm(self.up(x)), 0.2, inplace=True)
        y, where = F.max_pool2d(x, 3, 2, 1, return_indices=True)
        z = F.avg_pool2d(x, (2, 3), stride=[], count_include_pad=False)
        return y.sum((1, 2)) + where.sum() * 0.001 + self.adaptive(z).sum() + F.adaptive_max_pool2d(z, 2).sum()


def _sequential() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Dropout(0.0),
        nn.Flatten(),
        nn.Linear(6 * 4, 7),
        nn.ReLU(),
        nn.Linear(7, 5),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "Sequential": _sequential,
    "Tutorial": Tutorial,
    "Residual": Residual,
    "Shared": Shared,
    "Transposed": Transposed,
}

STEPS = {
    "Sequential": ["step"],
    "Tutorial": ["step", "log_softmax"],
    "Residual": ["step", "step", "step", "iadd", "relu", "mean", "linear"],
    "Shared": ["step", "step", "flip", "step", "add"],
}
"""The calls of each model's graph in eval mode."""


@pytest.mark.parametrize("model", MODELS)
def test_training_and_evaluation(model: str) -> None:
    """Batches change their size; losses, gradients, buffers and results are those of torch."""
    theirs, mine = twins(MODELS[model]())
    batches = [torch.randn(n, 1, 16, 16, dtype=torch.float64) for n in (2, 3, 3, 5)]
    assert_alike(steps_of_training(mine, compiled(mine), batches), steps_of_training(theirs, theirs, batches))


@pytest.mark.parametrize("model", STEPS)
def test_what_runs_together(model: str) -> None:
    theirs, mine = twins(MODELS[model]().eval())
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    with captured() as graphs, torch.no_grad(), chained() as runs:
        assert_alike(compiled(mine)(x), theirs(x))
    assert steps_of(graphs) == STEPS[model]
    assert len(runs) == STEPS[model].count("step")


def _read_twice(conv: nn.Module, x: Tensor) -> Tensor:
    y = conv(x)
    return F.relu(y) + y.mean()


def _between(conv: nn.Module, x: Tensor) -> Tensor:
    y = conv(x)
    x.mul_(2.0)
    return F.relu(y)


def _view(conv: nn.Module, x: Tensor) -> Tensor:
    y = conv(x)
    z = y[0]
    F.relu(y, inplace=True)
    return z


PLAIN = None, None
APART: dict[str, tuple[Callable[[Any, Tensor], Any], list[Any]]] = {
    "read twice": (_read_twice, [PLAIN]),
    "something between": (_between, [PLAIN]),
    "a view of it": (_view, [PLAIN]),
    "returned too": (lambda conv, x: (y := conv(x), F.relu(y)), [PLAIN]),
    "its own weight": (lambda conv, x: F.conv2d(y := conv(x), y[:1, :, :3, :3]), [PLAIN]),
    "itself as its weight": (lambda conv, x: F.conv2d(y := conv(x), y), [PLAIN, PLAIN]),
    "its own bias": (lambda conv, x: F.conv2d(y := conv(x), torch.ones(4, 4, 1, 1), y[0, :, 0, 0]), [PLAIN]),
    "leaky": (lambda conv, x: F.leaky_relu(conv(x)), [PLAIN]),
    "tanh behind a pool": (lambda conv, x: torch.tanh(F.max_pool2d(conv(x), 2)), [(None, "max")]),
    "relu behind an average": (lambda conv, x: F.relu(F.avg_pool2d(conv(x), 2)), [(None, "avg")]),
    "windows of 3": (lambda conv, x: F.max_pool2d(conv(x), 3), [PLAIN]),
    "windows that overlap": (lambda conv, x: F.max_pool2d(conv(x), 2, 1), [PLAIN]),
    "windows that overhang": (lambda conv, x: F.max_pool2d(conv(x), 2, ceil_mode=True), [PLAIN]),
    "windows with a margin": (lambda conv, x: F.max_pool2d(conv(x), 2, padding=1), [PLAIN]),
    "indices": (lambda conv, x: F.max_pool2d(conv(x), 2, return_indices=True), [PLAIN]),
    "another divisor": (lambda conv, x: F.avg_pool2d(conv(x), 2, divisor_override=3), [PLAIN]),
    "statistics of the batch": (lambda conv, x: F.relu(F.batch_norm(conv(x), None, None, training=True)), [PLAIN]),
    "one image flattened": (lambda conv, x: F.linear(conv(x[:1]).flatten(), torch.ones(1, 4 * 7 * 8)), [PLAIN]),
    "pixels as features": (lambda conv, x: F.linear(conv(x).flatten(2), torch.ones(1, 7 * 8)), [PLAIN]),
    "linear of columns": (lambda conv, x: F.linear(conv(x), torch.ones(3, 8)), [PLAIN]),
}


@pytest.mark.parametrize("name", APART)
def test_what_does_not_run_together(name: str) -> None:
    """The last call of each looks like one that does."""
    function, blocks = APART[name]
    conv = nn.Conv2d(3, 4, 3)
    x = torch.randn(2, 3, 9, 10)
    with torch.no_grad(), chained() as runs, torch.inference_mode(False):
        expected = function(conv, x.clone())
        assert_alike(compiled(lambda x: function(conv, x))(x), expected, 1e-5)
    assert [(block.activation, block.pool) for run in runs for block in run.chain.blocks] == blocks


@pytest.mark.parametrize("signs", [1, -1], ids=["positive", "negative"])
def test_a_rectifier_behind_max_pooling_is_one_before_it(signs: int) -> None:
    """Values and gradients are the same, of windows without a positive element and of NaN too."""
    conv, weight = nn.Conv2d(1, 2, 1, bias=False), torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1) * signs
    conv.weight.data.copy_(weight)
    x = torch.tensor(
        [[1.0, -2.0, 0.0, -0.0], [1.0, 3.0, -1.0, 0.0], [-4.0, -3.0, float("nan"), 5.0], [-3.0, -3.0, 2.0, 1]]
    )
    x = x.reshape(1, 1, 4, 4).requires_grad_()

    def forward(x: Tensor) -> Tensor:
        return F.relu(F.max_pool2d(conv(x), 2))

    with chained() as runs:
        y = compiled(forward)(x)
    expected = forward(x)
    assert_alike(y, expected)
    grad = torch.randn_like(expected)
    assert_alike(torch.autograd.grad(y, x, grad), torch.autograd.grad(expected, x, grad))
    assert [(block.activation, block.pool) for run in runs for block in run.chain.blocks] == [("relu", "max")]


def test_sizes_that_change_compile_once_more() -> None:
    model = _sequential().eval()
    with captured() as graphs, torch.no_grad():
        run = compiled(model)
        for n in (1, 2, 3, 7, 2, 1):
            x = torch.randn(n, 1, 16, 16)
            torch.testing.assert_close(run(x), model(x))
    assert len(graphs) == 2


def _with_hooks() -> nn.Module:
    model = _sequential()
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
        self.inner, self.reentrant = _sequential(), reentrant

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
}


@pytest.mark.filterwarnings(
    "ignore:None of the inputs have requires_grad=True", "ignore:The .grad attribute of a Tensor"
)
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_models(form: str) -> None:
    theirs, mine = twins(FORMS[form]())
    batches = [torch.randn(n, 1, 16, 16, dtype=torch.float64) for n in (2, 3)]
    run = compiled(mine, fullgraph=form != "graph break")
    for each in batches:
        each.requires_grad_(form == "reentrant checkpoint")
    assert_alike(steps_of_training(mine, run, batches), steps_of_training(theirs, theirs, batches))


def test_a_checkpoint_computes_again() -> None:
    """What is inside is not kept for the backward pass."""
    model = Checkpointed().train()
    with chained() as runs:
        y = compiled(model)(torch.randn(2, 1, 16, 16))
        before = len(runs)
        y.sum().backward()
    assert before > 0
    assert len(runs) > before


def test_higher_gradients() -> None:
    theirs, mine = twins(Tutorial())
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64, requires_grad=True)

    def second(model: nn.Module, forward: Callable[..., Tensor]) -> Any:
        weights = list(model.parameters())
        first = torch.autograd.grad(forward(x).square().sum(), [x, *weights], create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), [x, *weights])

    assert_alike(second(mine, compiled(mine)), second(theirs, theirs))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_modes_and_types(mode: Any, dtype: torch.dtype) -> None:
    model = Residual().eval().to(dtype)
    x = torch.randn(2, 1, 16, 16).to(dtype)
    with mode():
        y, expected = compiled(model)(x), model(x)
    assert y.is_inference() == expected.is_inference()
    assert y.requires_grad == expected.requires_grad
    rounding = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 2e-2, torch.bfloat16: 5e-2}[dtype]
    assert_alike(y.detach(), expected.detach(), rounding)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("model", ["Tutorial", "Residual"])
def test_autocast(model: str, inside: bool, ran: list[Any]) -> None:
    """It is torch that computes under autocast: the bits are the same."""
    layers = MODELS[model]().eval()

    def forward(x: Tensor) -> Any:
        if not inside:
            return layers(x)
        with torch.autocast("cpu", torch.bfloat16):
            return layers(x)

    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=not inside):
        y, expected = compiled(forward)(x), forward(x)
        assert y.dtype == expected.dtype
        assert torch.equal(y, expected)
    assert not ran


def test_gradients_switched_off_inside() -> None:
    theirs, mine = twins(Residual().eval())

    def run(model: nn.Module) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            with torch.no_grad():
                fixed = model(x)
            return fixed + model(x)

        return forward

    x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    y, expected = compiled(run(mine))(x), run(theirs)(x)
    assert_alike(y, expected)
    weights = list(mine.parameters()), list(theirs.parameters())
    assert_alike(torch.autograd.grad(y.sum(), weights[0]), torch.autograd.grad(expected.sum(), weights[1]))


@pytest.mark.parametrize("which", ["images", "weights"])
@torch.no_grad()
def test_channels_last(which: str, ran: list[Any]) -> None:
    """Such images are torch's, with the normalisations folded, and stay in that layout."""
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval()
    x = torch.randn(2, 3, 16, 16)
    if which == "images":
        x = x.to(memory_format=torch.channels_last)
    else:
        conv.to(memory_format=torch.channels_last)

    def forward(x: Tensor) -> Any:
        y = norm(conv(x))
        return y, F.max_pool2d(y, 3), conv(x)

    found, expected = compiled(forward)(x), forward(x)
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in (*found, *expected))
    assert_alike(found, expected, 1e-5)
    assert not ran


@pytest.mark.parametrize("model", ["Tutorial", "Residual"])
def test_transforms(model: str, ran: list[Any]) -> None:
    """Inside torch.func's transforms the graph is torch's."""
    layers = MODELS[model]().double().eval()
    x = torch.randn(3, 2, 1, 16, 16, dtype=torch.float64)

    def forward(x: Tensor) -> Tensor:
        return torch.vmap(layers.forward)(x)

    def derived(x: Tensor) -> Tensor:
        return torch.func.grad(lambda x: layers(x).sum())(x)

    with torch.no_grad():
        assert_alike(compiled(forward)(x), forward(x))
        assert_alike(compiled(derived)(x[0]), derived(x[0]))
    assert not ran


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


@torch.no_grad()
def test_several_threads() -> None:
    """They share a graph, while a weight changes between their calls."""
    model = _sequential().eval()
    run, xs = compiled(model), [torch.randn(2, 1, 16, 16) for _ in range(8)]
    run(xs[0])
    for _ in range(3):
        model[1].weight.add_(0.5)
        with ThreadPoolExecutor(4) as pool:
            for y, x in zip(pool.map(torch.no_grad()(run), xs), xs, strict=True):
                assert_alike(y, model(x), 1e-5)


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
