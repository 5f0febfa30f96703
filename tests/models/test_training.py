"""The training loop: what a run writes, that it learns, and that only the seed decides how."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from threadpoolctl import threadpool_info
from torch.optim import SGD, AdamW

from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError, TrainingError
from fastconv.models.training import loop, train
from fastconv.models.training.batches import Batches
from fastconv.models.training.loop import begin, epoch_steps
from fastconv.models.training.schedules import factor
from fastconv.models.training.settings import settings

LENET = {"network": "lenet5", "backend": "torch", "epochs": 2}


def losses(dataset: Dataset, **given: Any) -> list[float]:
    chosen = settings(**{**LENET, **given})
    training, batches = begin(chosen, dataset.shape, len(dataset.classes)), Batches(chosen, dataset)
    epochs = range(1, chosen.recipe.epochs + 1)
    return [step.loss for epoch in epochs for step in epoch_steps(training, batches, epoch)]


def log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("network", ["lenet5", "simple_convnet"])
@pytest.mark.parametrize("name", ["torch", "im2col"])
def test_same_seed_same_losses_to_the_bit(digits: Dataset, network: str, name: str) -> None:
    first = losses(digits, network=network, backend=name, seed=3)
    torch.rand(7)  # whatever happened before doesn't count
    assert losses(digits, network=network, backend=name, seed=3) == first
    assert losses(digits, network=network, backend=name, seed=4) != first


@pytest.mark.parametrize("network", ["lenet5", "simple_convnet"])
@pytest.mark.parametrize("name", ["naive", "im2col"])
def test_the_backend_asked_for_is_the_one_that_runs(
    digits: Dataset, network: str, name: str, ran: list[tuple[str, str]]
) -> None:
    """Forwards and backwards: ``ran`` has the primitives in order."""
    chosen = settings(network, name, batch_size=4)
    next(epoch_steps(begin(chosen, digits.shape, 10), Batches(chosen, digits), 1))
    assert {backend for backend, _ in ran} == {name}
    pooling = {operation for _, operation in ran if "pool" in operation}
    assert len(pooling - {"max_pool2d_gradient"}) == 2  # and its gradient, by whichever of two names
    assert {"conv2d", "conv2d_weight"} <= {operation for _, operation in ran}


@pytest.mark.parametrize("network", ["lenet5", "simple_convnet"])
def test_backends_give_the_same_losses_to_rounding(digits: Dataset, network: str) -> None:
    expected = losses(digits, network=network, backend="torch")
    assert losses(digits, network=network, backend="im2col") == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "given", "made_by"), [("adam", {}, AdamW), ("sgd", {"momentum": 0.5}, SGD)], ids=["adam", "sgd"]
)
def test_recipe_reaches_the_optimizer(digits: Dataset, optimizer: str, given: dict[str, Any], made_by: type) -> None:
    chosen = settings(**LENET, optimizer=optimizer, learning_rate=0.02, weight_decay=0.03, **given)
    made = begin(chosen, digits.shape, 10).optimizer
    assert type(made) is made_by
    assert made.defaults["lr"] == 0.02
    assert made.defaults["weight_decay"] == 0.03
    assert made.defaults.get("momentum", 0.5) == 0.5


def test_schedule_reaches_every_step(digits: Dataset) -> None:
    """From the first of the first epoch to the last of the last, entered in the middle or not."""
    chosen = settings(**LENET, schedule="cosine", learning_rate=0.02)
    training, batches = begin(chosen, digits.shape, 10), Batches(chosen, digits)
    rates = [
        training.optimizer.param_groups[0]["lr"]
        for epoch, done in ((1, 0), (2, 1))
        for _ in epoch_steps(training, batches, epoch, done)
    ]
    assert rates == [0.02 * factor("cosine", step, 6) for step in (0, 1, 2, 4, 5)]


@pytest.mark.parametrize(
    "given", [{"optimizer": "adam"}, {"optimizer": "sgd", "learning_rate": 0.1}], ids=["adam", "sgd"]
)
def test_training_learns(digits: Dataset, given: dict[str, Any]) -> None:
    steps = losses(digits, epochs=8, **given)
    assert sum(steps[-3:]) < 0.5 * sum(steps[:3])


def test_every_image_once_an_epoch_in_an_order_of_its_own(digits: Dataset) -> None:
    """The model is a spy: it sees image numbers in place of pixels."""
    seen: list[torch.Tensor] = []

    class Spy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images.flatten().int())
            return self.weight.expand(len(images), 10)

    model = Spy()
    numbered = replace(digits, train_images=torch.arange(250).float().view(250, 1, 1, 1))
    orders = []
    for seed, epoch in ((0, 1), (0, 2), (1, 1)):
        seen.clear()
        chosen = settings(**LENET, seed=seed)
        training = replace(begin(chosen, digits.shape, 10), model=model.eval(), forward=model)
        steps = list(epoch_steps(training, Batches(chosen, numbered), epoch))
        assert model.training
        assert [len(batch) for batch in seen] == [step.images for step in steps] == [100, 100, 50]
        orders.append(torch.cat(seen))
        assert torch.equal(orders[-1].sort().values, torch.arange(250).int())
    for one, other in combinations([*orders, torch.arange(250).int()], 2):
        assert not torch.equal(one, other)


def test_run_folder_holds_the_run(digits: Dataset, console: Console, tmp_path: Path) -> None:
    chosen = settings(**LENET)
    run = train.train(chosen, digits, console, tmp_path / "a" / "run")
    assert run.path == tmp_path / "a" / "run"
    assert sorted(file.name for file in run.path.iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
        "log.jsonl",
        "weights.safetensors",
    ]

    config = json.loads((run.path / "config.json").read_text(encoding="utf-8"))
    assert (config["network"], config["backend"], config["seed"]) == ("lenet5", "torch", 0)
    assert config["recipe"]["learning_rate"] == 0.001
    assert config["dataset"]["train_images"] == 250
    assert config["versions"]["torch"] == torch.__version__

    records = log(run.path)
    steps = [record for record in records if record["event"] == "step"]
    assert [step["loss"] for step in steps] == losses(digits)
    assert [(step["epoch"], step["step"]) for step in steps] == [
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 1),
        (2, 2),
        (2, 3),
    ]
    epochs = [record for record in records if record["event"] == "epoch"]
    assert [epoch["test_accuracy"] for epoch in epochs] == [epoch.test_accuracy for epoch in run.epochs]
    assert epochs[0]["train_loss"] == pytest.approx(sum(step["loss"] * step["images"] for step in steps[:3]) / 250)
    assert records[-1] == {"event": "end", "epochs": 2}


def test_weights_reload(digits: Dataset, console: Console) -> None:
    """A fresh network with the kept weights, on another backend, scores what the run logged last."""
    run = train.train(settings(**LENET), digits, console)
    model = begin(settings("lenet5", "im2col", seed=9), digits.shape, 10).model
    fresh = loop.score(model, digits.test_images, digits.test_labels)
    model.load_state_dict(load_file(run.path / "weights.safetensors"))
    accuracy, loss = loop.score(model, digits.test_images, digits.test_labels)
    assert (accuracy, loss) == pytest.approx((run.epochs[-1].test_accuracy, run.epochs[-1].test_loss), rel=1e-4)
    assert accuracy > fresh[0]


def test_accuracy_is_counted_over_all_batches(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "TEST_BATCH", 30)

    class Says3(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.eye(10)[3].expand(len(images), 10)

    model = Says3().train()
    accuracy, loss = loop.score(model, digits.test_images, digits.test_labels)
    threes = (digits.test_labels == 3).float().mean().item()
    assert not model.training
    assert accuracy == pytest.approx(threes)
    assert loss == pytest.approx(torch.tensor(9 + torch.e).log().item() - threes, abs=1e-5)


def test_progress_has_plain_lines(digits: Dataset, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastconv.models.training.progress.PLAIN_SECONDS", 0.0)
    train.train(settings(**LENET), digits, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "epoch 2/2  450 images  loss" in printed
    assert "images/s" in printed
    assert "left" in printed
    assert "test accuracy" in printed
    assert "\x1b" not in printed


def test_progress_is_live_on_a_terminal(digits: Dataset, console: Console) -> None:
    terminal = Console(file=console.file, width=100, force_terminal=True)
    train.train(settings(**LENET), digits, terminal)
    assert "\x1b[" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "epoch 2/2" in console.file.getvalue()  # type: ignore[attr-defined]


def test_lost_loss_stops_the_run_and_leaves_nothing(digits: Dataset, console: Console, tmp_path: Path) -> None:
    broken = replace(digits, train_images=digits.train_images.clone())
    broken.train_images[17] = torch.nan
    with pytest.raises(TrainingError, match=r"the loss is nan in step \d of epoch 1; try a smaller"):
        train.train(settings(**LENET), broken, console)
    assert list((tmp_path / "runs").iterdir()) == []


def test_full_disk_is_one_line(
    digits: Dataset, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastconv.models.training.run_folder.os.fsync", full)
    with pytest.raises(TrainingError, match="No space left"):
        train.train(settings(**LENET), digits, console)
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"network": "lenet"}, "no network is called 'lenet'; the networks are alexnet"),
        ({"backend": "cuda9"}, "no backend is called 'cuda9'; the backends are .*im2col"),
        ({"optimizer": "adamw"}, "no optimizer is called 'adamw'; the optimizers are adam, sgd"),
        ({"learning_rate": float("nan")}, "learning rate is nan"),
        ({"learning_rate": 0.0}, "learning rate is 0"),
        ({"momentum": 1.0, "optimizer": "sgd"}, "momentum is 1"),
        ({"momentum": 0.5}, "momentum is SGD's, the optimizer is adam"),
        ({"schedule": "linear"}, "no schedule is called 'linear'; the schedules are constant, cosine, one-cycle, step"),
        ({"weight_decay": -0.1}, "weight decay is -0.1"),
        ({"shift": -1}, "shift is -1"),
        ({"rotation": 181.0}, "rotation is 181"),
        ({"validation": 1.0}, "share of images for validation is 1"),
        ({"patience": 0, "validation": 0.1}, "patience is 0"),
        ({"patience": 2}, "patience needs a validation split"),
        ({"precision": "int8"}, "no precision is called 'int8'"),
        ({"device": "tpu"}, "no device is called 'tpu'; the devices are cpu, cuda"),
        ({"batch_size": 0}, "batch size is 0"),
        ({"epochs": -1}, "number of epochs is -1"),
    ],
)
def test_settings_are_checked(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelsError, match=says):
        settings(**{**LENET, **given})


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelsError, match="device cuda can't be used here"):
        settings(**LENET, device="cuda")


def test_threads_reach_torch(digits: Dataset) -> None:
    """And NumPy's products stay on one: two pools on the same cores would hold each other up."""
    begin(settings(**LENET, threads=2), digits.shape, 10)
    assert torch.get_num_threads() == 2
    pools = [pool for pool in threadpool_info() if pool["internal_api"] == "openblas"]
    assert {pool["num_threads"] for pool in pools} <= {1}
