"""Options and fixtures of the pytest-benchmark suites: ``pytest bench/ --set smoke --op forward --backend im2col``.

Everything runs in this one process, which is quick and good for comparing a change with what was before. For a fair
contest between libraries, each in a process of its own, there is ``fastconv bench run``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import fastconv
from fastconv.bench import contestants
from fastconv.bench.problems import OPERATIONS, SETS, ProblemError, select

OTHERS = ("overhead", "first_call", "training_step")
SECONDS = 0.15
"""For each measurement, at least five calls."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fastconv's bench")
    group.addoption("--set", action="append", dest="sets", help=f"problems: all, {', '.join(SETS)} (default: mnist)")
    group.addoption("--problem", action="append", help='a problem of your own: "N=8 C=64 H=56 K=128 R=3 padding=1"')
    group.addoption("--op", action="append", help=f"what to time: {', '.join((*OPERATIONS, *OTHERS))} (default: all)")
    group.addoption(
        "--backend", action="append", help="a contestant, or a backend of fastconv (default: all but peers)"
    )
    group.addoption("--threads", type=int, help="of every contestant (default: the libraries' choice)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "operation(name): what a test times, for --op")
    strange = set(config.getoption("op") or ()) - {*OPERATIONS, *OTHERS}
    if strange:
        raise pytest.UsageError(f"--op: nothing is called {', '.join(sorted(strange))}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a problem, operation and contestant, or a contestant alone."""
    names = _contestants(metafunc.config)
    if "problem" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("op") or OPERATIONS
        custom = metafunc.config.getoption("problem") or []
        try:
            problems = select(metafunc.config.getoption("sets") or ([] if custom else ["mnist"]), custom)
        except ProblemError as error:
            raise pytest.UsageError(str(error)) from None
        most = {name: contestants.entries()[name].most_flops or float("inf") for name in names}
        cases = [
            pytest.param(problem, operation, name, id=f"{problem.name}-{operation}-{name}")
            for problem in problems
            for operation in problem.operations
            if operation in wanted
            for name in names
            if problem.flops(operation) <= most[name]
        ]
        metafunc.parametrize(("problem", "operation", "contestant"), cases)
    elif "backend" in metafunc.fixturenames:
        own = [name.removeprefix("fastconv.") for name in names if name.startswith("fastconv.")]
        metafunc.parametrize("backend", own)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the suites that are not about problems, keep those that --op names."""
    wanted = config.getoption("op")
    if wanted:
        kept = [item for item in items if _operation(item) in (None, *wanted)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


@pytest.fixture(scope="session", autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """How many threads everyone has; NumPy's matrix product among them."""
    import torch
    from threadpoolctl import threadpool_limits

    wanted = request.config.getoption("threads")
    if wanted:
        torch.set_num_threads(wanted)
        fastconv.set_num_threads(wanted)
    with threadpool_limits(wanted):
        yield torch.get_num_threads()


def _contestants(config: pytest.Config) -> list[str]:
    known = contestants.entries()
    own = [name for name in known if name.startswith(("fastconv.", "torch"))]
    wanted = config.getoption("backend")
    if not wanted:
        return own
    names = [name if name in known else f"fastconv.{name}" for name in wanted]
    strange = [name for name in names if name not in known]
    if strange:
        raise pytest.UsageError(f"--backend: none is called {', '.join(strange)}; here are {', '.join(known)}")
    return names


def _operation(item: pytest.Item) -> str | None:
    mark = item.get_closest_marker("operation")
    return mark.args[0] if mark else None
