"""The failures a person can act on. Everything else is a bug and keeps its traceback."""


class ModelsError(Exception):
    """One line for the person at the keyboard: what is wrong, with which thing, and what to do next.

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
    """Ctrl-C stopped a training run; the message says what was kept."""

    exit_code = 130
