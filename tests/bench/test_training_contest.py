"""The contest of trainings: who takes part, that a wrong one shows, what is written, and the pages' table."""

from __future__ import annotations

import json
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import fastconv.torch
from fastconv.bench.cli import app
from fastconv.bench.report.grid import to_markdown
from fastconv.bench.results import ResultsError
from fastconv.bench.training import contest, contestants, learned, record, results, worker
from fastconv.bench.training.results import Race, TrainingResults
from fastconv.bench.training.table import GOALS, recipe_text, training_table
from fastconv.models import networks

ENVIRONMENT = {"processor": "a processor", "threads": "2", "commit": "abc"}


@pytest.mark.parametrize("who", ["torch", "torch-fused", "numba"])
def test_contestants_begin_alike(who: str) -> None:
    """The same weights; torch's own layers for torch, fastconv's for a backend; the optimiser that the name says."""
    training = contestants.training(who, "lenet5", (1, 28, 28), 10, 1)
    expected = contestants.training("im2col", "lenet5", (1, 28, 28), 10, 1)
    for one, other in zip(training.model.parameters(), expected.model.parameters(), strict=True):
        assert torch.equal(one, other)
    ours = [each for each in training.model.modules() if isinstance(each, fastconv.torch.modules.Layer)]
    assert bool(ours) == (who == "numba")
    assert training.optimizer.defaults["fused"] == (True if who != "torch" else None)
    held = {id(weight) for group in training.optimizer.param_groups for weight in group["params"]}
    assert held == {id(weight) for weight in training.forward.parameters()}


def test_sgd_has_the_recipe_s_momentum() -> None:
    assert contestants.training("torch", "small_cnn", (1, 28, 28), 10, 1).optimizer.defaults["momentum"] == 0.5


class Process:
    """A contestant in a thread of this process, answering as its own would."""

    def __init__(self, losses: list[float], trouble: str | None = None, steps: int = 3) -> None:
        self.pipe, theirs = Pipe()
        self._losses, self._trouble, self._steps = losses, trouble, steps
        Thread(target=self._serve, args=(theirs,), daemon=True).start()

    def _serve(self, pipe: Connection) -> None:
        while True:
            try:
                command, *_ = pipe.recv()
            except EOFError:
                return
            if self._trouble:
                pipe.send(("trouble", self._trouble))
            elif command == "prepare":
                pipe.send(("done", self._steps))
            else:
                pipe.send(("done", [(self._losses.pop(0), 0.5)]))


def race(**processes: Process) -> Race:
    pipes = {name.replace("_", "-"): process.pipe for name, process in processes.items()}
    return contest._race("lenet5", "digits", None, pipes, contest.Rules(1, 60.0), lambda what: None)


def test_all_train_an_epoch_in_turns() -> None:
    found = race(torch=Process([2.0, 1.0, 0.5, 9.0]), numba=Process([2.0, 1.0, 0.5, 9.0]))
    assert found.epoch_steps == 3
    assert found.steps == {"torch": [0.5] * 3, "numba": [0.5] * 3}
    assert found.troubles == {}


def test_wrong_losses_and_troubles_are_no_results() -> None:
    found = race(torch=Process([2.0, 1.0, 0.5]), numba=Process([2.0, 1.1, 0.5]), naive=Process([], "too slow"))
    assert set(found.steps) == {"torch"}
    assert found.troubles["numba"].startswith("WRONG: a loss is 10.0% off torch's")
    assert found.troubles["naive"] == "too slow"


def test_time_ends_a_race_before_an_epoch() -> None:
    pipes = {"torch": Process([2.0] * 9, steps=100).pipe}
    found = contest._race("lenet5", "digits", None, pipes, contest.Rules(1, 2.0), lambda what: None)
    assert len(found.steps["torch"]) == 4
    assert found.epoch("torch") == pytest.approx(50.0)


def test_worker_trains_the_real_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On scikit-learn's digits, in a thread."""
    monkeypatch.setattr(worker, "keep_to", lambda threads: None)
    mine, theirs = Pipe()
    thread = Thread(target=worker.serve, args=(theirs, "torch", 1), daemon=True)
    thread.start()
    assert worker.answer(mine, "prepare", "lenet5", "digits", None) == 15
    made = worker.answer(mine, "burst", 0.0)
    assert len(made) == 1
    assert 0 < made[0][0] < 5
    with pytest.raises(RuntimeError, match="ModelsError: no network is called 'lenet6'"):
        worker.answer(mine, "prepare", "lenet6", "digits", None)
    mine.send(("stop",))
    thread.join(10)
    assert not thread.is_alive()


def some_results() -> TrainingResults:
    made = {"numba": [0.001] * 600, "torch": [0.002] * 600, "torch-fused": [0.0015] * 300}
    return TrainingResults(ENVIRONMENT, [Race("lenet5", 600, made, {}), Race("mlp", 600, {}, {"numba": "no"})])


