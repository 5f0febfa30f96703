"""A further peer takes a module and a row of the table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fastconv.bench import contestants
from fastconv.bench.contestants import Entry
from fastconv.bench.devices.cpu import Cpu
from fastconv.bench.entrant import Entrant
from fastconv.bench.event import Rules, event
from fastconv.bench.networks import contestants as network_contestants
from fastconv.bench.networks import peers
from fastconv.bench.problems import parse

ADAPTER = """
from typing import Any
import numpy as np
from fastconv.bench.contestants.fastconv_adapter import Fastconv

class Peer(Fastconv):
    def network(self, path, x: Any) -> Any:
        import onnxruntime
        session = onnxruntime.InferenceSession(path)
        return lambda: tuple(session.run(None, {session.get_inputs()[0].name: x}))

def make(variant: str, threads: int) -> Peer:
    return Peer(variant)
"""


def test_a_further_peer_takes_a_module_and_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the contest of layers, and in that of whole networks."""
    (tmp_path / "abacus_adapter.py").write_text(ADAPTER)
    monkeypatch.setattr(contestants, "__path__", [*contestants.__path__, str(tmp_path)])
    monkeypatch.setitem(contestants._PEERS, "abacus", Entry("abacus", "naive", ("onnxruntime",), networks=True))
    entrant = Entrant("abacus", Cpu(), threads=1)
    (record,) = event(
        parse("N=2 C=2 H=6 K=4 R=3 padding=1"), "forward", [entrant], Rules(1, bursts=1, seconds=0.001), Cpu()
    )
    assert (record.trouble, len(record.bursts)) == (None, 1)
    assert "abacus" in network_contestants.taking_part("inference", network_contestants.installed())
    assert "abacus" not in network_contestants.taking_part("training", network_contestants.installed())
    model, x = torch.nn.Conv2d(2, 3, 3).eval(), torch.ones(1, 2, 5, 5)
    made = peers.session("abacus", peers.export(model, x, tmp_path / "model.onnx"), x, threads=1)
    torch.testing.assert_close(made.results(), [model(x).detach()])
