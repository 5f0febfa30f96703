"""The command line: what a person types and sees, right and wrong."""

from __future__ import annotations

import json
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

from fastconv.models import cli, data, demo
from fastconv.models.data import DATASETS
from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import TrainingError

ROOT = Path(cli.__file__).parents[2]


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "120", "TERM": "dumb", **environment})


@pytest.fixture
def short_digits(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """All data sets are the few digits of the tests."""
    monkeypatch.setattr(data, "load", lambda *_: digits)
    monkeypatch.setattr(demo, "load", lambda *_: digits)


@pytest.mark.parametrize("command", [[], ["train"], ["compare"], ["profile"], ["demo"], ["list"]], ids=" ".join)
def test_help_at_each_level(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_help_tells_names_and_defaults() -> None:
    text = " ".join(run("train", "--help").output.split())
    for said in (
        "lenet5",
        "simple_convnet",
        "mnist, folder, images, digits, auto",
        "FASTCONV_DATA",
        "the network's recipe",
    ):
        assert said in text


def test_help_is_quick() -> None:
    """It loads neither torch nor Numba nor a data set; a fresh interpreter shows it."""
    heavy = {"torch", "numba", "sklearn", "pooch", "matplotlib", "PIL"}
    code = f"import fastconv.models.cli, sys; print(*{heavy} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_list_has_everything() -> None:
    output = run("list").output
    for name in ("lenet5", "simple_convnet", *DATASETS, "im2col", "torch", "available", "winograd", "conv2=torch"):
        assert name in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "lenet6"], "no network is called 'lenet6'; the networks are alexnet, dropout_cnn"),
        (["compare", "lenet6"], "no network is called 'lenet6'"),
        (["train", "lenet5", "--dataset", "nist"], "no data set is called 'nist'; the data sets are mnist"),
        (["compare", "lenet5", "--dataset", "nist"], "no data set is called 'nist'"),
        (["train", "lenet5", "--backend", "fast"], "no backend is called 'fast'; the backends are auto"),
        (["train", "lenet5", "--backend", "conv9=torch", "--dataset", "digits"], "no layer with a backend is called"),
        (["compare", "lenet5", "--backend", "fast", "--dataset", "digits"], "no backend is called 'fast'"),
        (["train", "lenet5", "--size", "0"], "the size of images is 0"),
        (["train", "lenet5", "--channels", "2"], "the number of channels is 2"),
        (["train", "lenet5", "--dataset", "images"], "needs a folder: name it with --data-dir"),
        (["train", "lenet5", "--dataset", "images", "--data-dir", "nowhere"], "nowhere: no such folder"),
        (["train", "four_layer_cnn", "--dataset", "digits"], "in training, --size 64 enlarges them"),
        (["train", "lenet5", "--optimizer", "lbfgs"], "no optimizer is called 'lbfgs'"),
        (["train", "lenet5", "--learning-rate", "-1"], "the learning rate is -1.0"),
        (["train", "lenet5", "--epochs", "0"], "the number of epochs is 0"),
        (["train", "lenet5", "--data-dir", "nowhere"], "nowhere: no such folder"),
        (["train", "lenet5", "--dataset", "folder"], "needs a folder: name it with --data-dir"),
        (["summary", "lenet5", "--shape", "²x28x28"], "write it as channels x height x width"),
        (["summary", "lenet5", "--shape", "1x28"], "write it as channels x height x width"),
        (["summary", "lenet5", "--shape", "1x-1x28"], "write it as channels x height x width"),
        (["summary", "lenet5", "--shape", f"1x{'9' * 5000}x28"], "write it as channels x height x width"),
        (["summary", "mlp", "--shape", "3x99999x99999"], "an image has 100,000,000 values at most"),
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
def test_options_reach_the_training(tmp_path: Path) -> None:
    """Each is in the configuration, and in the summary where it isn't what it is without."""
    given: dict[str, object] = {
        "schedule": "cosine",
        "weight_decay": 0.01,
        "shift": 1,
        "rotation": 5.0,
        "validation": 0.2,
        "patience": 3,
        "precision": "bfloat16",
        "device": "cpu",
        "seed": 3,
        "threads": 1,
        "epochs": 1,
    }
    options = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    result = run("train", "lenet5", "--backend", "torch", "--dataset", "digits", *options, "--run-dir", "here")
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "here" / "config.json").read_text())
    assert {name: {**config, **config["recipe"]}[name] for name in given} == given
    assert config["source"] == {"dataset": "digits", "data_dir": None, "size": None, "channels": None}
    shown = " ".join(result.output.replace("│", " ").split())
    for said in (
        "200 images to train on, 50 held out, 100 to test on",
        "adam, learning rate 0.001, weight decay 0.01, schedule cosine, batch 100, shift 1 pixels, rotation 5 degrees, "
        "bfloat16, patience 3, seed 3",
        "those of epoch 1, validation loss",
    ):
        assert said in shown


