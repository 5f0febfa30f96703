"""Run folders: never shared, never half written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models.errors import ModelsError
from models.training.run_folder import run_folder, write_aside


def test_two_runs_of_one_second_have_two_folders(tmp_path: Path) -> None:
    for wanted in ("net", "net-2", "net-3"):
        with run_folder(None, "net") as run:
            run.save_weights({"w": torch.ones(2, 3).t()})
        assert run.path == Path("runs") / wanted


@pytest.mark.parametrize("there", ["nothing", "empty folder"])
def test_named_folder(tmp_path: Path, there: str) -> None:
    if there == "empty folder":
        (tmp_path / "run").mkdir()
    with run_folder(tmp_path / "run", "") as run:
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
    with pytest.raises(ModelsError, match="--run-dir"), run_folder(path, ""):
        pass
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_before_weights_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(path: Path) -> None:
        with run_folder(path, "") as run:
            run.save_config({"a": 1})
            run.log(event="step")
            raise error

    (tmp_path / "mine").mkdir()
    for path in (tmp_path / "new", tmp_path / "mine"):
        with pytest.raises(error):
            fail(path)
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "mine").iterdir()) == []


def test_error_after_weights_keeps_them(tmp_path: Path) -> None:
    def fail() -> None:
        with run_folder(tmp_path / "run", "") as run:
            run.log(event="step")
            run.save_weights({"w": torch.ones(2)})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"log.jsonl", "weights.safetensors"}


def test_log_can_be_read_along(tmp_path: Path) -> None:
    with run_folder(tmp_path / "run", "") as run:
        for count in (1, 2):
            run.log(event="step", loss=0.1)
            lines = (run.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
            assert [json.loads(line) for line in lines] == [{"event": "step", "loss": 0.1}] * count


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_aside(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.training.run_folder.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_aside(path, b"new, longer")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
