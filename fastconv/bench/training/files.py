"""Files of results: JSON with its format's name, written whole, read with an error that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fastconv.bench.results import ResultsError
from fastconv.models.training.run_folder import write_aside

T = TypeVar("T")


def write(path: Path, form: str, content: dict[str, Any]) -> None:
    """Write ``content`` as a file of the format ``form``, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, (json.dumps({"format": form, **content}) + "\n").encode())


def read(path: Path, form: str, make: Callable[[dict[str, Any]], T]) -> T:
    """What ``make`` makes of a file of the format ``form``; raises ResultsError for no such file, or another kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] == form:
            return make(content)
    except OSError as error:
        raise ResultsError(f"{path}: can't be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultsError(f"{path}: holds no results of the format {form!r} ({error!r})") from error
    raise ResultsError(f"{path}: its format is {content['format']!r}, and this reads {form!r}")
