"""Which backend runs: the order of choices, unknown and unavailable names, registration, entry points."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from importlib.metadata import EntryPoint

import numpy as np
import pytest

import fastconv
from fastconv import registry
from fastconv.backends.base import Backend
from fastconv.backends.im2col import Im2col
from fastconv.backends.naive import Naive

X, W = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 2, 2), np.float32)

pytestmark = pytest.mark.usefixtures("own_registry")


def _which(ran: list[tuple[str, str]]) -> str:
    fastconv.conv2d(X, W)
    return ran[-1][0]


def test_order_of_choices(ran) -> None:
    assert _which(ran) == "numba"  # auto
    fastconv.set_backend("torch")
    assert _which(ran) == "torch"
    with fastconv.use_backend("naive"):
        assert _which(ran) == "naive"
        assert fastconv.get_backend() == "naive"
        with fastconv.use_backend("im2col"):
            assert _which(ran) == "im2col"
            fastconv.conv2d(X, W, backend="torch")
            assert ran[-1][0] == "torch"
        assert _which(ran) == "naive"
    assert _which(ran) == "torch"


def test_use_backend_ends_with_an_error() -> None:
    with pytest.raises(KeyError), fastconv.use_backend("naive"):
        raise KeyError
    assert fastconv.get_backend() == "auto"


def test_use_backend_is_one_threads_own() -> None:
    seen = []
    with fastconv.use_backend("naive"):
        thread = threading.Thread(target=lambda: seen.append(fastconv.get_backend()))
        thread.start()
        thread.join()
    assert seen == ["auto"]


def test_use_backend_is_one_tasks_own() -> None:
    async def task(name: str) -> str:
        with fastconv.use_backend(name):
            await asyncio.sleep(0)
            return fastconv.get_backend()

    async def both() -> list[str]:
        return await asyncio.gather(task("naive"), task("torch"))

    assert asyncio.run(both()) == ["naive", "torch"]


@pytest.mark.parametrize("name", ["naive", "nonsense"])
def test_environment(name: str) -> None:
    program = (
        "import fastconv, numpy as np; x = np.ones((1, 1, 2, 2)); print(fastconv.get_backend(), fastconv.conv2d(x, x))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "FASTCONV_BACKEND": name},
        capture_output=True,
        text=True,
        check=False,
    )
    if name == "naive":
        assert result.stdout.startswith("naive [[[[4.]]]]"), result.stderr
    else:
        expected = "FASTCONV_BACKEND names no backend: got 'nonsense', but the backends are 'auto', 'naive', 'im2col'"
        assert expected in result.stderr


@pytest.mark.parametrize("choose", [fastconv.set_backend, lambda name: fastconv.use_backend(name).__enter__()])
def test_unknown_names_list_the_known(choose) -> None:
    with pytest.raises(fastconv.UnknownBackendError, match="got 'cudnn', but the backends are 'auto', 'naive'"):
        choose("cudnn")
    with pytest.raises(TypeError, match="a backend's name must be a string"):
        choose(None)


def test_unknown_name_in_a_call() -> None:
    with pytest.raises(ValueError, match="'im2co1'"):
        fastconv.conv2d(X, W, backend="im2co1")


class Broken(Naive):
    """Can't run anywhere."""

    def __init__(self, name: str = "broken") -> None:
        self.name = name

    def unavailable(self) -> str | None:
        return "it needs a frobnicator: pip install frob"


class Picky(Im2col):
    """Refuses all that is grouped."""

    def refuses(self, operation, geometry, dtype) -> str | None:
        return "it knows no groups" if geometry is not None and getattr(geometry, "groups", 1) > 1 else None


def test_unavailable_backend_says_why() -> None:
    fastconv.register_backend(Broken())
    (info,) = [info for info in fastconv.backends() if info.name == "broken"]
    assert (info.available, info.reason) == (False, "it needs a frobnicator: pip install frob")
    with pytest.raises(fastconv.BackendUnavailableError, match="'broken' can't run here: it needs a frobnicator"):
        fastconv.conv2d(X, W, backend="broken")


def test_no_silent_fallback() -> None:
    fastconv.register_backend(Picky("picky"))
    np.testing.assert_array_equal(fastconv.conv2d(X, W, backend="picky"), np.full((1, 1, 3, 3), 4))
    x = np.ones((1, 2, 4, 4), np.float32)
    w = np.ones((2, 1, 2, 2), np.float32)
    with pytest.raises(fastconv.UnsupportedError, match=r"'picky' can't do conv2d: it knows no groups. Choose another"):
        fastconv.conv2d(x, w, groups=2, backend="picky")


def test_auto_passes_over_who_refuses(ran) -> None:
    fastconv.register_backend(Picky("numba"), replace=True)
    x, w = np.ones((1, 2, 4, 4), np.float32), np.ones((2, 1, 2, 2), np.float32)
    fastconv.conv2d(x, w, groups=2)
    assert ran[-1] == ("im2col", "conv2d")
    with pytest.raises(fastconv.UnsupportedError, match="knows no groups"):
        fastconv.conv2d(x, w, groups=2, backend="numba")


def test_auto_passes_over_who_cannot_run(ran) -> None:
    fastconv.register_backend(Broken("numba"), replace=True)
    assert _which(ran) == "im2col"


class Indescribable(Im2col):
    """Can't even say whether it runs."""

    def unavailable(self) -> str | None:
        raise OSError("no driver")


