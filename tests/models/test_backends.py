"""Backends by layer: what a text chooses, which layers it reaches, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

import fastconv
from fastconv.models import networks
from fastconv.models.backends import assign, label, parse
from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError
from fastconv.models.training.batches import Batches
from fastconv.models.training.compare import compare
from fastconv.models.training.loop import begin, epoch_steps
from fastconv.models.training.settings import settings
from fastconv.models.training.train import train
from fastconv.torch.modules import Layer


def backends(model: nn.Module) -> dict[str, str | None]:
    return {name: layer.backend for name, layer in model.named_modules() if isinstance(layer, Layer)}


def chosen(network: str, text: str | None) -> dict[str, str | None]:
    model = networks.load(network).build((1, 28, 28), 10, "naive")
    assign(model, parse(text))
    return backends(model)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ["auto", "auto", "auto"]),
        ("im2col", ["im2col", "im2col", "im2col"]),
        ("conv2=torch", ["auto", "torch", "auto"]),
        ("numba,conv2=torch", ["numba", "torch", "numba"]),
        (" conv3 = naive , numba:gemm , conv1=im2col ", ["im2col", "numba:gemm", "naive"]),
    ],
    ids=str,
)
def test_each_layer_has_what_was_chosen_for_it(text: str | None, expected: list[str]) -> None:
    assert list(chosen("lenet5", text).values()) == expected


def test_what_is_left_open_is_the_choice_in_force() -> None:
    with fastconv.use_backend("im2col"):
        assert settings("lenet5", "conv1=torch").backend == "im2col,conv1=torch"
        assert settings("lenet5").backend == "im2col"


def test_a_container_stands_for_its_layers_unless_they_are_named() -> None:
    for text in (
        "naive,inception1=torch,inception1.branch5x5=im2col",
        "inception1.branch5x5=im2col,inception1=torch,naive",
    ):
        found = chosen("inception", text)
        assert {name for name, backend in found.items() if backend == "im2col"} == {
            "inception1.branch5x5.0",
            "inception1.branch5x5.1",
        }
        inside = {name for name in found if name.startswith("inception1.") and "5x5" not in name}
        assert {name for name, backend in found.items() if backend == "torch"} == inside


def test_a_name_reaches_no_layer_that_only_begins_alike() -> None:
    found = chosen("alexnet", "naive,convs.0=torch")
    assert [name for name, backend in found.items() if backend == "torch"] == ["convs.0"]
    assert {"convs.3", "convs.9"} < set(found)
    model = nn.ModuleDict({"conv1": fastconv.torch.Conv2d(1, 1, 1), "conv10": fastconv.torch.Conv2d(1, 1, 1)})
    assign(model, parse("naive,conv1=torch"))
    assert list(backends(model).values()) == ["torch", "naive"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fast", "no backend is called 'fast'; the backends are auto"),
        ("", "no backend is called ''"),
        ("torch,", "no backend is called ''"),
        ("conv1=", "no backend is called ''"),
        ("=torch", "a layer's own is written as layer=backend"),
        ("conv1=numba=torch", "no layer with a backend is called 'conv1=numba'"),
        ("torch,numba", "only one, that of all other layers"),
        ("conv1=torch,conv1=numba", "which chooses for conv1 twice"),
        ("conv9=torch", "no layer with a backend is called 'conv9'; those with a backend are conv1, conv2, conv3$"),
        ("dense1=torch", "no layer with a backend is called 'dense1'"),
        ("conv=torch", "no layer with a backend is called 'conv'"),
        ("numba:fast", "backend numba has no algorithm called 'fast'; its algorithms are gemm, direct, winograd"),
        ("numba:", "backend numba has no algorithm called ''"),
        ("im2col:gemm", "backend im2col has no algorithm called 'gemm'; it has none but im2col"),
        ("fast:gemm", "no backend is called 'fast'"),
    ],
)
def test_mistakes_cost_one_line(text: str, says: str) -> None:
    with pytest.raises(ModelsError, match=says) as caught:
        begin(settings("lenet5", text), (1, 28, 28), 10)
    assert "\n" not in str(caught.value)


def test_a_network_without_such_layers_says_so() -> None:
    assert begin(settings("mlp", "torch"), (1, 28, 28), 10)
    with pytest.raises(ModelsError, match="the network has none with a backend"):
        begin(settings("mlp", "dense1=torch"), (1, 28, 28), 10)


def test_the_layers_run_on_what_was_chosen(digits: Dataset, ran: list[tuple[str, str]]) -> None:
    """Forwards and backwards: ``ran`` has the primitives in order."""
    chosen = settings("lenet5", "im2col,conv2=naive", batch_size=4)
    next(epoch_steps(begin(chosen, digits.shape, 10), Batches(chosen, digits), 1))
    forwards = [backend for backend, operation in ran if operation == "conv2d"]
    assert forwards == ["im2col", "naive", "im2col"]
    assert [backend for backend, operation in ran if operation == "conv2d_weight"] == forwards[::-1]


def test_the_weights_are_the_same_at_the_start(digits: Dataset) -> None:
    one, other = (begin(settings("lenet5", text), digits.shape, 10).model for text in ("torch", "naive,conv2=im2col"))
    for mine, yours in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, yours)


def test_a_run_records_the_whole_choice_in_a_folder_of_a_plain_name(
    digits: Dataset, console: Console, tmp_path: Path
) -> None:
    run = train(settings("lenet5", "conv2=numba:gemm,torch", epochs=1), digits, console)
    assert run.path.name.startswith("lenet5-torch-conv2-numba-gemm-20")
    assert '"backend": "torch,conv2=numba:gemm"' in (tmp_path / run.path / "config.json").read_text(encoding="utf-8")
    assert load_file(run.path / "weights.safetensors")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("lenet5-torch", "lenet5-torch"),
        ("inception-numba:gemm,convs.0=a b/c\\d", "inception-numba-gemm-convs.0-a-b-c-d"),
        ("x" * 59 + "==y", "x" * 59),
        ("x" * 300, "x" * 60),
    ],
)
def test_labels_are_plain_and_short(text: str, name: str) -> None:
    assert label(text) == name


def test_a_comparison_of_those_that_are_named(digits: Dataset, console: Console) -> None:
    texts = ["im2col,conv1=torch", "numba:gemm"]
    contestants = compare(settings("lenet5"), digits, 0.0, console, texts)
    assert [one.backend for one in contestants] == texts
    assert all(len(one.steps) == 1 for one in contestants)


def test_a_mistaken_contestant_costs_nobodys_time(
    digits: Dataset, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: Any) -> None:
        pytest.fail("a contestant trained")

    monkeypatch.setattr("fastconv.models.training.compare._contestant", trained)
    for text in ("conv9=torch", "fast"):
        with pytest.raises(ModelsError, match=r"conv9|fast"):
            compare(settings("lenet5"), digits, 0.0, console, ["torch", text])
