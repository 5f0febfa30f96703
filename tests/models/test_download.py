"""Downloads, from mirrors that serve on loopback what each test wants them to."""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

import pytest
import requests
from rich.console import Console

from fastconv.models.data import download, load, mnist
from fastconv.models.data.idx_names import Place
from fastconv.models.errors import DownloadError, ModelsError

VERIFY = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"
Mirror = Callable[[dict[str, bytes]], str]


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """Starts a server of files, by name, and gives its URL; a file it doesn't have is a 404. As a proxy it refuses."""
    servers = []

    def serve(files: dict[str, bytes]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = files.get(self.path.rpartition("/")[2])
                self._answer(404 if content is None else 200, content)

            def do_CONNECT(self) -> None:
                self._answer(407, None)

            def _answer(self, status: int, content: bytes | None) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/mnist/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def files(idx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A stand-in for MNIST: its four files as mirrors serve them, their checksums where MNIST's were."""
    served, sums = {}, {}
    for name in mnist.SHA256:
        path = Place(idx_folder).find(name)
        assert path is not None
        content = path.read_bytes()
        plain = gzip.decompress(content) if path.suffix == ".gz" else content
        served[f"{name}.gz"], sums[name] = gzip.compress(plain), hashlib.sha256(plain).hexdigest()
    monkeypatch.setattr(mnist, "SHA256", sums)
    return served


@contextmanager
def mirrors(monkeypatch: pytest.MonkeyPatch, *urls: str) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(mnist, "MIRRORS", urls)
        yield


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_downloads_once(
    mirror: Mirror, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, console: Console
) -> None:
    with mirrors(monkeypatch, mirror(files)):
        train, test = mnist.mnist(None, console)
    assert len(train.images) == 40
    assert len(test.labels) == 20
    assert names(tmp_path / "cache") == sorted(files)
    mnist.mnist(None, console)  # there are no mirrors any more


def test_damaged_cache_is_mended(
    mirror: Mirror, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, console: Console
) -> None:
    """Only the damaged file is fetched again: the second mirror has no other."""
    with mirrors(monkeypatch, mirror(files)):
        mnist.mnist(None, console)
    name = "t10k-labels-idx1-ubyte.gz"
    damaged = tmp_path / "cache" / name
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with mirrors(monkeypatch, mirror({name: files[name]})):
        mnist.mnist(None, console)
    assert damaged.read_bytes() == files[name]


def test_next_mirror_is_tried(
    mirror: Mirror, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    portal = dict.fromkeys(files, b"<html>please sign in</html>")
    refused = {name: gzip.compress(b"\0\0\x08\x01\0\0\0\x01\5") for name in files}
    with mirrors(monkeypatch, mirror({}), mirror(portal), mirror(refused), mirror(files)):
        train, _ = mnist.mnist(None, console)
    assert len(train.images) == 40


def test_every_mirrors_reason_is_told_and_nothing_left(
    mirror: Mirror, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, console: Console
) -> None:
    monkeypatch.setattr(download, "READ_SECONDS", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/"
    good = files["train-images-idx3-ubyte.gz"]
    swapped = gzip.compress(gzip.decompress(good)[:-1] + b"\0")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never answers
        urls = (
            mirror({}),
            mirror(dict.fromkeys(files, swapped)),
            mirror(dict.fromkeys(files, good[:-20])),
            f"http://127.0.0.1:{silent.getsockname()[1]}/",
            nobody,
        )
        start = monotonic()
        with mirrors(monkeypatch, *urls), pytest.raises(DownloadError) as caught:
            mnist.mnist(None, console)
        assert monotonic() - start < 10
    message = str(caught.value)
    for reason in (
        "HTTP 404",
        "not the original file",
        "archive is damaged",
        "no answer in time",
        "no connection",
    ):
        assert reason in message
    assert "--data-dir" in message
    assert "\n" not in message
    assert names(tmp_path / "cache") == []


def test_a_file_cut_on_its_way_is_not_kept(
    mirror: Mirror, files: dict[str, bytes], tmp_path: Path, console: Console
) -> None:
    def check(path: Path) -> None:
        raise ModelsError(f"{path}: cut short; download it again")

    with pytest.raises(DownloadError, match=r"cut short\); name a folder"):
        download.download(tmp_path / next(iter(files)), [mirror(files)], check, console)
    assert names(tmp_path) == ["data"]


def test_ctrl_c_leaves_nothing(
    mirror: Mirror, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, console: Console
) -> None:
    """In the middle of a file; the next attempt gets it whole."""

    def interrupted(*_: object) -> None:
        assert [path.name for path in (tmp_path / "cache").glob(".download-*/*")] == ["train-images-idx3-ubyte.gz"]
        raise KeyboardInterrupt

    with mirrors(monkeypatch, mirror(files)):
        with monkeypatch.context() as patch:
            patch.setattr(download._Bar, "update", interrupted)
            with pytest.raises(KeyboardInterrupt):
                mnist.mnist(None, console)
        assert names(tmp_path / "cache") == []
        mnist.mnist(None, console)


def test_no_cache_folder_is_no_crash(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, console: Console
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(mnist, "cache_folder", lambda: tmp_path / "file" / "mnist")
    with pytest.raises(DownloadError, match=r"can't be made.*--data-dir"):
        mnist.mnist(None, console)


def test_progress_reaches_the_end(mirror: Mirror, files: dict[str, bytes], tmp_path: Path, console: Console) -> None:
    """Without a terminal it is one line a file; a terminal's bar is filled."""
    name = next(iter(files))
    download.download(tmp_path / name, [mirror(files)], lambda path: None, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert printed.startswith(f"downloading {name} from 127.0.0.1")
    assert f"({len(files[name]):,} bytes)" in printed
    assert printed.count("\n") == 1
    terminal = Console(file=console.file, width=100, force_terminal=True)
    download.download(tmp_path / name, [mirror(files)], lambda path: None, terminal)
    assert "━" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            requests.exceptions.SSLError(f"{VERIFY}: self-signed certificate"),
            "its certificate isn't trusted; .*REQUESTS_CA_BUNDLE",
        ),
        (
            requests.exceptions.SSLError(f"{VERIFY}: certificate has expired"),
            "its certificate is of another time; .*clock",
        ),
        (requests.exceptions.SSLError(f"{VERIFY}: certificate is not yet valid"), "its certificate is of another time"),
        (
            requests.exceptions.SSLError("[X509] no certificate or crl found"),
            "no secure connection; .*REQUESTS_CA_BUNDLE",
        ),
        (
            requests.exceptions.ProxyError("Tunnel connection failed: 403"),
            "the proxy can't be reached or refuses; correct",
        ),
        (requests.exceptions.ConnectionError("no route"), "no connection"),
    ],
    ids=["certificate", "expired", "not yet valid", "bundle", "proxy", "offline"],
)
def test_certificates_and_proxies_are_told_from_being_offline(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("fastconv.models.data.download._fetch", fails)
    with pytest.raises(DownloadError, match=rf"a\.org: {says}"):
        download.download(tmp_path / "file", ["https://a.org/"], lambda _: None, console)
    monkeypatch.setattr("fastconv.models.data.mnist.MIRRORS", ("https://a.org/",))
    assert load("auto", None, console).name == "digits"
    assert re.search(says, console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("scheme", "proxy", "says"),
    [
        ("https", None, "no secure connection; correct HTTPS_PROXY"),
        ("https", "server", "the proxy wants a password; write HTTPS_PROXY as http://USER:PASSWORD@HOST:PORT"),
        ("http", "refuses all", "the proxy wants a password"),
        ("https", "nobody", "the proxy can't be reached or refuses; correct HTTPS_PROXY, or unset it"),
        ("https", "nonsense://here", "unsupported scheme nonsense"),
    ],
)
def test_real_proxies_and_servers_without_tls(
    mirror: Mirror,
    tmp_path: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    proxy: str | None,
    says: str,
) -> None:
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = mirror({})
    if proxy == "refuses all":
        monkeypatch.setattr(BaseHTTPRequestHandler, "send_response", _as_a_proxy(BaseHTTPRequestHandler.send_response))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
        places = {"server": server, "refuses all": server, "nobody": nobody}
        if proxy is not None:
            monkeypatch.setenv(f"{scheme.upper()}_PROXY", places.get(proxy, proxy))
        url = f"{scheme}://a.invalid/" if proxy is not None else server.replace("http:", "https:")
        with pytest.raises(DownloadError, match=re.escape(says)) as caught:
            download.download(tmp_path / "file", [url], lambda _: None, console)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def _as_a_proxy(send: Callable[..., None]) -> Callable[..., None]:
    def refused(self: BaseHTTPRequestHandler, status: int, message: str | None = None) -> None:
        send(self, 407, message)

    return refused
