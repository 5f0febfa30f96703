"""Run folders: never shared, never half written."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from fastconv.models.errors import ModelsError
from fastconv.models.training import run_folder
from fastconv.models.training.run_folder import new_run, old_run, write_aside


def test_two_runs_of_one_second_have_two_folders(tmp_path: Path) -> None:
    for wanted in ("net", "net-2", "net-3"):
        with new_run(None, "net", {}) as run:
            run.save_weights({"w": torch.ones(2, 3).t()})
        assert run.path == Path("runs") / wanted


@pytest.mark.parametrize("there", ["nothing", "empty folder"])
def test_named_folder(tmp_path: Path, there: str) -> None:
    if there == "empty folder":
        (tmp_path / "run").mkdir()
    with new_run(tmp_path / "run", "", {}) as run:
        assert run.path == tmp_path / "run"


@pytest.mark.parametrize("there", ["file in it", "file of that name", "file above it"])
def test_folder_that_cannot_be_used(tmp_path: Path, there: str) -> None:
    path = tmp_path / "run"
    if there == "file in it":
        path.mkdir()
        (path / "mine").touch()
    elif there == "file of that name":
        path.touch()
    else:
        (tmp_path / "above").touch()
        path = tmp_path / "above" / "run"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelsError, match="--run-dir"), new_run(path, "", {}):
        pass
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_before_a_checkpoint_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(path: Path) -> None:
        with new_run(path, "", {"a": 1}) as run:
            run.log(event="step")
            run.log_length()
            raise error

    (tmp_path / "mine").mkdir()
    for path in (tmp_path / "new", tmp_path / "mine"):
        with pytest.raises(error):
            fail(path)
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "mine").iterdir()) == []


def test_error_after_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    def fail() -> None:
        with new_run(tmp_path / "run", "", {"a": 1}) as run:
            run.log(event="step")
            run.save_checkpoint(b"all")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.json",
        "log.jsonl",
        "checkpoint.safetensors",
    }
    with old_run(tmp_path / "run") as run:
        assert run.checkpoint() == b"all"


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with new_run(tmp_path / "run", "", {}):
        before = sorted((tmp_path / "run").iterdir())
        with pytest.raises(ModelsError, match="another process is writing this run"), old_run(tmp_path / "run"):
            pass
        assert sorted((tmp_path / "run").iterdir()) == before
    with old_run(tmp_path / "run") as run:
        assert run.path == tmp_path / "run"


def test_what_a_killed_process_was_writing_goes(tmp_path: Path) -> None:
    with new_run(tmp_path / "run", "", {}):
        pass
    for name in ("config.json", "weights.safetensors", "checkpoint.safetensors"):
        (tmp_path / "run" / f".{name}.part").write_bytes(b"half")
    with old_run(tmp_path / "run"):
        pass
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.json", "log.jsonl"}


def test_a_folder_killed_before_it_was_a_run_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.json.part").write_bytes(b"half")
    with new_run(tmp_path / "run", "", {}) as run:
        assert {path.name for path in run.path.iterdir()} == {"config.json", "log.jsonl"}


def test_the_log_is_cut_and_goes_on(tmp_path: Path) -> None:
    with new_run(tmp_path / "run", "", {}) as run:
        run.log(event="kept")
        length = run.log_length()
        run.log(event="lost")
    with old_run(tmp_path / "run") as run:
        run.cut_log(length)
        run.log(event="new")
    assert (run.path / "log.jsonl").read_text() == '{"event": "kept"}\n{"event": "new"}\n'
    with old_run(tmp_path / "run") as run, pytest.raises(ModelsError, match=r"log\.jsonl: 7 bytes are gone"):
        run.cut_log(len('{"event": "kept"}\n{"event": "new"}\n') + 7)


def test_log_can_be_read_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastconv.models.training.run_folder.LOG_SECONDS", -1.0)
    with new_run(tmp_path / "run", "", {}) as run:
        for count in (1, 2):
            run.log(event="step", loss=0.1)
            lines = (run.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
            assert [json.loads(line) for line in lines] == [{"event": "step", "loss": 0.1}] * count


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_aside(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastconv.models.training.run_folder.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_aside(path, b"new, longer")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("there", [False, True])
def test_one_of_two_gets_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """The other comes between the look at the folder and the first file in it."""
    folder = tmp_path / "run"
    if there:
        folder.mkdir()
    first = run_folder._first_log
    with ExitStack() as stack:

        def late(path: Path) -> BinaryIO:
            monkeypatch.setattr(run_folder, "_first_log", first)
            stack.enter_context(new_run(folder, "", {"whose": "the other"}))
            return first(path)

        monkeypatch.setattr(run_folder, "_first_log", late)
        with pytest.raises(ModelsError, match="not an empty folder"), new_run(folder, "", {"whose": "mine"}):
            pass
        assert json.loads((folder / "config.json").read_text()) == {"whose": "the other"}
        assert (folder / "log.jsonl").exists()