def a_run(folder: Path, accuracies: list[float]) -> Path:
    folder.mkdir()
    recipe = {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.5, "batch_size": 64, "epochs": 2}
    recipe |= {"schedule": "one-cycle", "weight_decay": 0.0, "shift": 2, "rotation": 0.0}
    config = {"network": "lenet5", "backend": "numba", "seed": 0, "recipe": recipe, "dataset": {"shape": [1, 28, 28]}}
    (folder / "config.json").write_text(json.dumps(config))
    epochs = [{"event": "epoch", "test_accuracy": accuracy} for accuracy in accuracies]
    (folder / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in ({"event": "step"}, *epochs)))
    return folder


def test_files_hold_what_was_found(tmp_path: Path) -> None:
    results.save(some_results(), tmp_path / "races.json")
    assert results.load(tmp_path / "races.json") == some_results()
    runs = [learned.learned(a_run(tmp_path / "run", [0.5, 0.987]))]
    learned.save(runs, tmp_path / "learned.json")
    assert learned.load(tmp_path / "learned.json") == runs
    assert runs[0].test_accuracy == [0.5, 0.987]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "else"}', '{"format": "training 1", "races": [1]}'])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "file.json"
    for load in (results.load, learned.load, record.load):
        with pytest.raises(ResultsError, match="no-file"):
            load(tmp_path / "no-file.json")
        path.write_text(content)
        with pytest.raises(ResultsError, match="file"):
            load(path)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"is .* a run folder"):
        learned.learned(tmp_path)
    with pytest.raises(ResultsError, match="no whole epoch"):
        learned.learned(a_run(tmp_path / "run", []))
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "run" / "log.jsonl").write_text('{"event": "epoch", "test_accuracy": 1}\n')
    with pytest.raises(ResultsError, match="is no run folder"):
        learned.learned(tmp_path / "run")


def test_table_has_what_was_learned_beside_what_it_took(tmp_path: Path) -> None:
    runs = [learned.learned(a_run(tmp_path / "run", [0.5, 0.987]))]
    text = to_markdown(training_table(some_results(), runs))
    recipe = "sgd 0.01, momentum 0.5, batch 64, one-cycle, shift 2, 2 epochs"
    assert f"| lenet5 | 1 x 28 x 28 | {recipe} | 98.70% | 98.4% | 0.60 | 1.20 | 2.00 | 0.90 |" in text
    assert "| mlp |  |  |  | 90.7% | no |" in text
    assert "a processor · abc · threads: 2" in text


def test_goals_are_those_of_networks() -> None:
    assert set(GOALS) <= set(networks.names())
    assert set(networks.names()) - set(GOALS) == {"sequential_cnn"}


def test_recipes_of_all_networks_can_be_told() -> None:
    for name in networks.names():
        recipe = networks.load(name).recipe
        assert f"{recipe.epochs} epochs" in recipe_text(vars(recipe))


def test_record_is_a_real_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the network's own recipe, here as many epochs as the few digits need."""
    monkeypatch.setattr(record, "keep_to", lambda threads: None)
    one = record.attempt("record", "numba", 1, "digits", None, 1)
    assert (one.network, one.backend, one.seed) == ("record", "numba", 1)
    assert one.seconds > 0
    assert 0.5 < one.accuracy <= 1
    assert record.attempt("record", "numba", 1, "digits", None, 1).accuracy == one.accuracy


def test_record_is_told_by_its_median(tmp_path: Path) -> None:
    made = [
        record.Attempt("record", "numba", seed, seconds, 0.99 + seed / 1e3) for seed, seconds in enumerate((9, 5, 7))
    ]
    said = record.sentence(made)
    assert "3 seeds: 99.10% of the test images (99.00% to 99.20%) in 7.0 s (5.0 to 9.0)" in said
    record.save(made, tmp_path / "record.json")
    assert record.load(tmp_path / "record.json") == made


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["training", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})


def test_command_line_makes_the_pages_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results.save(some_results(), tmp_path / "races.json")
    made = run("learned", str(a_run(tmp_path / "run", [0.987])), "--out", "learned.json")
    assert made.exit_code == 0, made.output
    (tmp_path / "README.md").write_text("before\n<!-- bench:training -->\nold\n<!-- /bench:training -->\nafter\n")
    made = run("table", "races.json", "learned.json", "--pages")
    assert made.exit_code == 0, made.output
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("before\n<!-- bench:training -->\n")
    assert text.endswith("<!-- /bench:training -->\nafter\n")
    assert "98.70%" in text
    assert "old" not in text
    record.save([record.Attempt("record", "numba", 0, 6.0, 0.991)], tmp_path / "record.json")
    shown = run("table", "races.json", "learned.json", "record.json").output
    assert "98.70%" in shown
    assert "99.10% of the test images" in shown


def test_mistakes_cost_one_line(tmp_path: Path) -> None:
    for arguments in (["race", "--network", "lenet6"], ["learned", str(tmp_path)], ["table", "none", "none"]):
        made = run(*arguments)
        assert made.exit_code == 2
        assert made.stderr.startswith("error: ")
        assert made.stderr.count("\n") == 1
