"""Logs read back, and the curves drawn of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastconv.models.errors import ModelsError
from fastconv.models.inspection.curves import curves_picture
from fastconv.models.inspection.log import History, read_log

EPOCHS = {number: {"train_loss": 1 / number, "test_loss": 0.9 / number, "test_accuracy": 0.8} for number in (1, 2, 3)}


def test_a_runs_log(run: Path) -> None:
    history = read_log(run)
    assert [step[:2] for step in history.steps] == [(epoch, step) for epoch in (1, 2) for step in (1, 2, 3)]
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert history.of("test_accuracy") == (
        [1, 2],
        [record["test_accuracy"] for record in records if record["event"] == "epoch"],
    )
    assert history.of("validation_loss") == ([], [])


def test_what_is_said_twice_counts_once_and_half_a_line_never() -> None:
    """As a run leaves it that was killed and went on from its last whole epoch."""
    lines = [
        {"event": "epoch", "number": 1, "train_loss": 3.0},
        {"event": "step", "epoch": 2, "step": 1, "loss": 9.0},
        {"event": "step", "epoch": 2, "step": 1, "loss": 2.0},
        {"event": "resumed", "epoch": 2},
        {"event": "epoch", "number": 1, "train_loss": 1.0},
    ]
    Path("log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"event": "st')
    history = read_log(Path())
    assert history.steps == [(2, 1, 2.0)]
    assert history.of("train_loss") == ([1], [1.0])


@pytest.mark.parametrize(
    "line",
    [
        *("nothing", "3", "[]", '{"event": "step"}', '{"event": "epoch", "number": []}'),
        *('{"event": "epoch", "number": 1e999}', '{"event": "epoch", "number": 0}'),
        '{"event": "step", "epoch": 1, "step": 0, "loss": 1}',
        f'{{"event": "step", "epoch": 1, "step": 1, "loss": {10**400}}}',
        f'{{"event": "epoch", "number": 1, "test_loss": {10**400}}}',
    ],
    ids=lambda line: line[:50],
)
def test_damaged_logs_name_the_line(run: Path, line: str) -> None:
    with (run / "log.jsonl").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ModelsError, match=r"log.jsonl: line 10 isn't a record"):
        read_log(run)


def test_missing_and_binary_logs(run: Path) -> None:
    (run / "log.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ModelsError, match="isn't text"):
        read_log(run)
    (run / "log.jsonl").unlink()
    with pytest.raises(ModelsError, match="can't be read"):
        read_log(run)


def test_lines_are_the_logs() -> None:
    with_validation = {
        at: {**epoch, "validation_loss": 0.7, "validation_accuracy": 0.6} for at, epoch in EPOCHS.items()
    }
    losses, accuracies = curves_picture(History([], with_validation), "net").axes
    drawn = {line.get_label(): list(np.asarray(line.get_ydata())) for line in losses.lines}
    assert drawn == {
        "training, mean of the epoch": [1, 1 / 2, 1 / 3],
        "validation": [0.7] * 3,
        "test": [0.9, 0.45, 0.3],
    }
    assert {line.get_label() for line in accuracies.lines} == {"validation", "test"}
    assert list(np.asarray(accuracies.lines[0].get_xdata())) == [1, 2, 3]


def test_steps_are_averaged_in_their_places() -> None:
    steps = [(epoch, step, float(epoch * 100 + step)) for epoch in (1, 2) for step in range(1, 41)]
    line = curves_picture(History(steps, EPOCHS), "net").axes[0].lines[0]
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert line.get_label() == "training, mean of 4 steps"
    assert (x[0], y[0]) == pytest.approx((4 / 40, 102.5))
    assert (x[-1], y[-1]) == pytest.approx((2, 238.5))
    assert len(x) == 77


@pytest.mark.parametrize(("lowest", "scale"), [(0.1, "log"), (0.0, "linear"), (0.5, "linear")])
def test_scale(lowest: float, scale: str) -> None:
    epochs = {1: {"train_loss": 1.0}, 2: {"train_loss": lowest}}
    assert curves_picture(History([], epochs), "net").axes[0].get_yscale() == scale


def test_no_epoch_no_curves() -> None:
    with pytest.raises(ModelsError, match="no epoch yet"):
        curves_picture(History([(1, 1, 2.0)], {}), "net")
    curves_picture(History([], {1: {}}), "net").draw_without_rendering()  # an epoch without figures is no trouble
