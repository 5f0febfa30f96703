"""A command's picture or file is written whole or not at all, at a place that this file decides."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from fastconv.models.errors import ModelsError
from fastconv.models.inspection.style import style
from fastconv.models.inspection.trained import Trained
from fastconv.models.training.run_folder import write_aside

DOTS_PER_INCH = 150


def place(run: Trained, name: str, out: Path | None) -> Path:
    """Returns ``out`` if given, else ``name`` in the run's folder, or in the working directory for a run of the
    project's.

    Raises ModelsError if ``out`` has another ending than ``name``: the content would not be what the name says.
    """
    if out is None:
        return Path(f"{run.path.name}-{name}") if run.came_along else run.path / name
    ending = Path(name).suffix
    if out.suffix.lower() != ending:
        raise ModelsError(f"{out}: the file will be {ending[1:].upper()}; give it a name that ends in {ending}")
    return out


def save_picture(figure: Figure, path: Path) -> None:
    """Write ``figure`` as a PNG at ``path``."""
    content = BytesIO()
    with style():
        figure.savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    save(content.getvalue(), path)


def save(content: bytes, path: Path) -> None:
    """Write ``content`` at ``path``, in place of what was there; raises ModelsError if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(path, content)
    except OSError as error:
        raise ModelsError(f"{path}: can't be written ({error.strerror}); choose another place with --out") from None
