"""The command line: what a person types and sees, right and wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from models import cli, data, demo
from models.data import DATASETS
from models.data.dataset import Dataset
from models.errors import TrainingError

ROOT = Path(cli.__file__).parent.parent


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "120", "TERM": "dumb", **environment})


@pytest.fixture
def short_digits(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """All data sets are the few digits of the tests."""
    monkeypatch.setattr(data, "load", lambda *_: digits)
    monkeypatch.setattr(demo, "load", lambda *_: digits)


@pytest.mark.parametrize("command", [[], ["train"], ["compare"], ["demo"], ["list"]], ids=" ".join)
def test_help_at_each_level(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_help_tells_names_and_defaults() -> None:
    text = " ".join(run("train", "--help").output.split())
    for said in (
        "lenet5",
        "simple_convnet",
        "mnist, folder, digits, auto",
        "FASTCONV_DATA",
        "the network's recipe",
    ):
        assert said in text


def test_help_is_quick() -> None:
    """It loads neither torch nor a data set; a fresh interpreter shows it."""
    heavy = {"torch", "numpy", "sklearn", "pooch", "fastconv", "matplotlib", "PIL"}
    code = f"import models.cli, sys; print(*{heavy} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_list_has_everything() -> None:
    output = run("list").output
    for name in ("lenet5", "simple_convnet", *DATASETS, "im2col", "torch", "available"):
        assert name in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "lenet6"], "no network is called 'lenet6'; the networks are alexnet, dropout_cnn"),
        (["compare", "lenet6"], "no network is called 'lenet6'"),
        (["train", "lenet5", "--dataset", "nist"], "no data set is called 'nist'; the data sets are mnist"),
        (["compare", "lenet5", "--dataset", "nist"], "no data set is called 'nist'"),
        (["train", "lenet5", "--backend", "fast"], "no backend is called 'fast'; the backends are auto"),
        (["train", "lenet5", "--optimizer", "lbfgs"], "no optimizer is called 'lbfgs'"),
        (["train", "lenet5", "--learning-rate", "-1"], "the learning rate is -1.0"),
        (["train", "lenet5", "--epochs", "0"], "the number of epochs is 0"),
        (["train", "lenet5", "--data-dir", "nowhere"], "nowhere: no such folder"),
        (["train", "lenet5", "--dataset", "folder"], "needs a folder: name it with --data-dir"),
        (["demo", "--data-dir", "nowhere"], "nowhere: no such folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_cost_one_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_folder_from_the_environment() -> None:
    assert "elsewhere: no such folder" in run("train", "lenet5", FASTCONV_DATA="elsewhere").stderr


def test_no_network_is_one_line() -> None:
    result = run("train", "lenet5")
    assert result.exit_code == 1
    assert "can't download" in result.stderr
    assert result.stderr.count("\n") == 1


def test_ctrl_c_outside_training_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load", interrupted)
    result = run("compare", "lenet5")
    assert (result.exit_code, result.stderr) == (130, "stopped\n")


def test_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> None:
        raise IndexError

    monkeypatch.setattr(data, "load", bug)
    assert isinstance(run("train", "lenet5").exception, IndexError)


@pytest.mark.usefixtures("short_digits")
def test_train_prints_a_summary(tmp_path: Path) -> None:
    result = run(
        *("train", "lenet5", "--backend", "im2col", "--epochs", "2", "--optimizer", "sgd"),
        *(
            "--learning-rate",
            "0.05",
            "--momentum",
            "0.8",
            "--batch-size",
            "64",
            "--seed",
            "7",
            "--run-dir",
            "here",
        ),
    )
    assert result.exit_code == 0, result.output
    for said in (
        "epoch 2/2",
        "test accuracy",
        "lenet5, 61,706 parameters",
        "im2col",
        "digits, 250 images to train on",
        "sgd, learning rate 0.05, momentum 0.8, batch 64, seed 7",
        "2 epochs in",
        "here",
    ):
        assert said in result.output
    assert (tmp_path / "here" / "weights.safetensors").exists()


@pytest.mark.usefixtures("short_digits")
def test_default_run_folder_names_network_and_backend(tmp_path: Path) -> None:
    assert run("train", "lenet5", "--epochs", "1", FASTCONV_BACKEND="").exit_code == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.startswith("lenet5-auto-20")


@pytest.mark.usefixtures("short_digits")
def test_compare_prints_a_table() -> None:
    result = run("compare", "simple_convnet", "--seconds", "0")
    assert result.exit_code == 0, result.output
    for said in ("images/s", "off torch", "im2col", "loss: of step 1"):
        assert said in result.output


@pytest.mark.usefixtures("short_digits")
def test_demo_trains_then_compares(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "COMPARE_SECONDS", 0.0)
    monkeypatch.setattr(demo, "EPOCHS", {"digits": 4})
    monkeypatch.setattr(demo, "GOAL", 0.5)
    demo.demo(None, console)
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert output.index("test accuracy") < output.index("off torch")


@pytest.mark.usefixtures("short_digits")
def test_demo_that_learns_nothing_fails(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "EPOCHS", {"digits": 1})
    with pytest.raises(TrainingError, match="where 95% were expected"):
        demo.demo(None, console)


def test_demo_knows_every_data_set_it_may_get() -> None:
    assert set(demo.EPOCHS) == {"mnist", "digits"}


@pytest.fixture
def training(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A real, endless training in a process of its own."""
    command = [sys.executable, "-m", "models", "train", "lenet5", "--backend", "torch", "--dataset", "digits"]
    process = subprocess.Popen(
        [*command, "--epochs", "100000", "--run-dir", str(tmp_path / "run")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ctrl_c_ends_cleanly(training: subprocess.Popen[str], tmp_path: Path) -> None:
    for _ in range(600):
        if (tmp_path / "run" / "weights.safetensors").exists():
            break
        assert training.poll() is None, training.communicate()[1]
        time.sleep(0.1)
    training.send_signal(signal.SIGINT)
    _, stderr = training.communicate(timeout=30)
    assert training.returncode == 130
    assert stderr.startswith("error: stopped after ")
    assert "its weights and log are in" in stderr
    assert stderr.count("\n") == 1
    files = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert files == ["config.json", "log.jsonl", "weights.safetensors"]
