"""The failures that a user can act on. Every other error is a bug and keeps its traceback."""

from signal import SIGINT


class ModelsError(Exception):
    """One line for the user: what is wrong, with which thing, and what to do next.

    The command line prints it without a traceback and ends with ``exit_code``.
    """

    exit_code = 2


class DownloadError(ModelsError):
    """A data set could not be fetched or kept: no network, no good mirror, or no cache folder to write to."""

    exit_code = 1


class TrainingError(ModelsError):
    """Training went wrong after a correct start, for example by a loss that is no longer a number."""

    exit_code = 1


class StoppedError(ModelsError):
    """A signal, Ctrl-C's if it isn't told, stopped a training run; the message says what was kept."""

    def __init__(self, message: str, signal: int = SIGINT) -> None:
        super().__init__(message)
        self.exit_code = 128 + (signal or SIGINT)
