"""What each test costs: seconds of a core, its child processes included, and a limit for unit tests.

CPU time instead of wall time: it says the same on a busy machine. Imports are counted apart, since whichever test comes
first pays for them, and so are fixtures, since several tests share them. Processes of a fork server are no children of
the test; they are in the sum of the whole session alone.
"""

import argparse
import contextlib
import gc
import importlib
import inspect
import os
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import psutil
import pytest
from _pytest.runner import runtestprotocol

LIMIT_S = 1.0
# Of compiling a module of the standard library on the machine that the limit is for, where both cores are busy. As a
# test does, that allocates memory and misses caches. A loop that does nothing was as fast as ever on a machine where
# `make test` took 2.4 times as long: its two cores share one core's caches, and page faults cost many times as much.
_COMPILING_S = 0.0135
SHOWN = 25

_KEY = "cpu_s"
_OVER = "a unit test may use"
_importlib: Any = importlib._bootstrap  # type: ignore[attr-defined]


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Imports:
    """CPU seconds of first imports, nested ones counted once.

    Replaces the function that `import` calls for a module that is not loaded yet. Tests run in the main thread, and
    only its imports are counted.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0
        self._load: Callable[..., object] = _importlib._find_and_load

    def install(self) -> None:
        _importlib._find_and_load = self._timed

    def remove(self) -> None:
        _importlib._find_and_load = self._load

    def _timed(self, *arguments: object) -> object:
        if threading.current_thread() is not threading.main_thread():
            return self._load(*arguments)
        began = cpu_s() if self._depth == 0 else 0.0
        self._depth += 1
        try:
            return self._load(*arguments)
        finally:
            self._depth -= 1
            if self._depth == 0:
                self.seconds += cpu_s() - began


def _slowness() -> float:
    """Return how many times slower this machine is now than the one that the limit is for; at least 1.

    A shared machine gives the same program up to twice the CPU seconds on a bad day.
    """
    source, tries = inspect.getsource(argparse), []
    for _ in range(5):
        began = time.thread_time()
        compile(source, argparse.__name__, "exec")
        tries.append(time.thread_time() - began)
    return max(1.0, sorted(tries)[2] / _COMPILING_S)


class Meter:
    """CPU seconds since it was made, without imports."""

    def __init__(self, imports: Imports) -> None:
        self._imports = imports
        self._began = cpu_s() - imports.seconds

    def seconds(self) -> float:
        return cpu_s() - self._imports.seconds - self._began


class CpuTime:
    """The plugin of the process that runs tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._imports = Imports()
        self._imports.install()
        config.add_cleanup(self._imports.remove)

    def pytest_collection_finish(self) -> None:
        # All modules and tests outlive the session: no collection of garbage during a test has to look at them.
        gc.collect()
        gc.freeze()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run a test as ever, and one that was over its time once more: the machine may have been slow just then."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if any(_OVER in report.longreprtext for report in reports):
            item._initrequest()  # type: ignore[attr-defined] # As pytest does before each test: fixtures start again.
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        meter = Meter(self._imports)
        try:
            yield
        finally:
            item.user_properties.append((f"{_KEY}_setup", meter.seconds()))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        meter = Meter(self._imports)
        try:
            yield
        finally:
            seconds = meter.seconds()
            item.user_properties.append((f"{_KEY}_call", seconds))
        if seconds > LIMIT_S and _is_limited(item) and seconds > (limit := LIMIT_S * _slowness()):
            pytest.fail(
                f"{_OVER} {LIMIT_S:g} s of CPU time ({limit:.2g} s on this machine now), and this one used "
                f"{seconds:.2f} s; make it smaller, "
                "move it to tests/integration, or mark it with `sweep`, `integration`, or slow_unit(reason)",
                pytrace=False,
            )

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        gc.unfreeze()
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_KEY] = _whole_session()


class CpuTimeSummary:
    """The plugin of the process that reports: with workers, another one than that which runs the tests."""

    def __init__(self) -> None:
        self._workers: list[float] = []

    def pytest_testnodedown(self, node: Any) -> None:
        self._workers.append(getattr(node, "workeroutput", {}).get(_KEY, 0.0))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        properties: dict[str, dict[str, Any]] = {}
        for reports in terminalreporter.stats.values():
            for report in reports:
                if isinstance(report, pytest.TestReport):
                    properties.setdefault(report.nodeid, {}).update(report.user_properties)
        costs = {
            name: (known.get(f"{_KEY}_call", 0.0), known[f"{_KEY}_setup"])
            for name, known in properties.items()
            if f"{_KEY}_setup" in known
        }
        if not costs:
            return
        calls, setups = (sum(column) for column in zip(*costs.values(), strict=True))
        terminalreporter.section(f"CPU seconds of the {SHOWN} most expensive tests: test, fixtures")
        for name, (call, setup) in sorted(costs.items(), key=lambda pair: -sum(pair[1]))[:SHOWN]:
            terminalreporter.write_line(f"{call:7.2f} {setup:7.2f} {name}")
        # The workers have ended, so that the system counts them among the children of this process, too.
        every = sum(self._workers) + time.process_time() if self._workers else _whole_session()
        terminalreporter.write_line(
            f"{every:.0f} CPU seconds in all: {calls:.0f} in {len(costs)} tests, {setups:.0f} in fixtures, the rest in "
            "starting, collecting and fork servers"
        )


def _is_limited(item: pytest.Item) -> bool:
    return not any(item.get_closest_marker(name) for name in ("integration", "sweep", "slow_unit"))


def _whole_session() -> float:
    """CPU seconds of this process and of all its descendants, those that still run among them."""
    seconds = cpu_s()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"slow_unit(reason): a unit test that must use more than {LIMIT_S:g} s of CPU time"
    )
    config.pluginmanager.register(CpuTime(config), "cpu-time")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(CpuTimeSummary(), "cpu-time-summary")
