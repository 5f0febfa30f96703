"""Opening a run: what it becomes, and what each kind of bad folder is told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fastconv.models import networks
from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError
from fastconv.models.inspection.trained import KEPT, names, open_run
from fastconv.models.training.config import parse
from fastconv.models.training.loop import begin, score
from fastconv.models.training.settings import settings
from tests.models.inspection.conftest import change


def test_it_scores_what_the_log_says(run: Path, all_digits: Dataset) -> None:
    opened = open_run(str(run))
    assert not opened.model.training
    epochs = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    last = next(record for record in reversed(epochs) if record["event"] == "epoch")
    accuracy, loss = score(opened.model, all_digits.test_images, all_digits.test_labels)
    assert (accuracy, loss) == pytest.approx((last["test_accuracy"], last["test_loss"]), rel=1e-5)
    assert not opened.came_along


def test_facts_are_the_runs(run: Path) -> None:
    facts = open_run(str(run)).facts
    assert (facts.network, facts.backend, facts.seed, facts.dataset) == ("lenet5", "torch", 3, "digits")
    assert facts.shape == (1, 28, 28)
    assert facts.classes == tuple("0123456789")


def test_classes_names_are_read_if_there(run: Path) -> None:
    change(run, dataset__classes=list("abcdefghij"))
    assert open_run(str(run)).facts.classes == tuple("abcdefghij")


def test_untrained_is_what_training_began_with(run: Path) -> None:
    expected = begin(settings("lenet5", "torch", seed=3), (1, 28, 28), 10).model
    torch.rand(5)  # whatever happened before doesn't count
    opened = open_run(str(run))
    for name, weight in opened.untrained().state_dict().items():
        assert torch.equal(weight, expected.state_dict()[name])
        assert not torch.equal(weight, opened.model.state_dict()[name])


def test_pixels_are_normalised_as_the_training_images_were(run: Path, all_digits: Dataset) -> None:
    pixels = ((all_digits.test_images * all_digits.deviation + all_digits.mean) * 255).round().byte().numpy()
    torch.testing.assert_close(open_run(str(run)).normalised(pixels), all_digits.test_images)


@pytest.mark.parametrize("network", ["lenet5", "small_cnn"])  # one that ends in scores, one in logarithms
def test_probabilities(network: str, run: Path) -> None:
    change(run, network=network)
    torch.manual_seed(0)
    save_file(networks.load(network).build((1, 28, 28), 10, "torch").state_dict(), run / "weights.safetensors")
    opened = open_run(str(run))
    images = torch.randn(4, 1, 28, 28)
    probabilities = opened.probabilities(images)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(4))
    if network == "small_cnn":
        torch.testing.assert_close(probabilities, opened.model(images).exp().detach())


def test_half_precision_becomes_float32(run: Path) -> None:
    path = run / "weights.safetensors"
    halves = {name: weight.half() for name, weight in load_file(path).items()}
    save_file(halves, path)
    for name, weight in open_run(str(run)).model.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, halves[name].float())


def test_backends(run: Path) -> None:
    assert open_run(str(run)).backend == "torch"
    named = open_run(str(run), "naive")
    assert named.backend == named.model.conv1.backend == "naive"
    change(run, backend="gone")
    assert open_run(str(run)).backend == "auto"
    with pytest.raises(ModelsError, match="no backend is called 'gone'"):
        open_run(str(run), "gone")


def test_a_path_comes_before_a_name(run: Path) -> None:
    run.rename("lenet5")
    assert open_run("lenet5").facts.dataset == "digits"


def test_what_comes_along() -> None:
    assert set(names()) >= {"lenet5", "simple_convnet"}
    for name in names():
        opened = open_run(name, "torch")
        assert opened.came_along
        assert open_run(os.path.relpath(KEPT / name), "torch").came_along  # by its path too
        assert opened.facts.network == name
        assert sum(file.stat().st_size for file in (KEPT / name).iterdir()) < 1_000_000


def test_what_comes_along_reads_digits() -> None:
    """Drawn as MNIST has them, from strokes: any network that learned them knows these."""
    images = np.zeros((3, 1, 28, 28), np.uint8)
    images[0, 0, 4:24, 13:15] = 255  # 1
    images[1, 0, 4:24, 8:20] = 255  # 0
    images[1, 0, 7:21, 11:17] = 0
    images[2, 0, 5:7, 8:20] = 255  # 7
    for row in range(7, 24):
        left = 18 - (row - 7) // 2
        images[2, 0, row, left : left + 2] = 255
    for name in ("lenet5", "simple_convnet"):
        opened = open_run(name, "torch")
        assert opened.probabilities(opened.normalised(images)).argmax(1).tolist() == [1, 0, 7]


@pytest.mark.parametrize("name", ["nowhere", "lenet", "../trained/lenet5", ""])
def test_no_such_run_lists_what_there_is(name: str) -> None:
    with pytest.raises(ModelsError, match=r"lenet5, simple_convnet.*runs/") if name else pytest.raises(ModelsError):
        open_run(name)


def test_a_file_is_no_run(run: Path) -> None:
    with pytest.raises(ModelsError, match=r"config.json: is a file; RUN is the folder"):
        open_run(str(run / "config.json"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"network": "lenet6"}, r"config.json: no network is called 'lenet6'"),
        ({"network": None}, "network is missing"),
        ({"network": 3}, "network is 3; it must be a text"),
        ({"dataset": None}, "dataset is missing"),
        ({"dataset": [1]}, r"dataset is \[1\]; it must be an object"),
        ({"dataset__shape": [1, 28]}, r"dataset.shape is \[1, 28\]; it must be channels, height and width, 1 or more"),
        ({"dataset__shape": [1, 28, "28"]}, r"dataset.shape\[2\] is '28'; it must be a whole number"),
        ({"dataset__shape": [1, 0, 28]}, r"dataset.shape is \[1, 0, 28\]; it must be channels, height and width, 1 or"),
        ({"dataset__shape": [1, 27, 27]}, r"config.json: lenet5 reads square images of 28 or 32"),
        (
            {"dataset__shape": [3, 28, 28]},
            r"doesn't fit lenet5, whose conv1.weight is 6 x 3 x 5 x 5; the file's is 6 x 1",
        ),
        ({"dataset__deviation": 0}, "dataset.deviation is 0.0; it must be finite and above 0"),
        ({"dataset__deviation": 10**400}, r"dataset.deviation is 10*\.\.\.0*; it must be a number"),
        ({"dataset__mean": float("nan")}, "dataset.mean is nan; it must be finite"),
        ({"dataset__mean": None}, "dataset.mean is missing"),
        ({"dataset__classes": []}, "dataset.classes is empty"),
        ({"dataset__classes": [0, 1]}, r"dataset.classes\[0\] is 0; it must be a text"),
        ({"seed": -1}, "the seed is -1; it must be 0 to 4294967295"),
        ({"seed": True}, "seed is True; it must be a whole number"),
        ({"source": 3}, "source is 3; it must be an object"),
        ({"dataset__preprocessing": {"subject": "digit"}}, "dataset.preprocessing.channels is missing"),
        (
            {"dataset__preprocessing": {"subject": "dog", "channels": 1, "height": 28, "width": 28}},
            "dataset.preprocessing.subject is 'dog'; it must be one of: digit, whole digit, picture",
        ),
        (
            {"dataset__preprocessing": {"subject": "digit", "channels": 0, "height": 28, "width": 28}},
            r"the size in dataset.preprocessing is \[0, 28, 28\]",
        ),
        ({"network": "mlp", "dataset__shape": [1, 10**6, 10**6]}, "of 100,000,000 values at most"),
        ({"network": "mlp", "dataset__shape": [1, 10**4, 10**4]}, "doesn't fit mlp"),  # and takes no memory
    ],
    ids=str,
)
def test_foreign_configurations(run: Path, values: dict[str, Any], says: str) -> None:
    change(run, **values)
    with pytest.raises(ModelsError, match=says) as caught:
        open_run(str(run))
    assert str(run) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b'{"seed": 1', r"isn't JSON \(Expecting ',' delimiter: line 1 column 11"),
        (b"\xff\xfe", "isn't JSON"),
        (b'{"seed": "\xff"}', "isn't JSON .*codec can't decode"),
        (b"[" * 100_000, "isn't JSON .*recursion"),
        (b'{"seed": 1' + b"0" * 5000 + b"}", "isn't JSON .*limit"),
        (b"[]", r"isn't a JSON object but \[\]"),
        (b'"text"', "isn't a JSON object but 'text'"),
        (b"null", "isn't a JSON object but None"),
    ],
    ids=["empty", "blank", "cut", "mark", "bytes", "deep", "digits", "list", "text", "null"],
)
def test_damaged_configurations(run: Path, content: bytes, says: str) -> None:
    """The same is said to those who look into a run and to those who go on with it."""
    path = run / "config.json"
    path.write_bytes(content)
    for read in (lambda: open_run(str(run)), lambda: parse(content, path)):
        with pytest.raises(ModelsError, match=f"config.json: {says}") as caught:
            read()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < len(str(path)) + 300


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_missing_files(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(ModelsError, match=f"{name}: can't be read"):
        open_run(str(run))


@pytest.mark.parametrize("damage", ["empty", "short", "header", "other"])
def test_damaged_weights(run: Path, damage: str) -> None:
    path = run / "weights.safetensors"
    whole = path.read_bytes()
    contents = {"empty": b"", "short": whole[:-5], "header": b"\xff" * 8 + whole[8:], "other": b"PK\x03\x04" * 99}
    path.write_bytes(contents[damage])
    with pytest.raises(ModelsError, match=r"weights.safetensors: isn't a file of weights, or is damaged"):
        open_run(str(run))


@pytest.mark.parametrize(
    ("name", "weight", "says"),
    [
        ("extra", torch.ones(2), "whose extra is none; the file's is 2"),
        ("dense2.weight", torch.ones(11, 84), "whose dense2.weight is 10 x 84; the file's is 11 x 84"),
        ("dense2.weight", None, "whose dense2.weight is 10 x 84; the file's is none"),
        ("dense2.bias", torch.full((10,), torch.nan), "dense2.bias isn't all numbers"),
        ("dense2.bias", torch.ones(10, dtype=torch.int64), "dense2.bias isn't all numbers"),
    ],
)
def test_weights_that_do_not_fit(run: Path, name: str, weight: torch.Tensor | None, says: str) -> None:
    path = run / "weights.safetensors"
    weights = load_file(path) | ({name: weight} if weight is not None else {})
    if weight is None:
        del weights[name]
    save_file(weights, path)
    with pytest.raises(ModelsError, match=says):
        open_run(str(run))