def test_a_backend_that_fails_to_answer_harms_no_other() -> None:
    fastconv.register_backend(Indescribable("odd"))
    states = {info.name: info for info in fastconv.backends()}
    assert states["odd"].reason == "it can't say whether it runs here: OSError: no driver"
    assert states["naive"].available


def test_auto_is_a_backend_too() -> None:
    """Called directly, each primitive goes to the backend that auto picks."""
    from fastconv.geometry import ConvGeometry, PoolGeometry

    auto, exact = registry.get("auto"), registry.get("im2col")
    conv, pool = ConvGeometry(1, 1, 4, 4, 1, 2, 2), PoolGeometry(1, 1, 4, 4, 2, 2, (2, 2))
    grad, share = np.ones(conv.output_shape, np.float32), np.ones(pool.output_shape, np.float32)
    columns = exact.unfold(X, conv)
    for operation, arguments in {
        "conv2d": (X, W, None, conv),
        "conv2d_input": (grad, W, conv),
        "conv2d_weight": (X, grad, conv),
        "max_pool2d_values": (X, pool),
        "avg_pool2d": (X, pool),
        "avg_pool2d_backward": (share, pool),
        "max_pool2d_backward": (share, share.astype(np.int64), (4, 4)),
        "unfold": (X, conv),
        "fold": (columns, conv),
    }.items():
        expected = getattr(exact, operation)(*arguments)
        np.testing.assert_array_equal(getattr(auto, operation)(*arguments), expected)
    np.testing.assert_array_equal(auto.max_pool2d(X, pool)[1], exact.max_pool2d(X, pool)[1])


class TestRegistration:
    def test_a_name_is_taken_once(self) -> None:
        fastconv.register_backend(Im2col("mine", column_bytes=1))
        with pytest.raises(ValueError, match="'mine' already"):
            fastconv.register_backend(Im2col("mine"))
        fastconv.register_backend(Im2col("mine"), replace=True)
        assert "mine" in [info.name for info in fastconv.backends()]
        with pytest.raises(ValueError, match="'naive' already"):
            fastconv.register_backend(Im2col("naive"))

    @pytest.mark.parametrize("wrong", [Im2col, "im2col", None], ids=str)
    def test_only_instances(self, wrong) -> None:
        with pytest.raises(TypeError, match=r"instance of a subclass of fastconv\.Backend"):
            fastconv.register_backend(wrong)

    def test_names_are_words(self) -> None:
        with pytest.raises(ValueError, match="empty"):
            fastconv.register_backend(Im2col(""))
        with pytest.raises(TypeError, match="string"):
            fastconv.register_backend(Im2col(3))

    def test_the_contract_must_be_filled(self) -> None:
        class Half(Backend):
            name = "half"

        with pytest.raises(TypeError, match="abstract"):
            Half()


class TestEntryPoints:
    @pytest.fixture(autouse=True)
    def plugins(self, monkeypatch) -> None:
        points = {
            "plugged": "tests.plugin:Plugged",
            "crashing": "tests.plugin:Crashing",
            "missing": "tests.plugin:Missing",
            "foreign": "tests.plugin:Foreign",
        }
        found = {n: EntryPoint(n, v, registry.ENTRY_POINT_GROUP) for n, v in points.items()}
        monkeypatch.setattr(registry, "_plugins", found)

    def test_a_plugin_runs(self) -> None:
        np.testing.assert_array_equal(fastconv.conv2d(X, W, backend="plugged"), np.full((1, 1, 3, 3), 4))

    @pytest.mark.parametrize(
        ("name", "reason"),
        [("crashing", "ZeroDivisionError"), ("missing", "AttributeError"), ("foreign", "no subclass")],
    )
    def test_a_bad_plugin_harms_no_other(self, name: str, reason: str) -> None:
        states = {info.name: info for info in fastconv.backends()}
        assert not states[name].available
        assert reason in states[name].reason
        assert states["plugged"].available
        with pytest.raises(fastconv.BackendUnavailableError, match=reason):
            fastconv.conv2d(X, W, backend=name)

    def test_the_group_is_read(self, monkeypatch) -> None:
        point = EntryPoint("fresh", "tests.plugin:Plugged", registry.ENTRY_POINT_GROUP)
        monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "fastconv.backends" else [])
        monkeypatch.setattr(registry, "_plugins", None)
        assert "fresh" in [info.name for info in fastconv.backends()]


def test_the_package_of_backends_lists_them_when_called() -> None:
    """One name for both, whatever is imported and how."""
    import fastconv.backends.im2col as by_path
    from fastconv.backends import columns

    assert by_path.Im2col is Im2col
    assert columns.__name__ == "fastconv.backends.columns"
    assert [info.name for info in fastconv.backends()][:4] == ["auto", "naive", "im2col", "numba"]


@pytest.mark.parametrize("name", [False, 0, ["naive"], b"naive"], ids=str)
def test_only_strings_are_names(name) -> None:
    with pytest.raises(TypeError, match="a backend's name must be a string"):
        fastconv.conv2d(X, W, backend=name)


def test_the_empty_string_is_no_backend() -> None:
    for choose in (fastconv.set_backend, lambda name: fastconv.conv2d(X, W, backend=name)):
        with pytest.raises(fastconv.UnknownBackendError, match="got ''"):
            choose("")
