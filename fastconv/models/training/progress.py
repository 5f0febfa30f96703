"""The progress of a training: loss, images a second, time left; a bar, or plain lines without a terminal."""

from __future__ import annotations

from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

PLAIN_SECONDS = 10.0


class _Figures(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_figures(task))


class TrainingProgress:
    """A context manager around ``total`` images of training, ``done`` of them before; None where time ends it."""

    def __init__(self, console: Console, description: str, total: float | None, done: int = 0) -> None:
        self._plain = not console.is_terminal
        columns = (TextColumn("{task.description}", markup=False), BarColumn(20), _Figures(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=self._plain, refresh_per_second=4)
        self._task = self._progress.add_task(description, total=total, completed=done, loss=None)
        self._next_line = monotonic() + PLAIN_SECONDS

    def __enter__(self) -> TrainingProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def describe(self, description: str) -> None:
        """Show a text that says what is going on now."""
        self._progress.update(self._task, description=description)

    def advance(self, images: int, loss: float) -> None:
        """Count ``images`` more, of a batch with this ``loss``."""
        self._progress.update(self._task, advance=images, loss=loss)
        if self._plain and monotonic() >= self._next_line:
            self._next_line = monotonic() + PLAIN_SECONDS
            task = self._progress.tasks[self._task]
            self.say(f"{task.description}  {task.completed:,.0f} images  {_figures(task)}")

    def say(self, line: str) -> None:
        """Print ``line`` above the bar."""
        self._progress.console.print(line, soft_wrap=True, highlight=False)


def _figures(task: Task) -> str:
    loss = task.fields["loss"]
    if loss is None or task.speed is None:
        return "first step"
    left = f"  {clock(task.time_remaining)} left" if task.time_remaining is not None else ""
    return f"loss {loss:.4f}  {task.speed:,.0f} images/s{left}"


def clock(seconds: float) -> str:
    """Returns seconds as minutes and seconds, such as 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
