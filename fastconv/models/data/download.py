"""Downloads a file from the first mirror that has it, and checks it before it is put in place, so it is whole."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pooch import HTTPDownloader
from requests import ConnectionError, HTTPError, RequestException, Timeout
from requests.exceptions import ProxyError, SSLError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from fastconv.models.errors import DownloadError, ModelsError

CONNECT_SECONDS, READ_SECONDS = 5.0, 15.0
CHUNK = 1 << 16
PROXY_WANTS_PASSWORD = 407


def download(target: Path, mirrors: Sequence[str], check: Callable[[Path], object], console: Console) -> None:
    """Put the file ``target.name`` of one of the ``mirrors`` (URLs of folders, tried in turn) at ``target``.

    ``check`` raises ModelsError for content that isn't the wanted file; then the next mirror is tried. A
    mirror gets 5 s to connect and 15 s between two pieces. Raises DownloadError, with every mirror's reason,
    when none serves; nothing is left behind then.
    """
    failures = []
    for mirror in mirrors:
        host = urlsplit(mirror).netloc
        try:
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as aside:
                arrived = Path(aside) / target.name
                _fetch(mirror + target.name, arrived, host, console)
                check(arrived)
                arrived.replace(target)
                return
        except (RequestException, ModelsError, OSError) as error:
            failures.append(f"{host}: {_reason(error, target.name)}")
    reasons = "; ".join(failures)
    raise DownloadError(f"can't download {target.name} ({reasons}); name a folder of files with --data-dir")


def _fetch(url: str, path: Path, host: str, console: Console) -> None:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = _Bar(progress, f"{path.name} from {host}")
        HTTPDownloader(bar, CHUNK, timeout=(CONNECT_SECONDS, READ_SECONDS))(url, str(path), None)


def _reason(error: Exception, name: str) -> str:
    """Returns the reason in a few words; the full texts, with the temporary path, help no user."""
    match error:
        case HTTPError() if error.response is not None and error.response.status_code != PROXY_WANTS_PASSWORD:
            return f"HTTP {error.response.status_code}"
        case HTTPError() | ProxyError() if str(PROXY_WANTS_PASSWORD) in str(error):
            return "the proxy wants a password; write HTTPS_PROXY as http://USER:PASSWORD@HOST:PORT"
        case ProxyError():
            return "the proxy can't be reached or refuses; correct HTTPS_PROXY, or unset it"
        case Timeout():
            return "no answer in time"
        case SSLError() if any(said in str(error) for said in ("certificate has expired", "is not yet valid")):
            return "its certificate is of another time; is this machine's clock right?"
        case SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return "its certificate isn't trusted; is there a proxy with its own, to be named by REQUESTS_CA_BUNDLE?"
        case SSLError():
            return "no secure connection; correct HTTPS_PROXY, which begins with http://, and REQUESTS_CA_BUNDLE"
        case ConnectionError():
            return "no connection"
        case ModelsError():
            return str(error).partition(f"{name}: ")[2].partition(";")[0]
        case _:
            return str(error)


class _Bar:
    """A progress bar of rich's with the methods that pooch calls; one plain line instead where there is no terminal."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._what = what
        self._task = progress.add_task(what, total=None)

    @property
    def total(self) -> float | None:
        return self._progress.tasks[self._task].total

    @total.setter
    def total(self, size: int) -> None:  # set when the mirror has answered
        self._progress.update(self._task, total=size or None)
        if self._progress.disable:
            self._progress.console.print(f"downloading {self._what} ({size:,} bytes)", soft_wrap=True)

    def update(self, size: int) -> None:
        self._progress.advance(self._task, size)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        pass
