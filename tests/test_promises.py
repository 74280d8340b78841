"""Each promise of the README has a row in docs/contributing/tests.md, and the tests that it names exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "contributing" / "tests.md"


def rows() -> dict[str, list[str]]:
    """Tests by promise, each as `FILE::TEST`."""
    table = TABLE.read_text().partition("| promise | test |\n")[2]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if "::" in line]
    return {promise: re.findall(r"`(test_\w+\.py::test_\w+)`", tests) for promise, tests in lines}


def test_every_promise_of_the_readme_names_the_test_that_fails_without_it() -> None:
    promises = (ROOT / "README.md").read_text().partition("## What it promises\n")[2].partition("\n## ")[0]
    promised = re.findall(r"^- \*\*(.+?)\*\*", promises, re.MULTILINE)
    assert len(promised) >= 8
    assert [promise for promise in promised if not rows().get(promise)] == []


def test_every_test_that_the_page_names_exists() -> None:
    exist = {
        f"{path.name}::{test}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for test in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+\.py::test_\w+)`", TABLE.read_text()))
    assert len(named) > 50
    assert sorted(named - exist) == []