@pytest.fixture
def old(short_digits: None) -> str:
    """A run of one epoch."""
    result = run("train", "lenet5", "--backend", "torch", "--dataset", "digits", "--epochs", "1", "--run-dir", "old")
    assert result.exit_code == 0, result.output
    return "old"


def test_resume_needs_no_more_than_the_folder(old: str, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in (tmp_path / old).iterdir()}
    result = run("train", "--resume", old)
    assert result.exit_code == 0, result.output
    assert "old: is finished, 1 epochs" in result.output
    assert {file.name: file.read_bytes() for file in (tmp_path / old).iterdir()} == before
    result = run("train", "--resume", old, "--epochs", "2", "--backend", "im2col", "--threads", "1")
    assert result.exit_code == 0, result.output
    assert "old: goes on in epoch 2 of 2, after step 0" in result.output
    config = json.loads((tmp_path / old / "config.json").read_text())
    assert config["recipe"]["epochs"] == 2
    assert config["backend"] == "torch"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lenet5"], "--resume goes on with the run's own settings; leave out lenet5"),
        (["--seed", "3"], "leave out --seed"),
        (["--run-dir", "new", "--batch-size", "7", "--shift", "1"], "leave out --batch-size, --shift, --run-dir"),
        (["--backend", "fast"], "no backend is called 'fast'"),
        (["--epochs", "0"], "the number of epochs is 0"),
        (["--dataset", "folder"], "needs a folder: name it with --data-dir"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_resuming_as_another_run_costs_one_line(
    old: str, words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the data sets are themselves again
    monkeypatch.chdir(tmp_path)
    before = {file.name: file.read_bytes() for file in (tmp_path / old).iterdir()}
    result = run("train", "--resume", old, *words)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert {file.name: file.read_bytes() for file in (tmp_path / old).iterdir()} == before


@pytest.mark.usefixtures("short_digits")
def test_a_schedule_has_its_end() -> None:
    words = ("train", "lenet5", "--backend", "torch", "--dataset", "digits", "--schedule", "cosine", "--epochs", "1")
    assert run(*words, "--run-dir", "old").exit_code == 0
    stderr = run("train", "--resume", "old", "--epochs", "2").stderr
    assert stderr == "error: old: its cosine schedule is made for 1 epochs; leave out --epochs, or train anew\n"


def test_nothing_to_resume_costs_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words, says in (
        (["--resume", "nowhere"], "nowhere: holds no run, for it has no config.json"),
        (["--resume", "empty"], "empty: holds no run"),
        ([], "name a network to train, see `list`, or a run to go on with by --resume"),
    ):
        result = run("train", *words)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert says in result.stderr
    assert list((tmp_path / "empty").iterdir()) == []


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


DEMO_AFTER_ITS_KERNELS = """
import io, runpy, sys
runpy.run_path(sys.argv[1], run_name="__main__")
from rich.console import Console
from fastconv.backends.compiler import kernels
from fastconv.models import data, demo
def refuse(make, constants):
    raise AssertionError(f"{make.__module__}.{make.__name__}{constants}")
kernels._address = refuse
demo.load = lambda _, *where: data.load("digits", *where)
demo.EPOCHS, demo.GOAL, demo.COMPARE_SECONDS = {"digits": 1}, 0.5, 0.0
console = Console(file=io.StringIO())
demo.demo(None, console)
assert "AssertionError" not in console.file.getvalue(), console.file.getvalue()
"""


def test_demo_finds_all_its_kernels_compiled(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DEMO_AFTER_ITS_KERNELS, str(ROOT / ".ci" / "demo_kernels.py")]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


def test_demo_knows_every_data_set_it_may_get() -> None:
    assert set(demo.EPOCHS) == {"mnist", "digits"}


@pytest.fixture
def training(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A real, endless training in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "fastconv",
        "models",
        "train",
        "lenet5",
        "--backend",
        "torch",
        "--dataset",
        "digits",
    ]
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
    assert stderr.startswith("error: stopped in epoch ")
    assert f"go on with --resume {tmp_path / 'run'}" in stderr
    assert stderr.count("\n") == 1
    files = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert files == ["checkpoint.safetensors", "config.json", "log.jsonl", "weights.safetensors"]
