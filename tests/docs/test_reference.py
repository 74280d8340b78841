"""The reference pages say what the code says."""

import os
import re

import pytest
from reference import PAGES, settings, source_code
from reference.components import REGISTRIES, summary

FOLDER = source_code.ROOT / "docs" / "reference"
AGAIN = "CL_UPDATE_GOLDEN=1 .venv/bin/pytest -n0 tests/docs"


SLOW = {
    "cli.md": pytest.mark.slow_unit(reason="it imports and inspects every command"),
    "artifacts.md": pytest.mark.slow_unit(reason="it parses the whole product for the artifacts that it publishes"),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in PAGES])
def test_a_reference_page_is_what_the_code_gives(name):
    page, file = PAGES[name](), FOLDER / name
    if os.environ.get("CL_UPDATE_GOLDEN") == "1":
        FOLDER.mkdir(exist_ok=True)
        file.write_text(page)
    assert file.read_text() == page, f"to write the pages anew, run {AGAIN}"


def test_there_is_no_other_page():
    assert sorted({path.name for path in FOLDER.glob("*")} - {"parity.md"}) == sorted(PAGES)  # `make parity` writes it.


def test_every_method_and_loss_has_a_summary_of_one_line():
    for title in ("Methods", "Losses"):
        registry = REGISTRIES[title]
        for name in registry.names():
            assert re.fullmatch(r".{10,118}\.", summary(registry, name)), f"{name}: {summary(registry, name)}"


def test_every_variable_of_counterpoint_that_the_code_names_is_on_the_page_of_settings():
    used = set()
    for path in source_code.trees():
        text = (source_code.ROOT / path).read_text()
        used |= set(re.findall(r"""["'](CL_[A-Z]+(?:_[A-Z]+)*)["']""", text))
    for_tests = {"CL_FAILPOINTS", "CL_FAILPOINTS_FIRED"}
    assert used - for_tests <= settings.variables()
