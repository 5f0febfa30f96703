"""Measured times are kept on disk: one file for each machine, number of threads and set of versions.

The files are in the user's cache folder. A file that is damaged or can't be read counts as empty; where none can be
written, times are lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fastconv import machine, threads
from fastconv._version import __version__
from fastconv.backends.compiler.store import package_stamp
from fastconv.user_folder import cache_folder


class Pair(NamedTuple):
    """Seconds of torch's and of fastconv's best call."""

    torch: float
    fastconv: float


def folder() -> Path:
    """Returns the folder of the times: in Numba's cache folder if the environment names one, else in the user's."""
    own = os.environ.get("NUMBA_CACHE_DIR")
    return Path(own) / "fastconv" if own else cache_folder()


def conditions() -> dict[str, str]:
    """Returns the conditions that times depend on besides the layer, as texts."""
    return {
        "processor": machine.processor(),
        "instruction set": machine.instruction_set(),
        "cores": str(machine.usable_cores()),
        "threads": f"{threads.get_num_threads()} of fastconv's, {torch.get_num_threads()} of torch's",
        "fastconv": __version__,
        "sources": package_stamp("fastconv") or "",
        "torch": torch.__version__,
        "numba": version("numba"),
        "numpy": np.__version__,
        "llvmlite": version("llvmlite"),
    }


class Kept:
    """Times measured on this machine, now and before, each under a text that says what was measured."""

    def __init__(self) -> None:
        self._conditions = conditions()
        stamp = hashlib.sha256(json.dumps(self._conditions).encode()).hexdigest()[:16]
        self._file = folder() / f"layers-{stamp}.json"
        self._pairs = self._read()
        self._new: dict[str, Pair] = {}

    def get(self, key: str) -> Pair | None:
        """Returns the times kept for ``key``."""
        return self._pairs.get(key)

    def put(self, key: str, pair: Pair) -> None:
        """Keep the times for ``key``; `save` writes them."""
        self._pairs[key] = self._new[key] = pair

    def save(self) -> None:
        """Add the new times to the file, which another process may have written to since."""
        if not self._new:
            return
        content = {"conditions": self._conditions, "layers": {**self._read(), **self._new}}
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._file.parent, delete=False, encoding="utf-8") as aside:
                try:
                    json.dump(content, aside, indent=1)
                    aside.close()
                    os.replace(aside.name, self._file)
                except OSError:
                    Path(aside.name).unlink(missing_ok=True)
                    raise
        self._new = {}

    def _read(self) -> dict[str, Pair]:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            if content["conditions"] != self._conditions:
                return {}
            pairs = {str(key): Pair(float(one), float(other)) for key, (one, other) in content["layers"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}
        return {key: pair for key, pair in pairs.items() if all(math.isfinite(time) and time > 0 for time in pair)}
