"""The oldest versions of numpy, numba and torch that pyproject.toml allows, or the names alone, as words for pip."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def words(which: str) -> list[str]:
    """Returns requirements for "oldest" or "newest"; the newest are what pip finds with --upgrade."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = [*project["dependencies"], *project["optional-dependencies"]["torch"]]
    bounds = dict(re.fullmatch(r"(\w+)>=([\d.]+)", each).groups() for each in core)
    return [f"{name}=={bound}.*" if which == "oldest" else name for name, bound in bounds.items()]


if __name__ == "__main__":
    print(*words(sys.argv[1]))
