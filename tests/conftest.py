"""What all tests share: quiet threads, a home of their own, and the tier that each test belongs to."""

import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

# One thread a process: tests compare weights bit for bit and share two cores among workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

# How long an example takes says nothing on a busy machine; what a test may use is CPU time (cpu_time.py).
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

pytest_plugins = ["compiled", "cpu_time", "pictures", "small_training"]

TESTS = Path(__file__).parent
INTEGRATION = [TESTS / "integration"]

# Files of many seconds begin first, so that no process is left alone with one.
LONG = {"integration", "adapters", "parallel", "training"}
LONGEST = {"test_chaos.py", "test_failpoints.py", "test_one_retraining.py"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--integration", action="store_true", help="also run what starts servers, Ray or a browser")
    parser.addoption("--sweep", action="store_true", help="also run what takes many minutes: faults everywhere")


# Files that share what takes long to start; each runs in one process, and so do the tests of any other file.
# (`--dist loadgroup` of pytest-xdist 3.8 does not work with pytest 9.2: it sets an attribute that is gone.)
TOGETHER = {
    "one cl up": ("test_at_work.py", "test_ui.py", "test_up.py"),
    "one cl up elsewhere": ("test_postgresql.py", "test_binding_elsewhere.py"),
    "retrainings": ("test_failpoints.py", "test_doctor.py", "test_two_runs.py"),
}
GROUP = {name: group for group, names in TOGETHER.items() for name in names}


class FilesTogether(LoadFileScheduling):
    """Gives the tests of a file, or of a group of files, to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return GROUP.get(Path(file).name, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether:
    return FilesTogether(config, log)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "integration: starts servers, Ray or a browser, or waits; all of tests/integration; runs with --integration",
    )
    config.addinivalue_line(
        "markers", "sweep: faults everywhere, and what else is too long for every commit; runs with --sweep"
    )
    config.addinivalue_line("markers", "whole: of the sweep, what takes an hour by itself")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file without a test of the tier that `-m` begins with: those of all tiers take each process 15 s."""
    tier = config.getoption("markexpr").partition(" ")[0]
    if tier not in {"integration", "sweep"} or not collection_path.name.startswith("test_"):
        return None
    if tier == "integration" and any(folder in collection_path.parents for folder in INTEGRATION):
        return None
    return None if tier in collection_path.read_text() else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark by folder, before `-m` selects, and leave out the tiers that were not asked for."""
    for item in items:
        if any(folder in item.path.parents for folder in INTEGRATION):
            item.add_marker("integration")
    items.sort(key=lambda item: (item.path.name not in LONGEST, not LONG.intersection(item.path.parts)))
    with_integration = config.getoption("--integration") or _names_integration(config)
    with_sweep = config.getoption("--sweep")

    def is_left_out(item: pytest.Item) -> bool:
        if item.get_closest_marker("sweep"):
            return not with_sweep
        return item.get_closest_marker("integration") is not None and not with_integration

    left_out = [item for item in items if is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not is_left_out(item)]


def _names_integration(config: pytest.Config) -> bool:
    """Whether a file or folder of that tier was named: `pytest tests/integration/test_up.py` needs no option."""
    named = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
    return any(folder == path or folder in path.parents for path in named for folder in INTEGRATION)
