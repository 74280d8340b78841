"""What all tests share: quiet threads, and a home of their own."""

import os

import pytest

# One thread a process: tests compare weights bit for bit and share two cores among workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

pytest_plugins = ["pictures", "small_training"]

LONG = {"integration", "adapters", "parallel"}
LONGEST = {"test_chaos.py", "test_failpoints.py"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sweep", action="store_true", help="also run what takes many minutes: faults everywhere")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "sweep: faults everywhere, and what else is too long for every commit; runs with --sweep"
    )
    config.addinivalue_line("markers", "whole: of the sweep, what takes an hour by itself")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Files of minutes first, so that no process is left alone with one; seconds fill the end.
    items.sort(key=lambda item: (item.path.name not in LONGEST, not LONG.intersection(item.path.parts)))
    if not config.getoption("--sweep"):
        left_out = [item for item in items if item.get_closest_marker("sweep")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
